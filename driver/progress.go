package driver

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

// Progress describes a finished micro-batch, with the names of Spark's
// StreamingQueryProgress so that tools that read those read these.
type Progress struct {
	ID                     string             `json:"id"`
	RunID                  string             `json:"runId"`
	Name                   string             `json:"name"`
	Timestamp              string             `json:"timestamp"` // when the trigger fired
	BatchID                int64              `json:"batchId"`
	BatchDuration          int64              `json:"batchDuration"` // ms from the trigger until the output is shown
	DurationMs             map[string]int64   `json:"durationMs"`
	EventTime              EventTimeProgress  `json:"eventTime"`
	StateOperators         []StateProgress    `json:"stateOperators"`
	Sources                []SourceProgress   `json:"sources"`
	Sink                   SinkProgress       `json:"sink"`
	NumInputRows           int64              `json:"numInputRows"`
	InputRowsPerSecond     float64            `json:"inputRowsPerSecond"`
	ProcessedRowsPerSecond float64            `json:"processedRowsPerSecond"`
	LateRows               int64              `json:"lateRows"`
	QuarantinedRows        int64              `json:"quarantinedRows"`
	Balance                RowBalance         `json:"rowBalance"`
	ObservedMetrics        map[string]any     `json:"observedMetrics"`
	NoData                 bool               `json:"noData,omitempty"`    // the batch was run because the watermark made something due
	Phases                 map[string]float64 `json:"phases,omitempty"`    // the same durations in ms with fractions
	LatencyMs              *LatencyProgress   `json:"latencyMs,omitempty"` // of sources that tell when rows came
	Recovery               *Recovery          `json:"recovery,omitempty"`
	TasksAdopted           int64              `json:"tasksAdopted,omitempty"` // of the batch, that were begun for a driver before and not again
}

// EventTimeProgress holds times in RFC 3339; empty if there are none.
type EventTimeProgress struct {
	Max       string `json:"max,omitempty"` // highest event time in the batch
	Min       string `json:"min,omitempty"`
	Avg       string `json:"avg,omitempty"`
	Watermark string `json:"watermark,omitempty"`
}

// StateProgress describes the state of a stage's operators.
type StateProgress struct {
	OperatorName            string           `json:"operatorName"`
	NumRowsTotal            int64            `json:"numRowsTotal"`
	NumRowsUpdated          int64            `json:"numRowsUpdated"` // rows that the batch put
	NumRowsRemoved          int64            `json:"numRowsRemoved"` // rows that the batch deleted
	AllUpdatesTimeMs        int64            `json:"allUpdatesTimeMs"`
	AllRemovalsTimeMs       int64            `json:"allRemovalsTimeMs"`
	CommitTimeMs            int64            `json:"commitTimeMs"` // making the new version, summed over the partitions
	MemoryUsedBytes         int64            `json:"memoryUsedBytes"`
	NumRowsDroppedWatermark int64            `json:"numRowsDroppedByWatermark"`
	NumShufflePartitions    int64            `json:"numShufflePartitions"`
	NumStateStoreInstances  int64            `json:"numStateStoreInstances"`
	CustomMetrics           map[string]int64 `json:"customMetrics"`

	ends []batch.EventTime // of the first windows that wait
}

// WindowEnds are the ends of the first windows that wait for the watermark, in order.
func (s StateProgress) WindowEnds() []batch.EventTime { return s.ends }

// SourceProgress describes what a source gave to the batch.
type SourceProgress struct {
	Description            string            `json:"description"`
	StartOffset            OffsetText        `json:"startOffset"`
	EndOffset              OffsetText        `json:"endOffset"`
	LatestOffset           OffsetText        `json:"latestOffset"`
	NumInputRows           int64             `json:"numInputRows"`
	InputRowsPerSecond     float64           `json:"inputRowsPerSecond"`
	ProcessedRowsPerSecond float64           `json:"processedRowsPerSecond"`
	Metrics                map[string]string `json:"metrics"`
}

// SinkProgress describes what went out.
type SinkProgress struct {
	Description   string            `json:"description"`
	NumOutputRows int64             `json:"numOutputRows"`
	Metrics       map[string]string `json:"metrics"`
}

// RowBalance tells where the rows that came in have gone to: In = Used + Filtered +
// Late + Quarantined. It ends where rows are combined: Used are those that an
// aggregate, a join or the sink has got.
type RowBalance struct {
	In          int64 `json:"in"`
	Used        int64 `json:"used"`
	Filtered    int64 `json:"filtered"` // by WHERE, right behind the source
	Late        int64 `json:"late"`
	Quarantined int64 `json:"quarantined"`
}

// Balanced reports whether no row is missing.
func (b RowBalance) Balanced() bool { return b.In == b.Used+b.Filtered+b.Late+b.Quarantined }

func balanceOf(c batch.Counters) RowBalance {
	return RowBalance{In: c.RowsIn, Used: c.Used, Filtered: c.Filtered, Late: c.LateEarly, Quarantined: c.BadEarly}
}

// OffsetText is an offset that prints as JSON where it is JSON.
type OffsetText batch.Offset

// MarshalJSON prints JSON as it is, and any other text as a string.
func (o OffsetText) MarshalJSON() ([]byte, error) {
	switch {
	case o == "":
		return []byte("null"), nil
	case json.Valid([]byte(o)):
		return []byte(o), nil
	}
	return json.Marshal(string(o))
}

func (p Progress) stateRows() int64 {
	n := int64(0)
	for _, s := range p.StateOperators {
		n += s.NumRowsTotal
	}
	return n
}

// The keys of Progress.DurationMs.
const (
	phaseLatest   = "latestOffset"     // asking the sources
	phasePlanning = "queryPlanning"    // cutting ranges into splits
	phaseWAL      = "walCommit"        // making the plan durable
	phaseRun      = "addBatch"         // the tasks
	phaseCommit   = "commitOffsets"    // making the commit durable
	phaseReveal   = "reveal"           // showing the output
	phaseTotal    = "triggerExecution" // from the trigger until the commit is durable
)

// Phases explains the keys of Progress.DurationMs, in the order in which they happen.
var Phases = []struct{ Key, Doc string }{
	{phaseLatest, "asking the sources how far they can be read"},
	{phaseWAL, "making the plan durable"},
	{phasePlanning, "cutting what is to be read into splits"},
	{phaseRun, "the tasks: reading, computing, preparing output and state"},
	{phaseCommit, "making the commit durable"},
	{phaseTotal, "from the trigger until the commit is durable"},
	{phaseReveal, "showing the output in the sinks"},
}

// trace follows a batch from its plan until its output is shown.
type trace struct {
	ranges    []batch.Range
	triggered time.Time
	planned   time.Time
	watermark batch.EventTime
	noData    bool
	phases    map[string]time.Duration
	prepared  time.Time // when its commit was handed to the log
	committed time.Time
	counters  batch.Counters
	times     []batch.SourceTime
	states    []StateProgress
	rows      map[string]int64 // by source
	outRows   int64
	stages    []StageTrace
	spread    batch.TimeSpread
	arrived   batch.Arrivals
	seen      []batch.Observed
	measured  measured
}

// measured is what sources and sinks tell of a batch, by their names.
type measured struct{ sources, sinks map[string]map[string]string }

// measure asks those that have something to tell.
func (q *Query) measure(p microbatch.Planned, prepared []batch.Prepared) measured {
	m := measured{map[string]map[string]string{}, map[string]map[string]string{}}
	for _, g := range p.Ranges {
		if s, ok := q.opt.Sources[g.Source].(sources.Measurer); ok && g.Pin == "" {
			m.sources[g.Source] = s.Metrics(g.End)
		}
	}
	own := q.opt.Plan.OwnSinks()
	for _, s := range q.opt.Plan.Sinks {
		k, ok := q.opt.Sinks[s.Name].(sinks.Measurer)
		if !ok || own[s.Name] {
			continue
		}
		var parts []batch.Prepared
		for _, p := range prepared {
			if p.Sink == s.Name {
				parts = append(parts, p)
			}
		}
		m.sinks[s.Name] = k.Metrics(parts)
	}
	return m
}

// ofSinks puts the figures of the sinks together: of several with their names before them.
func (m measured) ofSinks(several bool) map[string]string {
	out := map[string]string{}
	for sink, metrics := range m.sinks {
		for k, v := range metrics {
			if several {
				k = sink + "." + k
			}
			out[k] = v
		}
	}
	return out
}

// TasksAdopted counts the tasks that were begun for a driver before, or a life before, and
// that the query has gone on with since it was started here.
func (q *Query) TasksAdopted() int64 { return q.adopted.Load() }

func ratePerSecond(rows int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(rows) / d.Seconds()
}

func timeText(t batch.EventTime) string {
	if t == batch.NoTime || t == batch.EndOfTime {
		return ""
	}
	return t.Time().Format("2006-01-02T15:04:05.000Z07:00")
}

// progress makes the report of a batch whose output is shown at now. since is
// the time since the batch before was triggered.
func (q *Query) progress(id batch.ID, t *trace, now time.Time, since time.Duration) Progress {
	p := Progress{
		ID: string(q.opt.Query), RunID: q.listen.run, Name: q.opt.Name, Timestamp: t.triggered.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		BatchID: int64(id), BatchDuration: now.Sub(t.triggered).Milliseconds(), DurationMs: map[string]int64{}, Phases: map[string]float64{},
		EventTime: EventTimeProgress{Watermark: timeText(t.watermark)}, StateOperators: t.states, Sources: []SourceProgress{},
		NumInputRows: t.counters.RowsIn, LateRows: t.counters.Late, QuarantinedRows: t.counters.Quarantined, NoData: t.noData,
		Balance: balanceOf(t.counters), ObservedMetrics: map[string]any{},
	}
	if r := q.recovery.shown.Load(); r != nil {
		is := *r
		p.Recovery = &is
	}
	for _, s := range t.stages {
		p.TasksAdopted += int64(s.Adopted)
	}
	if p.StateOperators == nil {
		p.StateOperators = []StateProgress{}
	}
	if q.opt.Observed != nil && len(t.seen) > 0 {
		p.ObservedMetrics = q.opt.Observed(t.seen)
	}
	for k, d := range t.phases {
		p.DurationMs[k] = d.Milliseconds()
		p.Phases[k] = float64(d.Microseconds()) / 1000
	}
	top := batch.NoTime
	for _, s := range t.times {
		top = max(top, s.Max)
	}
	p.EventTime.Max = timeText(top)
	if s := t.spread; s.Count > 0 {
		p.EventTime.Min, p.EventTime.Avg = timeText(s.Min), timeText(batch.EventTime(s.Sum/float64(s.Count)))
	}
	took := now.Sub(t.triggered)
	p.InputRowsPerSecond = ratePerSecond(p.NumInputRows, since)
	p.ProcessedRowsPerSecond = ratePerSecond(p.NumInputRows, took)
	for _, g := range t.ranges {
		s := SourceProgress{Description: g.Source, StartOffset: OffsetText(g.Start), EndOffset: OffsetText(g.End), LatestOffset: OffsetText(g.End), Metrics: map[string]string{}}
		if g.Pin != "" {
			s.EndOffset, s.LatestOffset = OffsetText(g.Pin), OffsetText(g.Pin)
		}
		maps.Copy(s.Metrics, t.measured.sources[g.Source])
		if at, ok := q.latest[g.Source]; ok {
			s.LatestOffset = OffsetText(at)
		}
		s.NumInputRows = t.rows[g.Source]
		s.InputRowsPerSecond = ratePerSecond(s.NumInputRows, since)
		s.ProcessedRowsPerSecond = ratePerSecond(s.NumInputRows, took)
		p.Sources = append(p.Sources, s)
	}
	own := q.opt.Plan.OwnSinks()
	shown := 0
	for _, s := range q.opt.Plan.Sinks {
		if !own[s.Name] {
			p.Sink.Description = s.Name
			shown++
		}
	}
	p.Sink.NumOutputRows, p.Sink.Metrics = t.outRows, t.measured.ofSinks(shown > 1)
	return p
}
