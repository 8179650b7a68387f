package sluice

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/sources/state"
)

// Replay says which recorded batches to run again, and how.
type Replay struct {
	// Script declares the query's tables and the query, as it was when the batches
	// were committed; With, if not empty, the changed query that is tried on them.
	Script, With string
	Query        string // its name
	From, To     int64  // batches, both included
	// Into is a folder that gets the output, a folder below it for each table; the
	// console if it is empty and Print is set, else output is compared and thrown away.
	Into   string
	Print  bool
	Format string // of the output: json (default), csv or parquet
}

// ReplayedBatch is how a batch came out when it was run again.
type ReplayedBatch struct {
	Batch int64            `json:"batch"`
	Rows  map[string]int64 `json:"rows"` // by sink
	// Differs says how output or state differ from what was committed; empty if they
	// are the same bit for bit. It is not asked of a changed query.
	Differs []string `json:"differs,omitempty"`
}

// ReplayReport is what a replay found.
type ReplayReport struct {
	Query   string          `json:"query"`
	State   int64           `json:"state"` // after which batch it began; -1 without state
	Changed bool            `json:"changed"`
	Notes   []string        `json:"notes,omitempty"` // of a changed query: what it began without
	Batches []ReplayedBatch `json:"batches"`
}

// Same reports whether everything came out as it was committed.
func (r *ReplayReport) Same() bool {
	return !slices.ContainsFunc(r.Batches, func(b ReplayedBatch) bool { return len(b.Differs) > 0 })
}

// replayed is the query of a replay as a script declares it.
type replayed struct {
	def     *queryDef
	plan    *planner.Query
	targets []target
}

// ReplayBatches runs recorded batches of a query again, from their own plans and the
// newest checkpoint before them, into other sinks, and compares what comes out with
// what was committed. The query may run meanwhile: its checkpoint is only read.
func ReplayBatches(ctx context.Context, opts Options, r Replay) (_ *ReplayReport, err error) {
	if r.From < 0 || r.To < r.From {
		return nil, batch.UserErrorf("batches %d to %d: want two batches in order", r.From, r.To)
	}
	var dir string
	var was *state.PlanInfo
	first, own, err := replayPlan(ctx, opts, r.Script, r.Query, func(s *Session, d *queryDef) *state.PlanInfo {
		dir, was = s.dir(d), s.formerInfo(d)
		return was
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, first.Close()) }()
	s, run := first, own
	if err := s.buckets.failure(dir); err != nil {
		return nil, err
	}
	if r.With != "" {
		other, changed, err := replayPlan(ctx, opts, r.With, r.Query, func(*Session, *queryDef) *state.PlanInfo { return was })
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, other.Close()) }()
		s, run = other, changed
	}
	tmp, err := os.MkdirTemp("", "sluice-replay-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the replay: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	a := &rerun{s: s, r: r, q: run, dir: dir, shown: first.buckets.shown(dir), tmp: tmp, report: &ReplayReport{Query: r.Query, Changed: r.With != "", Batches: []ReplayedBatch{}}}
	for range state.FindTries { // files of a running query's checkpoint may go meanwhile
		if err = a.prepare(planHash(own.plan, own.targets)); err == nil || !errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return a.report, a.run(ctx)
}

// replayPlan plans the query of a script in a session of its own. Its operators take
// over the names of what former returns.
func replayPlan(ctx context.Context, opts Options, script, name string, former func(*Session, *queryDef) *state.PlanInfo) (*Session, *replayed, error) {
	opts.Pipeline, opts.ExplainOnly = true, true
	s, err := NewSession(opts)
	if err != nil {
		return nil, nil, err
	}
	var found *replayed
	var names []string
	s.former = func(d *queryDef) *state.PlanInfo {
		if strings.EqualFold(d.name, name) {
			return former(s, d)
		}
		return nil
	}
	s.planned = func(d *queryDef, q *planner.Query, targets []target) {
		names = append(names, d.name)
		if strings.EqualFold(d.name, name) {
			found = &replayed{d, q, targets}
		}
	}
	err = s.Run(ctx, script, func(*Result) error { return nil })
	if err == nil && found == nil {
		err = batch.UserErrorf("the script has no streaming query %q%s; it has %s", name, options.Suggest(name, names), strings.Join(names, ", "))
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, found, nil
}

// rerun is a replay under way.
type rerun struct {
	s      *Session
	r      Replay
	q      *replayed
	dir    string // of the checkpoint
	shown  string // its name before users
	tmp    string
	meta   filelog.Metadata
	h      *state.History
	todo   driver.Rerun
	report *ReplayReport
}

// prepare finds the batches and the state before them, and takes over the files.
func (a *rerun) prepare(hash string) error {
	var recs []microbatch.Record
	var err error
	if a.meta, recs, err = filelog.Records(vfsx.Default, a.dir); err != nil {
		return err
	}
	a.h = state.ReadHistory(recs)
	first, last := batch.ID(a.r.From), batch.ID(a.r.To)
	base, err := a.keptBefore(first)
	if err != nil {
		return err
	}
	var plans []microbatch.Planned
	for id := base + 1; id <= last; id++ {
		p, ok := a.h.Plans[id]
		if _, committed := a.h.Commits[id]; !ok || !committed {
			return a.tooOld(max(id, first))
		}
		if p.PlanHash != hash {
			return batch.UserErrorf("batch %d was planned by another query than the script's %q (plan %s, not %s); try a changed query by --with", id, a.r.Query, p.PlanHash, hash)
		}
		plans = append(plans, p)
	}
	a.report.State = int64(base)
	a.todo = driver.Rerun{From: microbatch.Restore{Batch: base}, Plans: plans, Show: func(id batch.ID) bool { return id >= first }, Each: a.each}
	if err := filelog.CopyTree(vfsx.Default, filelog.SourcesDir(vfsx.Default, a.dir, ""), filelog.SourcesDir(vfsx.Default, a.tmp, "")); err != nil {
		return fmt.Errorf("take over what sources wrote down: %w", err)
	}
	return a.takeState(base)
}

// keptBefore returns the newest batch before one after which the state is there;
// None for the beginning, before which there is none.
func (a *rerun) keptBefore(first batch.ID) (batch.ID, error) {
	for _, c := range slices.Backward(a.h.Checks) {
		if c.Batch >= first {
			continue
		}
		if kept, err := state.Kept(vfsx.Default, a.dir, c); err != nil || kept {
			return c.Batch, err
		}
	}
	return batch.None, nil
}

// tooOld refuses a batch and says which ones there are.
func (a *rerun) tooOld(id batch.ID) error {
	var kept []string
	var oldest batch.ID
	for _, c := range a.h.Checks {
		ok, err := state.Kept(vfsx.Default, a.dir, c)
		if err != nil {
			return err
		}
		if ok {
			if len(kept) == 0 {
				oldest = c.Batch
			}
			kept = append(kept, fmt.Sprint(c.Batch))
		}
	}
	dir := a.shown
	switch {
	case id > a.h.Committed:
		return batch.UserErrorf("batch %d cannot be run again: it is not committed; the newest that is in %s is batch %d", id, dir, a.h.Committed)
	case len(kept) == 0:
		return batch.UserErrorf("batch %d cannot be run again: the log of %s holds batches %s and no state; checkpoint.retain and checkpoint.retain-age say how far back they go", id, dir, a.spanText())
	}
	return batch.UserErrorf("batch %d cannot be run again: %s has the state after batches %s, so the oldest that can is batch %d; checkpoint.retain and checkpoint.retain-age say how far back they go",
		id, dir, strings.Join(kept, ", "), oldest+1)
}

func (a *rerun) spanText() string {
	first := a.h.Committed
	for id := range a.h.Commits {
		first = min(first, id)
	}
	return fmt.Sprintf("%d to %d", first, a.h.Committed)
}

// takeState links the files of the state before the first batch, of a changed query
// those that it has a use for.
func (a *rerun) takeState(base batch.ID) error {
	to := filepath.Join(a.tmp, "state")
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if base == batch.None {
		return a.mapRanges()
	}
	root, err := state.Find(vfsx.Default, a.dir, "", base)
	if err != nil {
		return err
	}
	info, err := infoOf(a.q.plan, a.q.targets, "", "")
	if err != nil {
		return err
	}
	diff, err := diffPlans(root, info)
	if err != nil {
		return err
	}
	if len(diff.Refused) > 0 {
		return batch.UserErrorf("the changed query cannot run on what was recorded: %s", strings.Join(diff.Refused, "; "))
	}
	kept, err := keptManifests(root, diff)
	if err != nil {
		return err
	}
	var files []string
	for _, m := range kept {
		for _, p := range m.Parts {
			files = append(files, p.Name)
		}
	}
	if err := filelog.LinkFiles(vfsx.Default, root.StateDir(vfsx.Default), to, files); err != nil {
		return err
	}
	if kept, err = a.s.taken(context.Background(), to, root, diff); err != nil {
		return err
	}
	fresh, err := emptyStates(context.Background(), to, diff, base)
	if err != nil {
		return err
	}
	if a.todo.From.Manifests, err = manifestRecords(append(kept, fresh...)); err != nil {
		return err
	}
	for _, o := range diff.Operators {
		if o.Fate == fateRebuilt {
			a.report.Notes = append(a.report.Notes, fmt.Sprintf("%s began without state: %s", o.Name, o.Why))
		}
	}
	return a.mapRanges()
}

// mapRanges gives each batch the ranges of the sources of the query that is run. A
// source that was not recorded has nothing to read.
func (a *rerun) mapRanges() error {
	for i := range a.todo.Plans {
		p := &a.todo.Plans[i]
		var out []batch.Range
		for _, src := range a.q.plan.Plan.Sources {
			at := slices.IndexFunc(p.Ranges, func(g batch.Range) bool { return g.Source == src.Name })
			if at < 0 {
				return batch.UserErrorf("the changed query reads source %s, of which batch %d has recorded nothing", src.Name, p.Batch)
			}
			out = append(out, p.Ranges[at])
		}
		p.Ranges = out
	}
	return nil
}

// run carries it out.
func (a *rerun) run(ctx context.Context) (err error) {
	s := a.s
	targets, err := a.sinks()
	if err != nil {
		return err
	}
	// The query's own ID: what is drawn at random is seeded by it.
	res, err := s.open(ctx, a.meta.Query, a.q.plan, targets, a.tmp)
	if err != nil {
		return err
	}
	s.conns.add(res)
	defer func() {
		s.conns.remove(res.query)
		err = errors.Join(err, res.close())
	}()
	node, err := s.net.Join(transport.NodeID("driver/" + string(a.meta.Query)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	return driver.RerunBatches(ctx, driver.Options{
		Name: a.r.Query, Query: a.meta.Query, Plan: a.q.plan.Plan, Sources: res.sources, Sinks: res.sinks, Volatile: res.volatile,
		StateDir: filepath.Join(a.tmp, "state"), Transport: node, Workers: s.crew.ids, Parallelism: s.parallelism(),
	}, a.todo)
}

// sinks replaces the query's sinks by those that the replay writes to.
func (a *rerun) sinks() ([]target, error) {
	var out []target
	for _, t := range a.q.targets {
		def := *t.table
		format := a.r.Format
		if format == "" {
			format = "json"
		}
		name, opts := "blackhole", map[string]string{}
		switch {
		case a.r.Into != "":
			name, opts = "filesystem", map[string]string{"path": filepath.Join(a.r.Into, t.name), "format": format}
		case a.r.Print:
			name, opts = "console", map[string]string{"format": "json"}
		}
		c, err := a.s.reg.sinks.Lookup(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(c.Modes, t.mode) {
			return nil, batch.UserErrorf("output of mode %s cannot be written by connector '%s'; leave --into out, or print it", t.mode, name)
		}
		def.Connector, def.Options, def.Partition = name, opts, nil
		out = append(out, target{name: t.name, table: &def, connector: c, mode: t.mode, schema: t.schema})
	}
	bad, err := a.s.quarantine(a.q.plan, a.q.def.name, a.tmp)
	return append(out, bad...), err
}

// each compares a batch with its record.
func (a *rerun) each(p microbatch.Planned, res microbatch.Result) error {
	b := ReplayedBatch{Batch: int64(p.Batch), Rows: map[string]int64{}}
	was := a.h.Commits[p.Batch]
	for _, s := range a.q.plan.Plan.Sinks {
		rows, sum := microbatch.SinkSum(res.Prepared, s.Name)
		b.Rows[s.Name] = rows
		if a.report.Changed {
			continue
		}
		if wasRows, wasSum := microbatch.SinkSum(was.Prepared, s.Name); rows != wasRows || sum != wasSum {
			b.Differs = append(b.Differs, fmt.Sprintf("output to %s is %d rows with digest %s, committed were %d with %s", s.Name, rows, sum, wasRows, wasSum))
		}
	}
	if !a.report.Changed {
		if err := microbatch.Compare(was, res); err != nil && len(b.Differs) == 0 {
			b.Differs = append(b.Differs, err.Error())
		}
	}
	a.report.Batches = append(a.report.Batches, b)
	return nil
}
