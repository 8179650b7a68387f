package batch

// TaskSpec is everything that a task's result may depend on besides the plan
// deployed before and the state version Base. Two runs of equal specs give
// byte-equal results (same plan, same rows).
type TaskSpec struct {
	Task       TaskID    `json:"task"`
	Term       Term      `json:"term"`
	Plan       string    `json:"plan"`  // key of the deployed physical plan
	Parts      int       `json:"parts"` // number of partitions of the task's stage
	Splits     []Split   `json:"splits,omitempty"`
	Base       ID        `json:"base"`      // state version to start from
	Watermark  EventTime `json:"watermark"` // in force: lateness is judged by it
	Close      EventTime `json:"close"`     // windows ending at or before it are emitted
	Now        EventTime `json:"now"`       // the batch's now()
	Inputs     []Input   `json:"inputs,omitempty"`
	Reveal     bool      `json:"reveal"` // false on replay: output is computed, digested and thrown away
	SinkPrefix string    `json:"sink_prefix,omitempty"`
	Quarantine []string  `json:"quarantine,omitempty"` // sinks of bad and late rows that prepare output; the others only digest
	// Reads is a hash of all that the batch's tasks read of sources: equal ones read the
	// same. 0 is not known.
	Reads uint64 `json:"reads,omitempty"`
}

// Input tells a task where the output of an upstream stage lies.
type Input struct {
	Stage   int    `json:"stage"`
	Tasks   int    `json:"tasks"`             // how many tasks of that stage wrote output; read in order 0..Tasks-1
	Batch   ID     `json:"batch"`             // the batch whose output it is; an older one for a cached static stage
	Version string `json:"version,omitempty"` // equal versions hold equal rows, so a built hash table may be kept
}

// SourceTime is the highest event time that a task saw in one partition of a source.
type SourceTime struct {
	Source    string    `json:"source"`
	Partition string    `json:"partition,omitempty"` // a Kafka partition; empty where the source has none
	Max       EventTime `json:"max"`
}

// Counters counts rows over a task, and summed over a batch.
type Counters struct {
	RowsIn      int64 `json:"rows_in"`
	BytesIn     int64 `json:"bytes_in"`
	RowsOut     int64 `json:"rows_out"`
	Late        int64 `json:"late"`
	Quarantined int64 `json:"quarantined"`
	// Filtered and Used count the rows of RowsIn that a WHERE right above the scan
	// has left out, or that have no time and lie in no window, and those that went on from there: into an aggregate, a join or
	// the sink. RowsIn = Used + Filtered + LateEarly + BadEarly. They are for progress;
	// the batch log does not keep them.
	Filtered int64 `json:"filtered,omitempty"`
	Used     int64 `json:"used,omitempty"`
	// Of Late and Quarantined, the rows that are as they came in: those left out
	// before rows are combined.
	LateEarly  int64 `json:"late_early,omitempty"`
	BadEarly   int64 `json:"quarantined_early,omitempty"`
	StateRows  int64 `json:"state_rows"` // after the batch
	StateBytes int64 `json:"state_bytes"`
}

// Add returns the field-wise sum.
func (c Counters) Add(o Counters) Counters {
	return Counters{
		RowsIn: c.RowsIn + o.RowsIn, BytesIn: c.BytesIn + o.BytesIn, RowsOut: c.RowsOut + o.RowsOut,
		Late: c.Late + o.Late, Quarantined: c.Quarantined + o.Quarantined,
		Filtered: c.Filtered + o.Filtered, Used: c.Used + o.Used, LateEarly: c.LateEarly + o.LateEarly, BadEarly: c.BadEarly + o.BadEarly,
		StateRows: c.StateRows + o.StateRows, StateBytes: c.StateBytes + o.StateBytes,
	}
}

// ShardDigest is the digest of one shard's state after a batch.
type ShardDigest struct {
	Shard  Shard  `json:"shard"`
	Digest Digest `json:"digest"`
}

// Prepared is output that is durable and invisible: a handle from a sink's
// writer to the sink, opaque in between.
type Prepared struct {
	Sink      string `json:"sink"`
	Partition int    `json:"partition"`
	Payload   []byte `json:"payload"`
	Rows      int64  `json:"rows"`
	Digest    Digest `json:"digest"` // of the rows
}

// TaskResult is what a finished task reports.
type TaskResult struct {
	Task     TaskID           `json:"task"`
	Term     Term             `json:"term"`
	Counters Counters         `json:"counters"`
	Times    []SourceTime     `json:"times,omitempty"`
	NextDue  EventTime        `json:"next_due"`            // earliest window end in state, EndOfTime if none
	NextWake EventTime        `json:"next_wake,omitempty"` // earliest timer by the clock, 0 if none
	Shards   []ShardDigest    `json:"shards,omitempty"`
	Prepared []Prepared       `json:"prepared,omitempty"`
	OutRows  []int64          `json:"out_rows,omitempty"` // rows written to each partition of the outgoing exchange
	Millis   map[string]int64 `json:"millis,omitempty"`   // durations by phase, for progress only
	// Ops are of the stage's operators, in the order of the plan, which names them: of a
	// stream always, else where they are measured.
	Ops      []OpCount   `json:"ops,omitempty"`
	State    []StateWork `json:"state,omitempty"`
	LateBy   []LateWork  `json:"late_by,omitempty"`
	Spread   TimeSpread  `json:"spread"`
	Arrived  Arrivals    `json:"arrived,omitempty"` // when the rows of streams came
	Observed []Observed  `json:"observed,omitempty"`
	// Hold, if Holds is set, is an event time that rows of this or a later batch may still
	// have: what the stages above close by event time stays open up to it.
	Holds bool      `json:"holds,omitempty"`
	Hold  EventTime `json:"hold,omitempty"`
	// Adopted says that the task was begun for a driver before: the answer is of that run.
	Adopted bool `json:"adopted,omitempty"`
}

// Observed is what an operator that observes rows has seen of them in one task: partial
// results, opaque to all but the executor.
type Observed struct {
	Name      string `json:"name"`
	At        int    `json:"at"` // which operator of the name
	Stage     int    `json:"stage"`
	Partition int    `json:"partition"`
	State     []byte `json:"state"`
}
