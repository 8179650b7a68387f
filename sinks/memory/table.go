package memory

import (
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/stage"
)

// Table is a result in memory. It may be used by several goroutines.
type Table struct {
	schema       *arrow.Schema
	batchesLimit int

	state struct {
		sync.RWMutex
		parts   []*part
		rows    int64 // visible
		held    int64 // visible or not
		index   *index
		batches []Batch
		closed  bool
		version int64
	}
}

// Batch is a batch as it was committed.
type Batch struct {
	Query   batch.QueryID
	ID      batch.ID
	Mode    sinks.Mode
	Records []arrow.RecordBatch // with sinks.OpColumn unless append-only
}

// part is a record batch, without kinds of change, of which some rows are gone.
type part struct {
	rec  arrow.RecordBatch
	gone []bool // nil while all rows are visible
}

// compactFrom is how many rows a table holds before those that are gone are
// looked at.
const compactFrom = 1024

func newTable(schema *arrow.Schema, batchesLimit int) *Table {
	return &Table{schema: schema, batchesLimit: batchesLimit}
}

// Schema is that of the rows, without kinds of change.
func (t *Table) Schema() *arrow.Schema { return t.schema }

// NumRows is the number of visible rows.
func (t *Table) NumRows() int64 {
	t.state.RLock()
	defer t.state.RUnlock()
	return t.state.rows
}

// Version changes with every commit.
func (t *Table) Version() int64 {
	t.state.RLock()
	defer t.state.RUnlock()
	return t.state.version
}

// Snapshot returns the visible rows in the order in which they came. The record
// batches belong to the caller; they share memory with the table.
func (t *Table) Snapshot() []arrow.RecordBatch {
	t.state.RLock()
	defer t.state.RUnlock()
	return t.visibleLocked()
}

// Batches returns the last batches in the order of their commits, each record
// batch retained for the caller.
func (t *Table) Batches() []Batch {
	t.state.RLock()
	defer t.state.RUnlock()
	out := slices.Clone(t.state.batches)
	for i := range out {
		out[i].Records = slices.Clone(out[i].Records)
		for _, r := range out[i].Records {
			r.Retain()
		}
	}
	return out
}

// Close gives the rows back. Commits after it are refused.
func (t *Table) Close() {
	t.state.Lock()
	defer t.state.Unlock()
	t.state.closed = true
	t.clearLocked()
	for _, b := range t.state.batches {
		releaseAll(b.Records)
	}
	t.state.batches = nil
}

func releaseAll(recs []arrow.RecordBatch) {
	for _, r := range recs {
		r.Release()
	}
}

func (t *Table) clearLocked() {
	for _, p := range t.state.parts {
		p.rec.Release()
	}
	t.state.parts, t.state.rows, t.state.held, t.state.index = nil, 0, 0, nil
}

// commit applies a batch, whose record batches are borrowed.
func (t *Table) commit(b Batch, keys []int) error {
	t.state.Lock()
	defer t.state.Unlock()
	if t.state.closed {
		return fmt.Errorf("commit batch %d to a closed memory table", b.ID)
	}
	t.state.version++
	if b.Mode == sinks.Complete {
		t.clearLocked()
	}
	for _, rec := range b.Records {
		if b.Mode == sinks.Append || b.Mode == sinks.Complete {
			t.addLocked(rec)
		} else {
			t.changeLocked(rec, keys)
		}
	}
	t.rememberLocked(b)
	return t.compactLocked()
}

func (t *Table) rememberLocked(b Batch) {
	if t.batchesLimit == 0 {
		return
	}
	if len(t.state.batches) == t.batchesLimit {
		releaseAll(t.state.batches[0].Records)
		t.state.batches = slices.Delete(t.state.batches, 0, 1)
	}
	b.Records = slices.Clone(b.Records)
	for _, r := range b.Records {
		r.Retain()
	}
	t.state.batches = append(t.state.batches, b)
}

// addLocked adds the rows of rec as a new part.
func (t *Table) addLocked(rec arrow.RecordBatch) *part {
	_, columns := stage.Ops(rec)
	p := &part{rec: array.NewRecordBatch(t.schema, rec.Columns()[:columns], rec.NumRows())}
	t.state.parts = append(t.state.parts, p)
	t.state.rows += rec.NumRows()
	t.state.held += rec.NumRows()
	if t.state.index != nil {
		for row := range int(rec.NumRows()) {
			t.state.index.add(p, row)
		}
	}
	return p
}

// changeLocked applies the changes of rec in their order.
func (t *Table) changeLocked(rec arrow.RecordBatch, keys []int) {
	ops, _ := stage.Ops(rec)
	if ops == nil && len(keys) == 0 {
		t.addLocked(rec)
		return
	}
	if x := t.state.index; x == nil || !slices.Equal(x.keys, keys) {
		t.state.index = newIndex(keys, t.state.parts)
	}
	x := t.state.index
	t.state.index = nil // the rows of the new part come in one by one
	p := t.addLocked(rec)
	t.state.index = x
	for row := range int(rec.NumRows()) {
		switch stage.OpAt(ops, row) {
		case sinks.Insert, sinks.UpdateAfter:
			if len(keys) > 0 {
				t.hideLocked(x.take(p, row))
			}
			x.add(p, row)
		case sinks.UpdateBefore, sinks.Delete:
			t.hideLocked(x.take(p, row))
			t.hideLocked(place{p, row}, true)
		}
	}
}

// hideLocked takes a row out of sight, if there is one.
func (t *Table) hideLocked(at place, found bool) {
	if !found {
		return
	}
	if at.part.gone == nil {
		at.part.gone = make([]bool, at.part.rec.NumRows())
	}
	at.part.gone[at.row] = true
	t.state.rows--
}

// visibleLocked cuts the visible rows out of the parts.
func (t *Table) visibleLocked() []arrow.RecordBatch {
	var out []arrow.RecordBatch
	for _, p := range t.state.parts {
		n := int(p.rec.NumRows())
		if p.gone == nil {
			p.rec.Retain()
			out = append(out, p.rec)
			continue
		}
		for from := 0; from < n; {
			to := from
			for to < n && !p.gone[to] {
				to++
			}
			if to > from {
				out = append(out, p.rec.NewSlice(int64(from), int64(to)))
			}
			from = to + 1
		}
	}
	return out
}

// compactLocked copies the visible rows together once most rows are gone.
func (t *Table) compactLocked() error {
	if t.state.held < compactFrom || t.state.rows*2 > t.state.held {
		return nil
	}
	visible := t.visibleLocked()
	defer releaseAll(visible)
	rec, err := formats.Concat(t.schema, visible, memory.DefaultAllocator)
	if err != nil {
		return fmt.Errorf("compact %d of %d rows of a memory table: %w", t.state.rows, t.state.held, err)
	}
	defer rec.Release()
	x := t.state.index
	t.clearLocked()
	if rec.NumRows() > 0 {
		t.addLocked(rec)
	}
	if x != nil {
		t.state.index = newIndex(x.keys, t.state.parts)
	}
	return nil
}
