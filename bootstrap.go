package sluice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/state"
)

// bootstrapDir is the folder in a checkpoint where state is rebuilt, and the one beside
// the caches of those in buckets. What is in it when a query starts is left over.
const bootstrapDir = "bootstrap"

// bootstrapStep bounds what is read at once while state is rebuilt: it has nothing to
// do with how large batches are.
var bootstrapStep = sources.Limit{Rows: 1 << 20, Bytes: 256 << 20}

// bootstrap makes the state that a changed query does not find, from input that is
// read again. It works in rounds, each up to a checkpoint of the query, so that the
// query may run until there is little left to do.
type bootstrap struct {
	now *lineage // the changed query
	// was is the query as it was, run over the same input: what its result is, and
	// whether that is what it has put out. nil if no sink needs it.
	was *lineage
}

// lineage is one plan that is run over retained input.
type lineage struct {
	s       *Session
	q       *planner.Query
	targets []target
	parts   int
	dir     string // of the query's checkpoint
	work    string // where state is rebuilt
	tmp     string // in it
	id      batch.QueryID
	kept    map[string]bool // sources that the checkpoint knows
	results *results
	built   driver.Rebuilt
	late    batch.EventTime
}

func (s *Session) newLineage(name, dir string, q *planner.Query, targets []target, parts int) (*lineage, error) {
	l := &lineage{s: s, q: q, targets: targets, parts: parts, dir: dir, work: s.buckets.work(dir), tmp: filepath.Join(s.buckets.work(dir), name), id: newQueryID(),
		built: driver.Rebuilt{Batch: batch.None}, late: batch.NoTime}
	if err := vfsx.Default.RemoveAll(l.tmp); err != nil {
		return nil, fmt.Errorf("rebuild state: %w", err)
	}
	if err := vfsx.MkdirAll(vfsx.Default, filepath.Join(l.tmp, "state"), 0o700); err != nil {
		return nil, fmt.Errorf("rebuild state: %w", err)
	}
	var err error
	l.results, err = newResults(s, filepath.Join(l.tmp, "results"))
	return l, err
}

func (l *lineage) close() error {
	if l == nil {
		return nil
	}
	return l.results.close()
}

// rewindable refuses sources whose input cannot be read again.
func (s *Session) rewindable(q *planner.Query, d *PlanDiff, at func(source string) batch.Offset) error {
	if len(q.Plan.Lookups) > 0 {
		return batch.UserErrorf("state cannot be rebuilt from table %s, which is looked up by key: nobody knows what it held before", q.Plan.Lookups[0].Table)
	}
	for _, src := range q.Plan.Sources {
		t := q.Tables[src.Name]
		c, err := s.reg.sources.Lookup(t.Connector)
		if err != nil {
			return err
		}
		if src.Stream && !c.Rewinds && d.sourceFate(src.Name) == fateKept {
			return batch.UserErrorf("state cannot be rebuilt from source %s: the connector '%s' does not keep what was read before position %s", src.Name, t.Connector, at(src.Name))
		}
	}
	return nil
}

// advance rebuilds up to a checkpoint of the query.
func (l *lineage) advance(ctx context.Context, r *state.Root) (err error) {
	if l.built.Batch >= 0 && r.Plan.Watermark < l.late {
		return fmt.Errorf("rebuild state: the watermark of batch %d has fallen", r.Check.Batch)
	}
	todo := driver.Rebuild{From: microbatch.Restore{Batch: l.built.Batch, Manifests: l.built.Manifests}, Ahead: map[string]bool{}, Late: l.late, As: r.Plan, Limit: bootstrapStep}
	todo.Limit.Files = int(l.s.set.snapshot().Int(setBootFiles))
	for i, src := range l.q.Plan.Sources {
		g := batch.Range{Source: src.Name}
		if l.built.Ranges != nil {
			g.Start = l.built.Ranges[i].End
		}
		at := slices.IndexFunc(r.Plan.Ranges, func(o batch.Range) bool { return o.Source == src.Name })
		if l.kept[src.Name] && at >= 0 {
			g.End, g.Pin = r.Plan.Ranges[at].End, r.Plan.Ranges[at].Pin
			was := filepath.Join(filelog.SourcesDir(vfsx.Default, l.dir, ""), src.Name)
			if err := filelog.CopyTree(vfsx.Default, was, filepath.Join(l.tmp, "sources", src.Name)); err != nil {
				return fmt.Errorf("copy what source %s wrote down: %w", src.Name, err)
			}
		} else {
			todo.Ahead[src.Name] = true
		}
		if !src.Stream {
			g.Start, g.End = "", ""
			todo.Ahead[src.Name] = todo.Ahead[src.Name] || g.Pin == ""
		}
		todo.Ranges = append(todo.Ranges, g)
	}
	targets, err := l.capture()
	if err != nil {
		return err
	}
	res, err := l.s.open(ctx, l.id, l.q, targets, l.tmp)
	if err != nil {
		return err
	}
	l.s.conns.add(res)
	defer func() {
		l.s.conns.remove(res.query)
		err = errors.Join(err, res.close())
	}()
	node, err := l.s.net.Join(transport.NodeID("driver/" + string(l.id)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	built, err := driver.RebuildState(ctx, driver.Options{
		Name: l.q.Plan.Name, Query: l.id, Plan: l.q.Plan, Sources: res.sources, Sinks: res.sinks, Volatile: res.volatile,
		StateDir: filepath.Join(l.tmp, "state"), Transport: node, Workers: l.s.crew.ids, Parallelism: l.parts,
	}, todo)
	if err != nil {
		return fmt.Errorf("rebuild state from retained input up to batch %d: %w", r.Check.Batch, err)
	}
	built.Times = append(l.built.Times, built.Times...)
	l.built, l.late = built, max(l.late, r.Plan.Watermark)
	return nil
}

// capture puts what comes out where it can be compared, and throws away the rest.
func (l *lineage) capture() ([]target, error) {
	none, err := l.s.reg.sinks.Lookup("blackhole")
	if err != nil {
		return nil, err
	}
	out := slices.Clone(l.targets)
	for i := range out {
		t := &out[i]
		def := *t.table
		def.Connector, def.Options, def.Partition = none.Name, nil, nil
		t.table, t.connector = &def, none
		if sink := l.q.Plan.Sinks[i]; l.results.wants(t) {
			if t.connector, err = l.results.sink(sink, l.q.Outputs[i].Node.Schema()); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// wants reports whether a sink has to be told how the result has changed. In append
// mode nothing of the past is put out, and in complete mode all is, by the plan itself.
func (r *results) wants(t *target) bool {
	return t.schema == nil && (t.mode == sinks.Update || t.mode == sinks.Changelog)
}

// beginBootstrap makes what a changed query needs to be rebuilt; nil if there is nothing to do.
func (s *Session) beginBootstrap(pq *planner.Query, targets []target, parts int, dir string, d *PlanDiff, was *formerQuery, at func(source string) batch.Offset) (_ *bootstrap, err error) {
	b := &bootstrap{}
	if b.now, err = s.newLineage("new", dir, pq, targets, parts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	compared := slices.ContainsFunc(targets, func(t target) bool { return b.now.results.wants(&t) })
	if !d.Rebuilt() && !compared {
		return nil, b.close()
	}
	if err := s.rewindable(pq, d, at); err != nil {
		return nil, err
	}
	b.now.kept = map[string]bool{}
	for _, src := range d.Sources {
		b.now.kept[src.Name] = src.Fate == fateKept
	}
	kept := slices.ContainsFunc(targets, func(t target) bool { return b.now.results.wants(&t) && fateIn(d.Sinks, t.name) == fateKept })
	if !kept {
		return b, nil
	}
	if was == nil {
		return nil, batch.UserErrorf("the query before cannot be planned any more (its tables are not what they were), so that it is unknown what has to be taken back in sink %s: give the query another sink, or output mode append or complete", firstKept(targets, d))
	}
	if b.was, err = s.newLineage("old", dir, was.plan, was.targets, parts); err != nil {
		return nil, err
	}
	b.was.kept = map[string]bool{}
	for _, src := range was.plan.Plan.Sources {
		b.was.kept[src.Name] = true
		c, err := s.reg.sources.Lookup(was.plan.Tables[src.Name].Connector)
		if err != nil {
			return nil, err
		}
		if src.Stream && !c.Rewinds {
			return nil, batch.UserErrorf("the result of the query before cannot be told from source %s, which does not keep what was read: give the query another sink", src.Name)
		}
	}
	return b, nil
}

// besideRounds is how often the rebuilt state is brought up to the query, which goes
// on meanwhile, and besideShort what is little enough to be done while it is stopped.
const (
	besideRounds = 10
	besideShort  = time.Second
)

// bootstrapBeside rebuilds state while the query goes on as it was, until little is
// left to do.
func (s *Session) bootstrapBeside(ctx context.Context, old *Query, d *queryDef, pq *planner.Query, targets []target) (_ *bootstrap, err error) {
	info, err := infoOf(pq, targets, "", "")
	if err != nil {
		return nil, err
	}
	was, err := state.ReadPlan(vfsx.Default, old.dir)
	if err != nil {
		return nil, err
	}
	if was == nil {
		return nil, batch.UserErrorf("the checkpoint %s does not say what its state is of", old.dir)
	}
	diff, err := compareInfos(was, info)
	if err != nil {
		return nil, err
	}
	if err := diff.allowed("empty"); err != nil {
		return nil, err
	}
	b, err := s.beginBootstrap(pq, targets, s.partsOf(d), old.dir, diff, &formerQuery{old.plan, old.targets}, func(string) batch.Offset { return "of now" })
	if b == nil || err != nil {
		return nil, err
	}
	for range besideRounds {
		begun := time.Now()
		err := old.drv.Checkpoint(ctx, func(r driver.Root) error {
			return b.advance(ctx, &state.Root{Dir: old.dir, Meta: old.log.Metadata(), Info: was, Plan: r.Plan, Commit: r.Commit, Check: r.Check})
		})
		if errors.Is(err, driver.ErrNoBatch) || errors.Is(err, driver.ErrEnded) {
			break // nothing has been read yet, or the rest is done when it is stopped
		}
		if err != nil {
			return nil, errors.Join(err, b.close())
		}
		if time.Since(begun) < besideShort {
			break
		}
	}
	return b, nil
}

func firstKept(targets []target, d *PlanDiff) string {
	for _, t := range targets {
		if (t.mode == sinks.Update || t.mode == sinks.Changelog) && fateIn(d.Sinks, t.name) == fateKept {
			return t.name
		}
	}
	return ""
}

func (b *bootstrap) advance(ctx context.Context, r *state.Root) error {
	if err := b.now.advance(ctx, r); err != nil || b.was == nil {
		return err
	}
	return b.was.advance(ctx, r)
}

func (b *bootstrap) close() error {
	if b == nil {
		return nil
	}
	err := errors.Join(b.now.close(), b.was.close())
	return errors.Join(err, vfsx.Default.RemoveAll(b.now.work))
}

// exact reports whether the query before, run over its input again, has come to the
// state that it has: then its result is what it has put out. It has not if rows were
// late, or where results depend on the order of rows.
func (b *bootstrap) exact(r *state.Root) (string, bool) {
	sums := func(shards []batch.ShardDigest) map[string]batch.Digest {
		out := map[string]batch.Digest{}
		for _, s := range shards {
			out[s.Shard.Operator] = out[s.Shard.Operator].Add(s.Digest)
		}
		return out
	}
	ms, err := r.Manifests()
	if err != nil {
		return err.Error(), false
	}
	was, is := map[string]batch.Digest{}, sums(b.was.built.Last.Shards)
	for _, m := range ms {
		was[m.Shard.Operator] = was[m.Shard.Operator].Add(m.State.Digest)
	}
	for _, op := range slices.Sorted(maps.Keys(is)) {
		if was[op] != is[op] {
			return op, false
		}
	}
	return "", true
}

// choose says of which operators state is taken from the rebuilt one: those that have
// none, and with them whatever they read from or are read by, since both have to have
// seen the same rows.
func (b *bootstrap) choose(d *PlanDiff) map[string]bool {
	stages := b.now.q.Plan.Stages
	group := map[string]string{}
	var find func(op string) string
	find = func(op string) string {
		if g, ok := group[op]; ok && g != op {
			group[op] = find(g)
			return group[op]
		}
		group[op] = op
		return op
	}
	above := make([][]string, len(stages)) // operators whose rows a stage sees
	for i, st := range stages {
		for _, in := range st.Inputs {
			above[i] = append(above[i], above[in]...)
		}
		above[i] = append(above[i], st.Stateful...)
		if len(st.Stateful) == 0 {
			continue
		}
		for _, op := range above[i] {
			group[find(op)] = find(above[i][0])
		}
	}
	rebuilt := map[string]bool{}
	for _, o := range d.Operators {
		if o.Fate == fateRebuilt {
			rebuilt[find(o.Name)] = true
		}
	}
	out := map[string]bool{}
	for _, ops := range above {
		for _, op := range ops {
			out[op] = rebuilt[find(op)]
		}
	}
	return out
}

// marks are what the watermark knows of sources that the query did not read before.
func (b *bootstrap) marks(d *PlanDiff, seen batch.EventTime) []microbatch.Mark {
	var out []microbatch.Mark
	times := slices.Clone(b.now.built.Times)
	slices.SortStableFunc(times, func(x, y batch.SourceTime) int {
		return cmp.Or(strings.Compare(x.Source, y.Source), strings.Compare(x.Partition, y.Partition), cmp.Compare(y.Max, x.Max))
	})
	for i, t := range times {
		if d.sourceFate(t.Source) == fateKept || i > 0 && times[i-1].Source == t.Source && times[i-1].Partition == t.Partition {
			continue
		}
		out = append(out, microbatch.Mark{Source: t.Source, Partition: t.Partition, Max: t.Max, Seen: seen})
	}
	return out
}
