package microbatch

import "github.com/sluice-stream/sluice/batch"

// Record is an entry of the batch log. The types in this file are all there are.
type Record interface {
	// ID is the batch that the record belongs to; Truncate(before) may drop
	// records whose ID is smaller. A Started record carries the ID of the last
	// batch planned when it was written.
	ID() batch.ID
	// LogTerm is the term that wrote the record; it never falls along the log.
	LogTerm() batch.Term
	record()
}

// Identity is what is fixed when a query first starts. A log whose identity is
// not the query's own is refused, as is a log without one: a new identity over
// old records would defeat every sink's deduplication (C15, C20, C22).
type Identity struct {
	Query     batch.QueryID   `json:"query"`
	PlanHash  string          `json:"plan_hash"` // of the physical plan and the options that change results
	Policy    WatermarkPolicy `json:"watermark_policy"`
	KeyGroups int             `json:"key_groups"`
}

// Started opens a term. It is durable before the term does anything else, so a
// driver that was replaced while it slept is refused at its next append (C17).
type Started struct {
	Term     batch.Term      `json:"term"`
	Last     batch.ID        `json:"last"` // newest batch planned before, None if none
	At       batch.EventTime `json:"at"`
	Identity Identity        `json:"identity"`
	// Workers are those that hold the state under the term, where they come and go: the
	// next term may find it there. The driver fills it in, who knows them.
	Workers []string `json:"workers,omitempty"`
}

// Planned fixes everything that a batch's result may depend on besides the state
// before it.
type Planned struct {
	Batch  batch.ID      `json:"batch"`
	Term   batch.Term    `json:"term"`
	Ranges []batch.Range `json:"ranges"` // one for every source, in the order of Options.Sources
	// Watermark is the one in force: a row is late when its window's end is <= it.
	Watermark batch.EventTime `json:"watermark"`
	// Close is what windows close by: Watermark, or EndOfTime for the last batch
	// of an input that has ended under Options.CloseAtEnd.
	Close       batch.EventTime `json:"close"`
	Now         batch.EventTime `json:"now"`          // the batch's now()
	TriggeredAt batch.EventTime `json:"triggered_at"` // when the trigger fired
	Seed        uint64          `json:"seed"`         // of rand() and uuid(), with split and row
	PlanHash    string          `json:"plan_hash"`
	NoData      bool            `json:"no_data,omitempty"` // planned because the watermark made something due
}

// Mark is what the watermark knows of one partition of a source: the highest
// event time seen, and the now() of the batch that last brought a row (of the
// first that knew of the partition, if none did).
type Mark struct {
	Source    string          `json:"source"`
	Partition string          `json:"partition,omitempty"`
	Max       batch.EventTime `json:"max"`
	Seen      batch.EventTime `json:"seen"`
}

// Committed is the commit point of a batch.
type Committed struct {
	Batch    batch.ID            `json:"batch"`
	Term     batch.Term          `json:"term"`
	Prepared []batch.Prepared    `json:"prepared"` // by sink, then partition
	Shards   []batch.ShardDigest `json:"shards"`   // by operator, then partition
	Counters batch.Counters      `json:"counters"`
	// Marks holds every partition's highest event time through this batch, so
	// that the watermark survives a restart source by source.
	Marks []Mark `json:"marks"`
	// NextWatermark is the watermark after this batch; the next plan's is higher
	// if a partition turns idle meanwhile. NextDue is the earliest window end
	// left in state, or a time before it: rows that were taken back may have had an earlier one.
	NextWatermark batch.EventTime `json:"next_watermark"`
	NextDue       batch.EventTime `json:"next_due"`
	// NextWake is the earliest timer by the clock in state, or a time before it: a
	// batch without data fires it. 0 if there is none.
	NextWake batch.EventTime `json:"next_wake,omitempty"`
}

// Manifest names a part of a checkpoint.
type Manifest struct {
	Shard  batch.Shard  `json:"shard"`
	Ref    string       `json:"ref"` // the store's own name for it
	Bytes  int64        `json:"bytes"`
	Digest batch.Digest `json:"digest"`
}

// Checkpointed says that state version Batch can be loaded from its manifests.
type Checkpointed struct {
	Batch batch.ID `json:"batch"`
	// Prev is the checkpoint before it, None if there was none. Those in between
	// in the log were found unusable: they are not fallen back on, and not
	// counted among the checkpoints that are kept.
	Prev      batch.ID   `json:"prev"`
	Term      batch.Term `json:"term"`
	Manifests []Manifest `json:"manifests"`
	Identity  Identity   `json:"identity"` // here too, since truncation drops old Started records
}

// Adopted begins a query, or a changed plan of it, from a state version that
// another plan or another query has made: a start from a savepoint, or a query
// that goes on with the state of those operators that compute the same. What the
// log says before it counts no more. Batch Plan.Batch+1 is the next.
type Adopted struct {
	Term batch.Term `json:"term"`
	From string     `json:"from"` // where the state comes from, for people
	// Plan and Commit say where the sources stand and what the watermark knows, in
	// the terms of the new plan. Commit keeps the output that sinks of the same query
	// show; of another query's there is none.
	Plan      Planned    `json:"plan"`
	Commit    Committed  `json:"commit"`
	Manifests []Manifest `json:"manifests"`
	Identity  Identity   `json:"identity"`
}

// Checkpointed is the checkpoint that the record stands for.
func (r Adopted) Checkpointed() Checkpointed {
	return Checkpointed{Batch: r.Plan.Batch, Prev: batch.None, Term: r.Term, Manifests: r.Manifests, Identity: r.Identity}
}

func (r Started) ID() batch.ID      { return r.Last }
func (r Planned) ID() batch.ID      { return r.Batch }
func (r Committed) ID() batch.ID    { return r.Batch }
func (r Checkpointed) ID() batch.ID { return r.Batch }
func (r Adopted) ID() batch.ID      { return r.Plan.Batch }

func (r Started) LogTerm() batch.Term      { return r.Term }
func (r Planned) LogTerm() batch.Term      { return r.Term }
func (r Committed) LogTerm() batch.Term    { return r.Term }
func (r Checkpointed) LogTerm() batch.Term { return r.Term }
func (r Adopted) LogTerm() batch.Term      { return r.Term }

func (Started) record()      {}
func (Planned) record()      {}
func (Committed) record()    {}
func (Checkpointed) record() {}
func (Adopted) record()      {}
