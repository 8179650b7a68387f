package sluice

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// queryDef is a streaming query as it was declared.
type queryDef struct {
	startFrom
	name       string
	text       string                    // the statement, for the checkpoint's metadata
	stmt       *ast.CreateStreamingQuery // nil if it was declared otherwise
	inserts    []insertDef
	trigger    microbatch.Trigger
	mode       sinks.Mode
	checkpoint string // as written; "" for one by name
	emit       emission
	lateInto   string        // the table of late rows, "" to drop them
	restate    time.Duration // how long past its end a window is corrected by late rows
}

// insertDef is one output of a streaming query.
type insertDef struct {
	node  logical.Node
	table *sql.TableDef
	// custom is the connector of a table that only this query knows (ForeachBatch).
	custom *sinks.Connector
}

// dir is where the query's checkpoint lies.
func (s *Session) dir(d *queryDef) string {
	name := d.checkpoint
	if name == "" {
		name = d.name
	}
	switch {
	case isBucket(name):
		return s.buckets.folder(name)
	case filepath.IsAbs(name):
		return name
	}
	if d.checkpoint != "" && s.opts.CheckpointDir == defaultCheckpoints {
		return name // relative to the working directory, as written
	}
	if isBucket(s.opts.CheckpointDir) {
		return s.buckets.folder(strings.TrimRight(s.opts.CheckpointDir, "/") + "/" + name)
	}
	return filepath.Join(s.opts.CheckpointDir, name)
}

// planHooks are what programs and tests of this package see and change of how streaming
// queries are planned. All may be nil.
type planHooks struct {
	// planned is told of queries that are planned and not run.
	planned func(d *queryDef, q *planner.Query, targets []target)
	// former describes the checkpoint that such a query is to go on from.
	former func(d *queryDef) *state.PlanInfo
	// skipRules names rules of the optimizer that are not applied.
	skipRules map[string]bool
	// formed is told what each operator with state computes.
	formed func(kind, text string)
}

// planStream plans a declared query.
func (s *Session) planStream(d *queryDef) (*planner.Query, []target, error) {
	return s.planNamed(d, nil)
}

// planOn plans a declared query that goes on from a checkpoint, whose names its
// operators take over where they compute the same: those that the rules of this
// program would lead to are others if the checkpoint is of a program with other rules.
func (s *Session) planOn(d *queryDef, was *state.PlanInfo) (*planner.Query, []target, error) {
	q, targets, err := s.planNamed(d, nil)
	if names := was.Names(); err == nil && q.Renames(names) {
		return s.planNamed(d, names)
	}
	return q, targets, err
}

// formerInfo describes the checkpoint that a query goes on from; nil if there is none.
// What is wrong with one its start tells.
func (s *Session) formerInfo(d *queryDef) *state.PlanInfo {
	info, err := state.ReadPlan(vfsx.Default, s.dir(d))
	if err != nil || info == nil && d.from == nil {
		return nil
	}
	if info == nil {
		if r, err := state.FindIn(vfsx.Default, s.logs, s.checkpointNamed(d.from.Dir), d.from.Name, batch.None); err == nil {
			info = r.Info
		}
	}
	return info
}

// planNamed plans a declared query with these names of operators.
func (s *Session) planNamed(d *queryDef, names map[string]string) (*planner.Query, []target, error) {
	var outs []planner.Output
	var targets []target
	for i, in := range d.inserts {
		c, err := s.sinkConnector(in)
		if err != nil {
			return nil, nil, err
		}
		mode := d.mode
		if len(d.inserts) > 1 && mode == sinks.Update && !slices.Contains(c.Modes, mode) && slices.Contains(c.Modes, sinks.Append) {
			mode = sinks.Append // of several outputs each does what it can; the planner refuses rows that would be taken back
		}
		if !slices.Contains(c.Modes, mode) {
			return nil, nil, refused(batch.UserErrorf("table %s: connector '%s' cannot take output mode %s; it takes %s", in.table.Name, c.Name, d.mode, modeList(c.Modes)))
		}
		name := fmt.Sprintf("%s#%d", in.table.Name, i)
		if c.Check != nil {
			spec := sinks.Spec{
				Name: name, Table: in.table.Name, Query: "planned", Schema: in.node.Schema(), Keys: in.table.Keys, PartitionBy: in.table.Partition, Mode: mode,
				Options: without(in.table.Options, "connector").Known(c.Options), Zone: s.zone(),
			}
			if err := c.Check(spec); err != nil {
				return nil, nil, refused(err)
			}
		}
		outs = append(outs, planner.Output{Node: in.node, Sink: &physical.Sink{
			Name: name, Table: in.table.Name, Schema: in.node.Schema(), Mode: string(mode), Keys: in.table.Keys,
			Final: d.emit.final, Every: d.emit.every.Microseconds(), Rows: d.emit.rows,
		}})
		targets = append(targets, target{name: name, table: in.table, connector: c, mode: mode})
	}
	count, err := functions.Aggregate("count", nil, false)
	if err != nil {
		return nil, nil, err
	}
	ttl, err := parseTTL(s.set.get(setTTL))
	if err != nil {
		return nil, nil, err
	}
	// No sizes of tables: they change, and a plan must not change with them.
	q, err := planner.Build(outs, planner.Options{Stream: true, Zone: s.zone(), RecursionMax: int(s.set.snapshot().Int(setRecursion)),
		WholeRows: d.lateInto != "", Restate: d.restate, CountRows: count, Names: names, SkipRules: s.skipRules, Form: s.formed,
		Last:      func(e expr.Expr) (*expr.AggCall, error) { return functions.Aggregate("last", []expr.Expr{e}, false) },
		Expires:   ttl.all > 0 || len(ttl.each) > 0,
		SetsAside: func(t *logical.Table) bool { return t.Options[formats.BadRows.Key] == policyQuarantine }})
	if err != nil {
		return nil, nil, refused(err)
	}
	if err := s.limitState(q); err != nil {
		return nil, nil, err
	}
	return q, targets, nil
}

func (s *Session) sinkConnector(in insertDef) (sinks.Connector, error) {
	if in.custom != nil {
		return *in.custom, nil
	}
	return s.reg.sinks.Lookup(in.table.Connector)
}

func modeList(ms []sinks.Mode) string {
	s := make([]string, len(ms))
	for i, m := range ms {
		s[i] = string(m)
	}
	return strings.Join(s, ", ")
}

// planWhole plans a declared query with the tables of its bad and late rows. The hash
// is that of the plan without them.
func (s *Session) planWhole(d *queryDef) (*planner.Query, []target, string, error) {
	pq, targets, err := s.planOn(d, s.formerInfo(d))
	if err != nil {
		return nil, nil, "", err
	}
	hash, dir := planHash(pq, targets), s.dir(d)
	bad, err := s.quarantine(pq, d.name, dir)
	if err != nil {
		return nil, nil, "", err
	}
	late, err := s.lateTable(pq, d, dir)
	return pq, append(append(targets, bad...), late...), hash, err
}

// start plans a declared query, opens its checkpoint and starts it.
func (s *Session) start(ctx context.Context, d *queryDef) (*Query, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	if s.opts.Once {
		d.trigger = microbatch.Trigger{Kind: microbatch.AvailableNow}
	}
	pq, targets, hash, err := s.planWhole(d)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings(pq) {
		s.opts.Logger.Warn("unbounded state", "query", d.name, "reason", w)
	}
	dir := s.dir(d)
	if err := s.buckets.take(ctx, dir); err != nil {
		return nil, fmt.Errorf("query %s: %w", d.name, err)
	}
	if err := s.finishFormer(ctx, d, dir, hash); err != nil {
		return nil, fmt.Errorf("query %s: %w", d.name, err)
	}
	log, err := s.logs.Open(ctx, dir, filelog.Metadata{
		Name: d.name, PlanHash: hash, SQL: d.text, Sources: sourceNames(pq), Sinks: sinkNames(targets),
		KeyGroups: batch.KeyGroups, Engine: Version,
	})
	if err != nil {
		return nil, fmt.Errorf("query %s: open checkpoint %s: %w", d.name, s.buckets.shown(dir), err)
	}
	q := &Query{s: s, def: d, plan: pq, hash: hash, dir: dir, log: log}
	former, err := s.formerQuarantines(ctx, log, pq, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("query %s: %w", d.name, err), q.cleanUp())
	}
	targets = append(targets, former...)
	if err := s.launch(ctx, q, targets); err != nil {
		return nil, errors.Join(fmt.Errorf("query %s: %w%s", d.name, err, changedProcessors(err, pq)), q.cleanUp())
	}
	s.mu.Lock()
	s.mu.queries = append(slices.DeleteFunc(s.mu.queries, func(o *Query) bool { return strings.EqualFold(o.def.name, d.name) }), q)
	s.mu.Unlock()
	return q, nil
}

// launch opens the query's connectors and starts its driver.
func (s *Session) launch(ctx context.Context, q *Query, targets []target) (err error) {
	id := q.log.Metadata().Query
	q.targets = targets
	if s.opts.workforce != nil {
		if err = s.spreads(q); err != nil {
			return err
		}
	}
	if err = s.takeUp(ctx, q, targets); err != nil {
		return err
	}
	if q.res == nil { // a changed query that was rebuilt has opened them
		if q.res, err = s.open(ctx, id, q.plan, targets, q.dir); err != nil {
			return err
		}
	}
	s.conns.add(q.res)
	values := s.set.snapshot()
	policy := microbatch.MinWatermark
	if values.Get(setPolicy) == "max" {
		policy = microbatch.MaxWatermark
	}
	zone, err := time.LoadLocation(s.zone())
	if err != nil {
		return batch.UserErrorf("time zone %q: %w", s.zone(), err)
	}
	opt := driver.Options{
		Name: q.def.name, Query: id, Plan: q.plan.Plan, PlanHash: q.hash,
		Sources: q.res.sources, Sinks: q.res.sinks, Volatile: q.res.volatile, Transactional: q.res.transactional,
		IdleTimeout: values.Duration(setIdle), Log: q.log, NextLife: q.nextLife, StateDir: filepath.Join(q.dir, "state"),
		Workers: s.crew.ids, Parallelism: cmp.Or(q.def.parallelism, s.parallelism()),
		Lookers:  q.res.lookers,
		Roots:    func() ([][]byte, error) { return filelog.SavepointRefs(vfsx.Default, q.dir) },
		Observed: func(parts []batch.Observed) map[string]any { return s.observed(q.plan.Plan, parts) },
		Listener: driver.Listeners{driver.LogTo(s.opts.Logger), driver.ListenerFunc(q.on)},
		Protocol: microbatch.Options{
			Term:    q.log.Term(),
			Trigger: q.def.trigger, Policy: policy, Zone: zone, AttemptsMax: int(values.Int(setRetries)),
			CheckpointInterval: values.Duration(setCheckpoint), CheckpointsKept: int(values.Int(setRetain)),
			CheckpointsAge: values.Duration(setRetainAge), WholeAtStart: forgetsWhole(targets, q.res.volatile),
		},
	}
	s.share(&opt)
	q.quota = quotaOf(values)
	if w := s.opts.workforce; w != nil {
		err = w.enlist(ctx, s, q, &opt)
	} else {
		q.node, err = s.net.Join(transport.NodeID("driver/" + string(id)))
		opt.Transport = q.node
	}
	if err != nil {
		return err
	}
	q.drv, err = driver.Start(ctx, opt)
	return err
}

// forgetsWhole reports whether a sink that remembers nothing beyond the process is
// given the whole result by each batch: the first one then must not wait for data.
func forgetsWhole(targets []target, volatile map[string]bool) bool {
	return slices.ContainsFunc(targets, func(t target) bool {
		return t.mode == sinks.Complete && t.connector.Name == memoryConnector && volatile[t.name]
	})
}

// planHash changes with whatever changes a query's results or where they go.
func planHash(q *planner.Query, targets []target) string {
	h := fnv.New64a()
	fmt.Fprint(h, q.Plan.Key)
	if q.Plan.Zone != "UTC" {
		fmt.Fprint(h, q.Plan.Zone)
	}
	for _, t := range targets {
		fmt.Fprint(h, t.table.Name, t.table.Connector, t.table.Options["path"], t.table.Options["topic"], t.table.Options["table"], t.mode)
	}
	for _, src := range q.Plan.Sources {
		fmt.Fprint(h, q.Tables[src.Name].Connector, whereOf(q.Tables[src.Name].Options), q.Tables[src.Name].Schema)
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// whereOf says where a source's rows come from.
func whereOf(o map[string]string) string {
	return o["path"] + o["topic"] + o["topic-pattern"] + o["assign"] + o["table"]
}

func sourceNames(q *planner.Query) []string {
	var out []string
	for _, s := range q.Plan.Sources {
		out = append(out, s.Name)
	}
	return out
}

func sinkNames(ts []target) []string {
	var out []string
	for _, t := range ts {
		out = append(out, t.name)
	}
	return out
}

// newQueryID draws the ID of a statement that runs once.
func newQueryID() batch.QueryID {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return batch.QueryID(fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
