package physical

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Plan is a query cut into stages.
type Plan struct {
	Key     string // names the plan in TaskSpec.Plan; a hash of its text
	Stages  []*Stage
	Sources []Source
	// Lookups are tables in which rows are looked up by key: no batch reads a range of them.
	Lookups []Source
	Sinks   []Sink
	Zone    string // the session's time zone
	Stream  bool   // run batch by batch with state; else once over everything
	// Watermarks are the delays by source; nil for a query without event time.
	Watermarks []WatermarkDelay
	// Quarantines say where bad rows go to. They are no part of the plan's text or
	// key: a query that a bad row has stopped goes on with a quarantine.
	Quarantines []Quarantine
	Late        *LateRows // nil: late rows are counted and dropped
	// Errors says what becomes of rows that cannot be computed: "" and fail, null, quarantine.
	Errors string
	Name   string // of the query, for its quarantine
}

// Source is a table that the plan scans.
type Source struct {
	Name   string // unique within the plan, e.g. "flights#0"
	Table  string
	Stream bool // planned batch by batch; else pinned: read whole, once per version
	Lookup bool // not a stream: each batch reads the version that there is when it is planned
}

// WatermarkDelay says how far the event time of a source may be out of order.
type WatermarkDelay struct {
	Source string
	Delay  int64 // microseconds
	Column string
}

// Sink is a table that the plan writes.
type Sink struct {
	Name   string // unique within the plan, e.g. "hot#0"
	Table  string
	Schema *arrow.Schema // without the change column
	Mode   string        // append, update, complete, changelog
	Keys   []string      // of an upsert
	OneRow bool          // the result is one row, which an upsert replaces
	Final  bool          // only what cannot change any more comes out, whatever the mode
	// Every and Rows hold results back that may still change: for so many microseconds
	// of the clock, or until so many more rows have come. 0 holds nothing back.
	Every, Rows int64
}

// Stage is a tree of operators that runs as tasks.
type Stage struct {
	ID     int
	Root   Node
	Kind   StageKind
	Output Output
	// Sources are the names of the sources that the stage's scans read.
	Sources []string
	// Inputs are the stages that its ExchangeReads read.
	Inputs []int
	// Static stages depend on pinned sources alone: their output is kept over
	// batches while the version is the same.
	Static bool
	// Stateful lists the names of the operators that keep state in this stage.
	Stateful []string
	// TTL is the time to live of the state of some of them, by name.
	TTL map[string]StateTTL
}

// Work names what the stage's operators did: parents first, which is the order in which
// tasks count.
func (s *Stage) Work(counts []batch.OpCount) []batch.OpWork {
	out := make([]batch.OpWork, 0, len(counts))
	var walk func(n Node, depth int)
	walk = func(n Node, depth int) {
		if len(out) == len(counts) {
			return // of another plan
		}
		out = append(out, batch.OpWork{Name: n.String(), Depth: depth, OpCount: counts[len(out)]})
		for _, in := range n.Inputs() {
			walk(in, depth+1)
		}
	}
	walk(s.Root, 0)
	return out
}

// StageKind says what a stage's tasks are.
type StageKind int

// The kinds of stages.
const (
	Splits StageKind = iota // a task for each split of its sources
	Hash                    // a task for each partition
	Single                  // one task
)

// Output says where a stage's rows go. It is sealed: ToHash, ToOne, ToAll, ToSink, ToClient.
type Output interface{ output() }

// ToHash spreads rows over the partitions of later Hash stages by key group:
// the group of a row is the hash of its encoded keys mod batch.KeyGroups.
type ToHash struct{ Keys []expr.Expr }

// ToOne sends all rows to the only task of a later Single stage.
type ToOne struct{}

// ToAll lets every task of a later stage read all rows (a broadcast).
type ToAll struct{}

// ToSink writes rows to a sink of the plan.
type ToSink struct{ Sink string }

// ToClient hands rows to whoever runs the plan, in task order.
type ToClient struct{}

func (ToHash) output()   {}
func (ToOne) output()    {}
func (ToAll) output()    {}
func (ToSink) output()   {}
func (ToClient) output() {}
