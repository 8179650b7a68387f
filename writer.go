package sluice

import (
	"context"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/foreachbatch"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Mode says what of a result that changes is put out.
type Mode = sinks.Mode

// The output modes.
const (
	// Append puts out rows that will never change; the planner proves it.
	Append = sinks.Append
	// Update puts out the rows that changed, by the result's key.
	Update = sinks.Update
	// Complete puts out the whole result each time.
	Complete = sinks.Complete
	// Changelog puts out each change with its kind, in the column OpColumn.
	Changelog = sinks.Changelog
)

// OpColumn is the last column of rows that a function of ForeachBatch gets in
// the modes Update and Changelog: 0 insert, 1 update before, 2 update after, 3 delete.
const OpColumn = sinks.OpColumn

// Trigger says when micro-batches start.
type Trigger struct{ t microbatch.Trigger }

// Immediate starts a batch the moment data is there and the batch before is
// committed. It is the default.
func Immediate() Trigger { return Trigger{} }

// Every starts a batch on multiples of an interval.
func Every(d time.Duration) Trigger {
	return Trigger{microbatch.Trigger{Kind: microbatch.Every, Interval: d}}
}

// AvailableNow processes what is there at the start, in batches under the
// sources' limits, and ends.
func AvailableNow() Trigger { return Trigger{microbatch.Trigger{Kind: microbatch.AvailableNow}} }

// Once processes what is there in one batch and ends.
func Once() Trigger { return Trigger{microbatch.Trigger{Kind: microbatch.Once}} }

// Cron processes at each time of a schedule of five fields what has come since
// the last.
func Cron(schedule string) Trigger {
	return Trigger{microbatch.Trigger{Kind: microbatch.Cron, Schedule: schedule}}
}

// Latency lets the engine choose the size of batches so that each takes less than d.
func Latency(d time.Duration) Trigger {
	return Trigger{microbatch.Trigger{Kind: microbatch.Latency, Interval: d}}
}

// Writer puts the rows of a DataFrame somewhere: with Start as a streaming
// query, with Insert once. Its methods change it and return it.
type Writer struct {
	s    *Session
	def  queryDef
	keys []string
	err  error
}

// WriteTo writes to a table that is declared in the session. Columns go by
// position and are cast as INSERT INTO does.
func (d *DataFrame) WriteTo(table string) *Writer {
	w := &Writer{s: d.s, err: d.err}
	if w.err != nil {
		return w
	}
	name, err := parserName(table, d.s.parserOptions())
	if err != nil {
		w.err = err
		return w
	}
	q, err := d.asQuery()
	if err == nil {
		_, err = d.bound()
	}
	if err != nil {
		w.err = err
		return w
	}
	in, err := sql.BindInsert(d.s.cat, &ast.Insert{Table: *name, Query: q}, d.s.bindOptions())
	if err != nil {
		w.err = refused(err)
		return w
	}
	w.def = *d.s.defaultQuery(in, logical.Explain(in.Plan))
	return w
}

// WriteToMemory writes to a table in memory, which Session.MemoryTable and SQL
// read by its name. It starts empty in each process: use it for tests and for
// small results to look at.
func (d *DataFrame) WriteToMemory(name string) *Writer {
	c, err := d.s.reg.sinks.Lookup(memoryConnector)
	return d.writeCustom(name, c, err)
}

// ForeachBatch hands each committed batch to f, one after the other. The rows
// are borrowed: to keep a batch, retain it. An error of f ends the query, unless
// it is one of Retry, for which f is called again. At the next start, and after a
// crash, the last batch may be handed over once more: a function with effects
// outside remembers id together with them, and skips a batch that it has seen.
// That makes the effects exactly-once.
func (d *DataFrame) ForeachBatch(f func(ctx context.Context, id int64, rows []arrow.RecordBatch) error) *Writer {
	c := foreachbatch.Connector("foreach-batch", func(ctx context.Context, b foreachbatch.Batch) error {
		return f(ctx, int64(b.ID), b.Records)
	})
	return d.writeCustom("foreach_batch", c, nil)
}

// Retry marks an error of a function of ForeachBatch as one that may pass, a
// database that is away for example: the function is called again, after a pause
// that grows, until it succeeds or the query is stopped.
func Retry(err error) error {
	if err == nil {
		return nil
	}
	return batch.ExternalError(err, true)
}

// writeCustom writes to a connector without a declared table.
func (d *DataFrame) writeCustom(name string, c sinks.Connector, err error) *Writer {
	if _, berr := d.bound(); berr != nil {
		err = berr
	}
	w := &Writer{s: d.s, err: err}
	if w.err != nil {
		return w
	}
	table := memoryTable(name, d.node.Schema())
	table.Connector = c.Name
	if c.Name != memoryConnector {
		table.Options = nil
	}
	w.def = *d.s.defaultQuery(&sql.Insert{Target: table, Plan: d.node}, logical.Explain(d.node))
	w.def.inserts[0].custom = &c
	return w
}

// Name names the query. Without one its name is made from the target and the
// plan, so that the same program finds the same checkpoint again.
func (w *Writer) Name(name string) *Writer { w.def.name = name; return w }

// Mode chooses the output mode; Append by default.
func (w *Writer) Mode(m Mode) *Writer { w.def.mode = m; return w }

// Trigger says when batches start; Immediate by default.
func (w *Writer) Trigger(t Trigger) *Writer { w.def.trigger = t.t; return w }

// Checkpoint is the folder of the query's checkpoint; by default one named like
// the query. A relative one lies below Options.CheckpointDir, or in the working
// directory if that is not set.
func (w *Writer) Checkpoint(dir string) *Writer { w.def.checkpoint = dir; return w }

// Keys names the columns by which a sink without a declared table tells rows
// apart in the mode Update; a table has its PRIMARY KEY.
func (w *Writer) Keys(columns ...string) *Writer { w.keys = columns; return w }

// complete checks what the methods could not.
func (w *Writer) complete() (*queryDef, error) {
	if w.err != nil {
		return nil, w.err
	}
	d := w.def
	if err := d.trigger.Validate(); err != nil {
		return nil, refused(err)
	}
	if len(w.keys) > 0 {
		table := *d.inserts[0].table
		if d.inserts[0].custom == nil {
			return nil, refused(batch.UserErrorf("table %s: declare keys as PRIMARY KEY (%s) NOT ENFORCED", table.Name, strings.Join(w.keys, ", ")))
		}
		table.Keys = w.keys
		d.inserts = []insertDef{{node: d.inserts[0].node, table: &table, custom: d.inserts[0].custom}}
	}
	return &d, nil
}

// Start starts a streaming query. When ctx ends the query is abandoned, as by
// Query.Abandon. Started again with the same name or checkpoint it goes on
// where it was.
func (w *Writer) Start(ctx context.Context) (*Query, error) {
	d, err := w.complete()
	if err != nil {
		return nil, err
	}
	if old, ok := w.s.Query(d.name); ok && old.running() {
		return nil, refused(batch.UserErrorf("streaming query %q is running: stop it first, or give this one another Name", d.name))
	} else if ok {
		if err := old.cleanUp(); err != nil {
			return nil, err
		}
	}
	q, err := w.s.start(ctx, d)
	if err != nil {
		return nil, err
	}
	return q, w.s.nameMemoryTable(d)
}

// Insert writes what the query gives now and returns the number of rows. In the
// mode Complete it replaces what the table holds.
func (w *Writer) Insert(ctx context.Context) (int64, error) {
	d, err := w.complete()
	if err != nil {
		return 0, err
	}
	rows, err := w.s.insertBatch(ctx, d.inserts[0], d.mode)
	if err != nil {
		return 0, err
	}
	return rows, w.s.nameMemoryTable(d)
}
