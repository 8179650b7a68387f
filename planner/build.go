package planner

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/invariants"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/planner/rules"
	"github.com/sluice-stream/sluice/planner/stats"
)

// Output is one result of a query: a plan and where its rows go.
type Output struct {
	Node logical.Node
	Sink *physical.Sink // nil: to the client
}

// Options say how a query is to run. The zero value plans a batch query.
type Options struct {
	Stream bool   // run batch by batch
	Zone   string // the session's time zone; "" is UTC
	// RecursionMax is how many rounds a recursive query may run; 0 is 10,000.
	RecursionMax int
	// Stats tells what is known of a table, for the order of joins and for what is
	// sent to every task. A stream's plan does not ask it.
	Stats stats.Tables
	// BroadcastMax is the estimated size in bytes up to which a join's side is sent
	// to all tasks, instead of both being spread by key; 0 is 128 MiB.
	BroadcastMax int64
	// ReduceFrom is the estimated number of rows from which a join's side is cut down
	// to the keys of the other before anything is made of it; 0 is 100,000.
	ReduceFrom int64
	// SkipRules names rules that are not applied, for tests and for finding a rule's fault.
	SkipRules map[string]bool
	// Interrupted is asked while a plan is made; its error ends planning. Nil never ends it.
	Interrupted func() error
	// WholeRows keeps the columns of the tables that nobody reads, so that a late row
	// is whole where it is found to be late.
	WholeRows bool
	// Restate is how long past its end a result is corrected by late rows; 0 is not at all.
	Restate time.Duration
	// Last makes last(e), NULL or not, for the extremes of rows that may be taken back,
	// which are else worked out from all rows of a group.
	Last func(e expr.Expr) (*expr.AggCall, error)
	// Expires says that states have a time to live.
	Expires bool
	// SetsAside tells whether rows of a table that cannot be read are set aside, nil: of none.
	SetsAside func(*logical.Table) bool
	// Names are those of operators in a checkpoint that the query goes on from, by the
	// Forms of what they compute.
	Names map[string]string
	// Form is told what each operator computes, for tests.
	Form func(kind, text string)
	// CountRows is count(*), for results that come out by the number of their rows.
	CountRows *expr.AggCall
}

// Sizes up to which a join's side is sent to all tasks if nothing else is said:
// where the tables are known, and where their size is guessed.
const (
	BroadcastMax  = 128 << 20
	broadcastMost = 32 << 20
)

// reduceFrom is how many rows a join's side must have to be reduced if nothing
// else is said.
const reduceFrom = 100_000

// Query is a planned query with what EXPLAIN tells of it besides the stages.
type Query struct {
	Plan     *physical.Plan
	Outputs  []Output // with optimized plans
	Verdicts []incremental.Verdict
	TTL      map[string]logical.TTL    // by operator, where the query's text says it
	Tables   map[string]*logical.Table // by source name
	// Forms say in short what operators with state compute, by their names: the same
	// whatever the optimizer has done. One of which that cannot be said has none.
	Forms map[string]string
}

// buildWith plans a query whose outputs wait as is said. With an error it tells
// which of them it is about.
func buildWith(outputs []Output, opts Options, waits []wait) (*Query, int, error) {
	b := &builder{
		opts:   opts,
		plan:   &physical.Plan{Zone: opts.Zone, Stream: opts.Stream},
		query:  &Query{Tables: map[string]*logical.Table{}, TTL: map[string]logical.TTL{}, Forms: map[string]string{}},
		counts: map[string]int{},
		taken:  map[string]bool{},
		sent:   map[string]int{},
		shares: map[int]int{},
	}
	if b.plan.Zone == "" {
		b.plan.Zone = "UTC"
	}
	b.query.Plan = b.plan
	b.uses = processorUses(outputs)
	if opts.BroadcastMax <= 0 {
		b.opts.BroadcastMax = BroadcastMax
	}
	if opts.WholeRows {
		opts.SkipRules = maps.Clone(opts.SkipRules)
		if opts.SkipRules == nil {
			opts.SkipRules = map[string]bool{}
		}
		opts.SkipRules["prune-columns"] = true
	}
	c := &rules.Context{Skip: opts.SkipRules, ReduceFrom: float64(opts.ReduceFrom), Interrupted: opts.Interrupted}
	if opts.ReduceFrom <= 0 {
		c.ReduceFrom = reduceFrom
	}
	if !opts.Stream {
		b.stats = stats.New(opts.Stats)
		c.Stats = b.stats
	}
	outputs = slices.Clone(outputs)
	for i := range outputs {
		n, err := rules.Optimize(c, outputs[i].Node)
		if err != nil {
			return nil, i, err
		}
		outputs[i].Node = n
	}
	b.widen(outputs)
	for i, out := range outputs {
		b.waiting(&out, waits[i])
		b.query.Outputs = append(b.query.Outputs, out)
		if err := b.output(out, waits[i].final); err != nil {
			return nil, i, err
		}
	}
	if err := b.restate(); err != nil {
		return nil, len(outputs) - 1, err
	}
	b.countOnce()
	if !opts.Stream {
		b.dropUnread()
	}
	if id := unread(b.plan); id >= 0 {
		return nil, 0, invariants.Check(false, "stage %d is read by nobody:\n%s", id, b.plan)
	}
	h := fnv.New64a()
	fmt.Fprint(h, b.plan.String())
	if len(b.renamed) > 0 { // not every operator's line tells its name
		fmt.Fprint(h, b.renamed)
	}
	b.plan.Key = fmt.Sprintf("%016x", h.Sum64())
	return b.query, 0, nil
}

// output plans one result down to its sink.
func (b *builder) output(out Output, final bool) error {
	b.mode = "append"
	if out.Sink != nil && out.Sink.Mode != "" {
		b.mode = out.Sink.Mode
	}
	var err error
	if b.hold, err = b.holdingOf(out.Sink); err != nil {
		return err
	}
	if final && (b.opts.Restate > 0 || b.hold.some()) {
		return refuse(out.Node.String(), "a result that waits until it is final is neither held back nor corrected")
	}
	if out.Sink != nil && out.Sink.Final && !b.hold.final || final {
		b.mode = "append"
	}
	if b.opts.Stream && b.mode == "append" {
		out.Node = incremental.InAppend(out.Node)
	}
	f, err := b.build(out.Node)
	if err != nil {
		return err
	}
	if f.changes && b.hold.some() {
		if f, err = b.heldResult(out.Node, f); err != nil {
			return err
		}
	}
	if b.mode == "complete" {
		f = b.wholeOf(out.Node, f)
	}
	if f.changes && b.mode == "append" {
		return &modeError{refuseAppend(out.Node), b.mode}
	}
	if out.Sink == nil {
		b.close(f, physical.ToClient{})
		return nil
	}
	sink := *out.Sink
	if f.changes {
		if f, err = b.keyed(out.Node, f, &sink); err != nil {
			return err
		}
	}
	b.plan.Sinks = append(b.plan.Sinks, sink)
	b.close(f, physical.ToSink{Sink: out.Sink.Name})
	return nil
}

// refuse makes the error for an operator that cannot be had.
func refuse(op, why string) error {
	return batch.UserErrorf("%s cannot run in this streaming query: %s", op, why)
}

// unread finds a stage whose rows go to later ones of which none reads it: it
// would read its sources for nothing. It returns -1 if there is none.
func unread(p *physical.Plan) int {
	read := map[int]bool{}
	for _, s := range p.Stages {
		for _, in := range s.Inputs {
			read[in] = true
		}
	}
	for _, s := range p.Stages {
		switch s.Output.(type) {
		case physical.ToHash, physical.ToOne, physical.ToAll:
			if !read[s.ID] {
				return s.ID
			}
		case physical.ToSink, physical.ToClient:
		}
	}
	return -1
}

// dropUnread forgets the sources of stages that another one stands for.
func (b *builder) dropUnread() {
	read := map[string]bool{}
	for _, s := range b.plan.Stages {
		for _, name := range s.Sources {
			read[name] = true
		}
	}
	b.plan.Sources = slices.DeleteFunc(b.plan.Sources, func(s physical.Source) bool { return !read[s.Name] })
}
