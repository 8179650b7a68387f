package sluice

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
)

// runBatch runs a query once over what its tables hold now.
func (s *Session) runBatch(ctx context.Context, n logical.Node) (Reader, error) {
	if name := s.unbounded(n); name != "" {
		return nil, refused(batch.UserErrorf("table %q never ends: INSERT INTO a sink under `sluice run`, or CREATE STREAMING QUERY", name))
	}
	pq, err := s.planBatch(ctx, planner.Output{Node: n})
	if err != nil {
		return nil, err
	}
	run, err := s.openBatch(ctx, pq, nil)
	if err != nil {
		return nil, err
	}
	rows, err := driver.RunBatch(ctx, run.options())
	if err != nil {
		return nil, errors.Join(err, run.close())
	}
	return &batchReader{Reader: rows, run: run}, nil
}

// insertBatch writes what a query gives now into a table and returns the number of rows.
func (s *Session) insertBatch(ctx context.Context, in insertDef, mode sinks.Mode) (int64, error) {
	n, table := in.node, in.table
	if name := s.unbounded(n); name != "" {
		return 0, refused(batch.UserErrorf("table %q never ends: run the INSERT as a pipeline (sluice run), or CREATE STREAMING QUERY", name))
	}
	c, err := s.sinkConnector(in)
	if err != nil {
		return 0, err
	}
	if !slices.Contains(c.Modes, mode) {
		return 0, refused(batch.UserErrorf("table %s: connector '%s' cannot take %s output", table.Name, c.Name, mode))
	}
	name := table.Name + "#0"
	pq, err := s.planBatch(ctx, planner.Output{Node: n, Sink: &physical.Sink{
		Name: name, Table: table.Name, Schema: n.Schema(), Mode: string(mode), Keys: table.Keys,
	}})
	if err != nil {
		return 0, err
	}
	run, err := s.openBatch(ctx, pq, []target{{name: name, table: table, connector: c, mode: mode}})
	if err != nil {
		return 0, err
	}
	if _, err = driver.RunBatch(ctx, run.options()); err == nil {
		run.succeeded = true
	}
	return run.rows.Load(), errors.Join(err, run.close())
}

// oneRun is a query that runs once.
type oneRun struct {
	s    *Session
	id   batch.QueryID
	plan *planner.Query
	res  *resources
	node *inproc.Node
	rows atomic.Int64 // written to sinks
	bad  atomic.Int64 // put into quarantine tables

	succeeded bool      // all rows are there
	analysis  *analysis // nil: nobody asks
	seen      observed
}

func (s *Session) openBatch(ctx context.Context, pq *planner.Query, targets []target) (*oneRun, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	r := &oneRun{s: s, id: newQueryID(), plan: pq}
	bad, err := s.quarantine(pq, "batch", "")
	if err != nil {
		return nil, err
	}
	targets = append(targets, bad...)
	if r.res, err = s.open(ctx, r.id, pq, targets, ""); err != nil {
		return nil, err
	}
	s.conns.add(r.res)
	if a, ok := ctx.Value(analysing{}).(*analysed); ok {
		r.analysis = &analysis{plan: pq, stages: map[int]*stageWork{}}
		a.one = r.analysis
	}
	if r.node, err = s.net.Join(transport.NodeID("driver/" + string(r.id))); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *oneRun) options() driver.Options {
	own := r.plan.Plan.OwnSinks()
	opt := driver.Options{
		Name: "batch", Query: r.id, Plan: r.plan.Plan, Sources: r.res.sources, Sinks: r.res.sinks,
		Transport: r.node, Workers: r.s.crew.ids, Parallelism: r.s.parallelism(), Measure: r.analysis != nil,
		Listener: driver.ListenerFunc(func(_ driver.Origin, e driver.Event) {
			if t, ok := e.(driver.TaskFinished); ok {
				r.seen.add(t.Result)
				if r.analysis != nil {
					r.analysis.add(&t.Result)
				}
				for _, p := range t.Result.Prepared {
					if own[p.Sink] {
						r.bad.Add(p.Rows)
						continue
					}
					r.rows.Add(p.Rows)
				}
			}
		}),
	}
	r.s.share(&opt)
	return opt
}

func (r *oneRun) close() error {
	if n := r.bad.Load(); n > 0 {
		var tables []string
		for name := range r.plan.Plan.OwnSinks() {
			tables = append(tables, strings.TrimSuffix(name, quarantineSink))
		}
		slices.Sort(tables)
		r.s.opts.Logger.Warn("bad rows were set aside", "rows", n, "tables", strings.Join(tables, ","))
	}
	r.s.conns.remove(r.id)
	err := r.res.close()
	if r.node != nil {
		err = errors.Join(err, r.node.Close())
	}
	if r.succeeded && err == nil {
		r.s.observations(r.plan.Plan, r.seen.parts)
	}
	return err
}

// batchReader closes what the query used with its rows.
type batchReader struct {
	Reader
	run *oneRun
}

func (b *batchReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	rec, err := b.Reader.Next(ctx)
	if err == io.EOF && b.run != nil {
		b.run.succeeded = true
	}
	return rec, err
}

func (b *batchReader) Close() error {
	if b.run == nil {
		return nil
	}
	run := b.run
	b.run = nil
	return errors.Join(b.Reader.Close(), run.close())
}

// oneBatch is a reader of a single batch, which it owns.
type oneBatch struct{ rec arrow.RecordBatch }

func (o *oneBatch) Next(context.Context) (arrow.RecordBatch, error) {
	if o.rec == nil {
		return nil, io.EOF
	}
	rec := o.rec
	o.rec = nil
	return rec, nil
}

func (o *oneBatch) Close() error {
	if o.rec != nil {
		o.rec.Release()
		o.rec = nil
	}
	return nil
}
