package sluice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
	"github.com/sluice-stream/sluice/statestore"
)

const evolveBootstrap = "bootstrap"

// bootStart is a start that rebuilds what a changed query lacks.
type bootStart struct {
	prepared *bootstrap   // by rounds beside the query as it was; nil: all is to be done
	former   *formerQuery // the query as it was, if it is known
}

// formerQuery is a query as it was before it changed.
type formerQuery struct {
	plan    *planner.Query
	targets []target
}

// bootstraps reports whether a start rebuilds state.
func (s *Session) bootstraps(d *queryDef) bool {
	return d.boot != nil || s.set.get(setEvolution) == evolveBootstrap
}

// formerDef declares the query that a checkpoint is of, from the text that it was
// started with and the tables of this session; nil if that is another one now.
func (s *Session) formerDef(info *state.PlanInfo, name, dir, hash string) (*queryDef, *formerQuery) {
	if info == nil || info.SQL == "" {
		return nil, nil
	}
	stmts, err := parser.Parse(info.SQL, s.parserOptions())
	if err != nil || len(stmts) != 1 {
		return nil, nil
	}
	var d *queryDef
	switch st := stmts[0].(type) {
	case *ast.CreateStreamingQuery:
		d, err = s.declare(st)
	case *ast.Insert:
		var in *sql.Insert
		opts := s.bindOptions()
		opts.Definitions = true
		if in, err = sql.BindInsert(s.pinnedCatalog(dir), st, opts); err == nil {
			d = s.defaultQuery(in, info.SQL)
		}
	}
	if err != nil || d == nil {
		return nil, nil
	}
	if dir, err = filepath.Abs(dir); err != nil { // a relative one would be taken as one below the base folder
		return nil, nil
	}
	d.name, d.checkpoint = name, dir
	pq, targets, err := s.planOn(d, info)
	if err != nil || planHash(pq, targets) != hash {
		return nil, nil
	}
	return d, &formerQuery{pq, targets}
}

// former is the query as it was before it changed; nil if it is not known any more.
func (a *adoption) former(h *state.History, r *state.Root) *formerQuery {
	if boot := a.q.def.boot; boot != nil && boot.former != nil {
		return boot.former
	}
	_, former := a.s.formerDef(r.Info, a.q.def.name, a.q.dir, h.Hash)
	return former
}

// bootstrap goes on with the state that stays and with what is rebuilt from retained
// input, and lets sinks know how the result differs.
func (a *adoption) bootstrap(ctx context.Context, h *state.History, r *state.Root, d *PlanDiff) (err error) {
	b := (*bootstrap)(nil)
	if boot := a.q.def.boot; boot != nil {
		b = boot.prepared
	}
	if b == nil {
		if b, err = a.s.beginBootstrap(a.q.plan, a.targets, a.s.partsOf(a.q.def), a.q.dir, d, a.former(h, r), r.At); err != nil {
			return err
		}
		if b == nil {
			return a.unrebuilt(ctx, h, r, d)
		}
		defer func() { err = errors.Join(err, b.close()) }()
	}
	if err := b.advance(ctx, r); err != nil {
		return err
	}
	s := &swap{adoption: a, b: b, r: r, d: d, rec: a.record(r, d, "plan "+h.Hash+", rebuilt from retained input", keptOutput(r, d))}
	return s.carryOut(ctx)
}

// partsOf is the parallelism that a query starts with.
func (s *Session) partsOf(d *queryDef) int {
	if d.parallelism > 0 {
		return d.parallelism
	}
	return s.parallelism()
}

// unrebuilt goes on with what is there: nothing has to be rebuilt or compared.
func (a *adoption) unrebuilt(ctx context.Context, h *state.History, r *state.Root, d *PlanDiff) error {
	kept, err := a.s.taken(ctx, filepath.Join(a.q.dir, "state"), r, d)
	if err != nil {
		return err
	}
	rec := a.record(r, d, "plan "+h.Hash, keptOutput(r, d))
	showAll(&rec, a.targets)
	if rec.Manifests, err = manifestRecords(kept); err != nil {
		return err
	}
	return a.append(ctx, rec)
}

// showAll makes a batch without data follow where a result is put out whole.
func showAll(rec *microbatch.Adopted, targets []target) {
	if slices.ContainsFunc(targets, func(t target) bool { return t.mode == sinks.Complete }) {
		rec.Commit.NextWake = max(rec.Plan.Now, 1)
	}
}

// swap is the step from a query to the changed one.
type swap struct {
	*adoption
	b   *bootstrap
	r   *state.Root
	d   *PlanDiff
	rec microbatch.Adopted
	// shown is the output to sinks that forget what is prepared when the process ends.
	shown map[string][]batch.Prepared
}

func (s *swap) carryOut(ctx context.Context) error {
	fs := vfsx.Default
	now := s.b.now
	if slices.ContainsFunc(s.targets, func(t target) bool { return now.results.wants(&t) }) {
		s.rec.Plan.Batch++ // the batch whose output is what differs
		s.rec.Plan.NoData = true
		s.rec.Commit = microbatch.Committed{Batch: s.rec.Plan.Batch, Term: s.term, Shards: s.rec.Commit.Shards, Marks: s.rec.Commit.Marks,
			NextWatermark: s.rec.Commit.NextWatermark, NextDue: s.rec.Commit.NextDue, NextWake: s.rec.Commit.NextWake}
	}
	for i := range s.rec.Plan.Ranges {
		g := &s.rec.Plan.Ranges[i]
		if s.d.sourceFate(g.Source) != fateKept {
			*g = now.built.Ranges[i]
		}
		g.Start = g.End
	}
	last := now.built.Last
	s.rec.Commit.NextDue = min(s.rec.Commit.NextDue, last.NextDue)
	if w := last.NextWake; w != 0 && (s.rec.Commit.NextWake == 0 || w < s.rec.Commit.NextWake) {
		s.rec.Commit.NextWake = w
	}
	showAll(&s.rec, s.targets)
	s.rec.Commit.Marks = append(s.rec.Commit.Marks, s.b.marks(s.d, s.rec.Plan.Now)...)
	if err := s.takeState(ctx); err != nil {
		return err
	}
	for _, src := range s.d.Sources {
		if src.Fate == fateKept {
			continue
		}
		to := fs.PathJoin(filelog.SourcesDir(fs, s.q.dir, ""), src.Name)
		if err := filelog.CopyTree(fs, filepath.Join(now.tmp, "sources", src.Name), to); err != nil {
			return fmt.Errorf("take over what source %s wrote down: %w", src.Name, err)
		}
	}
	var err error
	if s.q.res, err = s.s.open(ctx, s.q.log.Metadata().Query, s.q.plan, s.targets, s.q.dir); err != nil {
		return err
	}
	if err := s.output(ctx); err != nil {
		return err
	}
	if err := s.append(ctx, s.rec); err != nil {
		return err
	}
	for sink, parts := range s.shown {
		if err := s.q.res.sinks[sink].Commit(ctx, s.rec.Plan.Batch, s.term, parts); err != nil {
			return fmt.Errorf("show sink %s how the result has changed: %w", sink, err)
		}
	}
	return nil
}

// takeState puts the files of rebuilt operators beside those that stay, and names both.
func (s *swap) takeState(ctx context.Context) error {
	fs := vfsx.Default
	rebuilt := s.b.choose(s.d)
	var ms []statestore.Manifest
	to := fs.PathJoin(s.q.dir, "state")
	d := *s.d
	d.Operators = slices.Clone(d.Operators)
	for i := range d.Operators { // what is rebuilt need not be converted
		o := &d.Operators[i]
		o.Converted = o.Converted && !rebuilt[o.Name]
	}
	all, err := s.s.taken(ctx, to, s.r, &d)
	if err != nil {
		return err
	}
	for _, m := range all {
		if rebuilt[m.Shard.Operator] {
			continue
		}
		if m, err = s.s.raised(ctx, to, m, s.rec.Plan.Batch); err != nil {
			return err
		}
		ms = append(ms, m)
	}
	s.rec.Commit.Shards = slices.DeleteFunc(s.rec.Commit.Shards, func(sd batch.ShardDigest) bool { return rebuilt[sd.Shard.Operator] })
	var files []string
	for _, ref := range s.b.now.built.Manifests {
		if !rebuilt[ref.Shard.Operator] {
			continue
		}
		var m statestore.Manifest
		if err := json.Unmarshal([]byte(ref.Ref), &m); err != nil {
			return fmt.Errorf("read the manifest of %s: %w", ref.Shard, err)
		}
		for _, p := range m.Parts {
			files = append(files, p.Name)
		}
		m.Version = s.rec.Plan.Batch
		ms = append(ms, m)
		s.rec.Commit.Shards = append(s.rec.Commit.Shards, batch.ShardDigest{Shard: m.Shard, Digest: m.State.Digest})
	}
	if err := filelog.LinkFiles(fs, filepath.Join(s.b.now.tmp, "state"), to, files); err != nil {
		return err
	}
	s.rec.Manifests, err = manifestRecords(ms)
	return err
}

// output prepares what differs from the result before, for each sink that is told so.
func (s *swap) output(ctx context.Context) error {
	now, was := s.b.now, s.b.was
	s.shown = map[string][]batch.Prepared{}
	op, exact := "", true
	if was != nil {
		op, exact = s.b.exact(s.r)
	}
	for _, t := range s.targets {
		res := now.results.of[t.name]
		if res == nil {
			continue
		}
		var before *result
		if was != nil && fateIn(s.d.Sinks, t.name) == fateKept {
			before = was.results.of[t.name]
			if !exact && t.mode == sinks.Changelog {
				return batch.UserErrorf("it is not known what has to be taken back in sink %s: run over its input again, the query before comes to another state of %s (rows were late, or results depend on their order); give the query another sink", t.name, op)
			}
		}
		a := sinks.Attempt{Task: batch.TaskID{Query: s.q.log.Metadata().Query, Batch: s.rec.Plan.Batch, Stage: len(s.q.plan.Plan.Stages)}, Term: s.term, Now: s.rec.Plan.Now}
		p, err := res.put(ctx, before, !exact, s.q.res.writers[t.name], a, t.name)
		if err != nil {
			return fmt.Errorf("tell sink %s how the result has changed: %w", t.name, err)
		}
		if s.q.res.volatile[t.name] {
			s.shown[t.name] = []batch.Prepared{p}
			continue
		}
		s.rec.Commit.Prepared = append(s.rec.Commit.Prepared, p)
	}
	slices.SortStableFunc(s.rec.Commit.Prepared, func(x, y batch.Prepared) int { return strings.Compare(x.Sink, y.Sink) })
	return nil
}
