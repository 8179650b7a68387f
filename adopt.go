package sluice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// takeUp makes a query's checkpoint one of the query's plan, before its driver reads
// it: a new one may begin with the state of another query (FROM CHECKPOINT), and an
// old one may be of a plan that was another before.
func (s *Session) takeUp(ctx context.Context, q *Query, targets []target) error {
	var recs []microbatch.Record
	for rec, err := range q.log.Replay(ctx, 0) {
		if err != nil {
			return fmt.Errorf("read the batch log: %w", err)
		}
		recs = append(recs, rec)
	}
	h := state.ReadHistory(recs)
	info, err := infoOf(q.plan, targets, q.hash, q.def.text)
	if err != nil {
		return err
	}
	// What a crash has left; but not what the start that this one is a part of has prepared.
	if q.def.finishing == nil && (q.def.boot == nil || q.def.boot.prepared == nil) {
		if err := vfsx.Default.RemoveAll(s.buckets.work(q.dir)); err != nil {
			return err
		}
	}
	a := adoption{s: s, q: q, targets: targets, info: info, term: h.Term + 1}
	if t := q.log.Term(); t != 0 {
		a.term = t
	}
	switch {
	case len(recs) == 0 && q.def.from != nil:
		err = a.fromElsewhere(ctx)
	case h.Hash != "" && h.Hash != q.hash && h.Planned != batch.None:
		err = a.evolve(ctx, h)
	case h.Hash != "" && h.Hash != q.hash:
		err = a.forget()
	}
	if err != nil {
		return err
	}
	return a.describe()
}

// forget removes what sources wrote down that the plan reads elsewhere: the query was
// started and no batch of it was planned, so that it begins as if it were new.
func (a *adoption) forget() error {
	was, err := state.ReadPlan(vfsx.Default, a.q.dir)
	if err != nil || was == nil {
		return err
	}
	for _, now := range a.info.Sources {
		if old, ok := was.Source(now.Name); ok && old.Connector == now.Connector && old.Place == now.Place {
			continue
		}
		if err := vfsx.Default.RemoveAll(vfsx.Default.PathJoin(filelog.SourcesDir(vfsx.Default, a.q.dir, ""), now.Name)); err != nil {
			return err
		}
	}
	return nil
}

// infoOf describes a plan for its checkpoint.
func infoOf(q *planner.Query, targets []target, hash, text string) (*state.PlanInfo, error) {
	p := &state.PlanInfo{Hash: hash, Engine: Version, SQL: text, Operators: []state.OperatorInfo{}}
	for _, f := range q.Plan.StateForms() {
		o := state.InfoOf(f)
		o.Canon = q.Forms[f.Operator]
		p.Operators = append(p.Operators, o)
	}
	for _, src := range q.Plan.Sources {
		t := q.Tables[src.Name]
		si := state.SourceInfo{Name: src.Name, Table: t.Name, Connector: t.Connector, Place: placeOf(t.Options), Stream: src.Stream, Inferred: t.Inferred, Reads: q.Plan.Reads(src.Name)}
		if t.Schema != nil {
			si.Schema = state.EncodeSchema(t.Schema.Fields())
		}
		p.Sources = append(p.Sources, si)
	}
	for _, t := range targets {
		p.Sinks = append(p.Sinks, state.SinkInfo{Name: t.name, Table: t.table.Name, Connector: t.connector.Name, Place: placeOf(t.table.Options), Mode: string(t.mode)})
	}
	return p, nil
}

// placeOf tells tables of one connector apart, as far as offsets and output go.
func placeOf(opts map[string]string) string {
	var out []string
	for _, key := range []string{"path", "topic", "topic-pattern", "assign", "host", "port", "url", "table", "bucket"} {
		if v := opts[key]; v != "" {
			out = append(out, key+"="+v)
		}
	}
	return strings.Join(out, " ")
}

// adoption brings state that another plan has made into a query's checkpoint.
type adoption struct {
	s       *Session
	q       *Query
	targets []target
	info    *state.PlanInfo
	term    batch.Term
}

// describe writes down what the plan is, unless that is there already.
func (a *adoption) describe() error {
	data, err := state.EncodePlan(*a.info)
	if err != nil {
		return err
	}
	if old, err := state.ReadPlanBytes(vfsx.Default, a.q.dir); err == nil && string(old) == string(data) {
		return nil
	}
	return state.WritePlan(vfsx.Default, a.q.dir, data)
}

// fromElsewhere begins a new checkpoint with the state of another query, whose
// files are taken over: afterwards neither needs the other.
func (a *adoption) fromElsewhere(ctx context.Context) error {
	from := a.q.def.from
	dir := a.s.checkpointNamed(from.Dir)
	err := a.s.buckets.failure(dir)
	if err != nil {
		return err
	}
	for range state.FindTries {
		if err = a.copyFrom(ctx, dir, from.Name); err == nil || from.Name != "" || ctx.Err() != nil {
			break // a savepoint does not change; of a running query the next try finds a newer checkpoint
		}
	}
	if err != nil {
		return fmt.Errorf("start from checkpoint %s: %w", dir, err)
	}
	return nil
}

func (a *adoption) copyFrom(ctx context.Context, dir, savepoint string) error {
	fs := vfsx.Default
	r, err := state.FindIn(fs, a.s.logs, dir, savepoint, batch.None)
	if err != nil {
		return err
	}
	diff, err := diffPlans(r, a.info)
	if err != nil {
		return err
	}
	if err := diff.allowed(a.s.set.get(setEvolution)); err != nil {
		return err
	}
	kept, err := keptManifests(r, diff)
	if err != nil {
		return err
	}
	var files []string
	for _, m := range kept {
		for _, p := range m.Parts {
			files = append(files, p.Name)
		}
	}
	to := fs.PathJoin(a.q.dir, "state")
	if err := filelog.LinkFiles(fs, r.StateDir(fs), to, files); err != nil {
		return err
	}
	if kept, err = a.s.taken(ctx, to, r, diff); err != nil {
		return err
	}
	for _, src := range diff.Sources {
		if src.Fate != fateKept {
			continue
		}
		was := fs.PathJoin(filelog.SourcesDir(fs, dir, savepoint), src.Name)
		if err := filelog.CopyTree(fs, was, fs.PathJoin(filelog.SourcesDir(fs, a.q.dir, ""), src.Name)); err != nil {
			return fmt.Errorf("take over what source %s wrote down: %w", src.Name, err)
		}
	}
	label := fmt.Sprintf("query %s, checkpoint %s, batch %d", r.Meta.Name, dir, r.Check.Batch)
	if savepoint != "" {
		label = fmt.Sprintf("query %s, savepoint %s of %s, batch %d", r.Meta.Name, savepoint, dir, r.Check.Batch)
	}
	return a.adopt(ctx, r, diff, kept, label, nil)
}

// evolve goes on with the state of those operators of an older plan that the plan
// still has.
func (a *adoption) evolve(ctx context.Context, h *state.History) error {
	if a.s.set.get(setEvolution) == "none" {
		return nil // the driver refuses the other plan by its hash
	}
	r, err := a.s.evolvable(a.q.dir, h)
	if err != nil {
		return err
	}
	diff, err := diffPlans(r, a.info)
	if err != nil {
		return err
	}
	if h.Adopted == h.Committed {
		if err := a.showAdopted(ctx, h, r); err != nil {
			return err
		}
	}
	boot := a.s.bootstraps(a.q.def)
	policy := a.s.set.get(setEvolution)
	if boot {
		policy = "empty" // nothing begins empty: it is rebuilt
	}
	if err := diff.allowed(policy); err != nil {
		return err
	}
	for _, line := range diff.Lines() {
		a.s.opts.Logger.Warn("the query has changed", "query", a.q.def.name, "what", line)
	}
	if boot {
		return a.bootstrap(ctx, h, r, diff)
	}
	kept, err := a.s.taken(ctx, vfsx.Default.PathJoin(a.q.dir, "state"), r, diff)
	if err != nil {
		return err
	}
	return a.adopt(ctx, r, diff, kept, "plan "+h.Hash, keptOutput(r, diff))
}

// showAdopted shows what the plan before has put out when it was adopted itself, if the
// query ended before that. A checkpoint of any other batch stands in the log when
// its output is shown (M7), but an adopted batch has one from the beginning, and no
// start of another plan shows it once its place is taken.
func (a *adoption) showAdopted(ctx context.Context, h *state.History, r *state.Root) (err error) {
	was := a.former(h, r) // with the sinks that are dropped
	if was == nil {
		was = &formerQuery{a.q.plan, a.targets}
	}
	res, err := a.s.openSinks(ctx, a.q.log.Metadata().Query, was.plan, was.targets, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.close()) }()
	for name, sink := range res.sinks {
		parts := slices.DeleteFunc(slices.Clone(r.Commit.Prepared), func(p batch.Prepared) bool { return p.Sink != name })
		if len(parts) == 0 || res.volatile[name] {
			continue // a volatile sink's parts are lost, as after every crash; it promises no more
		}
		if res.transactional[name] { // so are its parts, but it knows what it holds
			held, _, err := sink.Holds(ctx)
			if err != nil {
				return fmt.Errorf("ask sink %s what it holds: %w", name, err)
			}
			if held < h.Committed {
				return batch.UserErrorf("%w: sink %s was not shown how the result had changed with batch %d, since the query ended before; that cannot be told again: give the query another sink or a new checkpoint",
					microbatch.ErrSinkBehind, name, h.Committed)
			}
			continue
		}
		if err := sink.Commit(ctx, h.Committed, a.term, parts); err != nil {
			return fmt.Errorf("show sink %s what batch %d, of the plan before, has put out: %w", name, h.Committed, err)
		}
	}
	return nil
}

// keptOutput is the newest batch's output to the sinks that stay.
func keptOutput(r *state.Root, d *PlanDiff) []batch.Prepared {
	var parts []batch.Prepared
	for _, p := range r.Commit.Prepared {
		if fateIn(d.Sinks, p.Sink) == fateKept {
			parts = append(parts, p)
		}
	}
	return parts
}

// errUnfinished says what has to be done before a changed query can go on.
const errUnfinished = "the query has changed, and batch %d was %s by the plan before and its state is in no checkpoint: start the query as it was, let it process that (sluice run --once, or STOP), and then start the changed one; or give the changed query a new checkpoint"

// evolvable returns the state that another plan may go on with: that of the newest
// batch. What has still to be run again must be run by the plan that planned it.
func (s *Session) evolvable(dir string, h *state.History) (*state.Root, error) {
	r, err := state.FindIn(vfsx.Default, s.logs, dir, "", batch.None)
	newest := batch.None
	if err == nil {
		newest = r.Check.Batch
	}
	switch {
	case h.Planned > h.Committed:
		return nil, batch.UserErrorf("%w: "+errUnfinished, microbatch.ErrPlanChanged, h.Planned, "planned")
	case newest != h.Committed:
		return nil, batch.UserErrorf("%w: "+errUnfinished, microbatch.ErrPlanChanged, h.Committed, "committed")
	}
	return r, nil
}

// fits says whether a query that is to replace another one may go on from its
// checkpoint. The last checkpoint of the old one is written when it stops.
func (s *Session) fits(old *Query, pq *planner.Query, targets []target) error {
	info, err := infoOf(pq, targets, planHash(pq, targets), "")
	if err != nil {
		return err
	}
	was, err := state.ReadPlan(vfsx.Default, old.dir)
	if err != nil || was == nil {
		return batch.UserErrorf("the query differs from the one that wrote the checkpoint %s; give it a CHECKPOINT of its own", old.dir)
	}
	diff, err := compareInfos(was, info)
	if err != nil {
		return err
	}
	return diff.allowed(s.set.get(setEvolution))
}

// keptManifests are those of the operators that stay.
func keptManifests(r *state.Root, d *PlanDiff) ([]statestore.Manifest, error) {
	ms, err := r.Manifests()
	return slices.DeleteFunc(ms, func(m statestore.Manifest) bool { return d.fate(m.Shard.Operator) != fateKept }), err
}

// adopt writes the state of operators that have none, and then the record that
// makes the query go on from there.
func (a *adoption) adopt(ctx context.Context, r *state.Root, d *PlanDiff, kept []statestore.Manifest, label string, parts []batch.Prepared) error {
	fresh, err := emptyStates(ctx, vfsx.Default.PathJoin(a.q.dir, "state"), d, r.Check.Batch)
	if err != nil {
		return err
	}
	rec := a.record(r, d, label, parts)
	if rec.Manifests, err = manifestRecords(append(kept, fresh...)); err != nil {
		return err
	}
	return a.append(ctx, rec)
}

// append writes the record that makes the query go on from what it names: the one step
// from the old to the new.
func (a *adoption) append(ctx context.Context, rec microbatch.Adopted) error {
	// The description first: one that is newer than the log tells nobody anything wrong
	// that reads the log (S3), and a crash in between leads here again.
	if err := a.describe(); err != nil {
		return err
	}
	if err := a.s.buckets.publish(ctx, a.q.dir, rec.Manifests); err != nil {
		return err
	}
	if err := a.q.log.Append(ctx, a.term, rec); err != nil {
		return err
	}
	next, err := a.q.log.Next(ctx)
	if err == nil {
		a.q.log = next
	}
	return err
}

// record says in the terms of the new plan where the sources stand and what the
// watermark knows. The manifests are missing.
func (a *adoption) record(r *state.Root, d *PlanDiff, label string, parts []batch.Prepared) microbatch.Adopted {
	rec := microbatch.Adopted{Term: a.term, From: label, Plan: r.Plan, Commit: r.Commit}
	rec.Identity = r.Check.Identity
	rec.Identity.Query, rec.Identity.PlanHash = a.q.log.Metadata().Query, a.q.hash
	rec.Plan.Term, rec.Plan.PlanHash = a.term, a.q.hash
	rec.Plan.Ranges = nil
	for _, src := range a.q.plan.Plan.Sources {
		g := batch.Range{Source: src.Name}
		if d.sourceFate(src.Name) == fateKept {
			if i := slices.IndexFunc(r.Plan.Ranges, func(o batch.Range) bool { return o.Source == src.Name }); i >= 0 {
				g = r.Plan.Ranges[i]
				g.Start = g.End
			}
		}
		rec.Plan.Ranges = append(rec.Plan.Ranges, g)
	}
	rec.Commit.Term, rec.Commit.Prepared = a.term, parts
	rec.Commit.Marks = slices.DeleteFunc(slices.Clone(r.Commit.Marks), func(m microbatch.Mark) bool { return d.sourceFate(m.Source) != fateKept })
	rec.Commit.Shards = slices.DeleteFunc(slices.Clone(r.Commit.Shards), func(sd batch.ShardDigest) bool { return d.fate(sd.Shard.Operator) != fateKept })
	return rec
}

// manifestRecords are manifests as the batch log has them.
func manifestRecords(ms []statestore.Manifest) ([]microbatch.Manifest, error) {
	var out []microbatch.Manifest
	for _, m := range ms {
		ref, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("encode the manifest of %s: %w", m.Shard, err)
		}
		rec := microbatch.Manifest{Shard: m.Shard, Ref: string(ref), Digest: m.State.Digest}
		for _, p := range m.Parts {
			rec.Bytes += p.Bytes
		}
		out = append(out, rec)
	}
	return out, nil
}

// emptyStates writes a state without rows for each operator that has none to go on with.
func emptyStates(ctx context.Context, dir string, d *PlanDiff, version batch.ID) ([]statestore.Manifest, error) {
	var out []statestore.Manifest
	files, err := checkpoint.Open(vfsx.Default, dir)
	if err != nil {
		return nil, err
	}
	for _, op := range d.Operators {
		if op.Fate != fateRebuilt {
			continue
		}
		shard := batch.Shard{Operator: op.Name, EndGroup: batch.KeyGroups}
		part, err := files.Write(ctx, checkpoint.Header{Kind: checkpoint.Snapshot, Shard: shard, Version: version, Base: batch.None},
			func(checkpoint.Put) error { return nil })
		if err != nil {
			return nil, err
		}
		out = append(out, statestore.Manifest{Shard: shard, Version: version, Parts: []statestore.Part{part}})
	}
	return out, nil
}
