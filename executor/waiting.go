package executor

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// What a state key of rows that wait is about, the byte behind the key group. Between
// the two is what an operator keeps of rows that have come out.
const (
	waitDue = 0 // [time][partition]: nothing
	waitRow = 2 // [partition][time][digest of the row]: how often, and the row
)

// waiting is what operators have in common whose rows are stored, by partition and
// time, until the watermark has passed their time, and then go through a body.
type waiting struct {
	base     // the input, then the body
	operator string
	shift    int64 // from a row's time to when it has passed
	table    []*workTable
	ev       *computed // the partition, then the time
	keys     *stateKeys
	codec    *rowkey.ValueCodec // of the input
	rows     *arrow.Schema      // what the body reads
	types    []arrow.DataType   // of it
	txn      statestore.Txn
	dues     dues

	vals rowkey.Rows
	held side
	onePass
}

// newWaiting is for a body that reads more behind the columns of the input.
func newWaiting(node physical.Node, in []Operator, table []*workTable, keys []expr.Expr, time expr.Expr, more ...arrow.Field) (waiting, error) {
	own := in[0].Schema().Fields()
	fields := append(append([]arrow.Field{}, own...), more...)
	w := waiting{base: base{node: node, in: in}, table: table, rows: arrow.NewSchema(fields, nil), types: fieldTypes(fields)}
	var err error
	if w.ev, err = newComputed(append(append([]expr.Expr{}, keys...), time), in[0].Schema()); err != nil {
		return w, err
	}
	if w.keys, err = newStateKeys(typesOf(keys), -1, 0, nil); err != nil {
		return w, err
	}
	w.codec, err = rowkey.NewValueCodec(w.types[:len(own)])
	return w, err
}

// Open opens the input alone: the body is opened for every run.
func (w *waiting) Open(ctx context.Context, tc *TaskContext) error {
	w.tc = tc
	w.reset()
	w.ev.open(tc)
	return w.in[0].Open(ctx, tc)
}

func (w *waiting) reset() {
	w.onePass.reset()
	w.drop()
}

func (w *waiting) drop() {
	releaseBuilders(w.held.builders)
	w.held = side{}
	for _, t := range w.table {
		t.rows = nil
	}
}

func (w *waiting) Close() error {
	w.reset()
	return w.base.Close()
}

// compute lets take store the rows of the input, and passed take those in hand of each
// partition in which something is due.
func (w *waiting) compute(ctx context.Context, take func(arrow.RecordBatch) error, passed func(group []byte, limit int64) error) error {
	var err error
	if w.txn, err = w.tc.State(ctx, w.operator); err != nil {
		return err
	}
	if err := w.dues.loadBy(w.tc, w.txn); err != nil {
		return err
	}
	if err := drain(ctx, w.in[0], take); err != nil {
		return err
	}
	limit := w.tc.Spec.Close
	err = w.dues.over(w.txn, waitDue, limit, func(entries [][]byte) error {
		seen := map[string]bool{} // a partition comes once, in the order in which they are due
		for _, entry := range entries {
			group := dueGroup(entry)
			if seen[string(group)] {
				continue
			}
			seen[string(group)] = true
			if err := passed(group, int64(limit)); err != nil {
				return err
			}
			if w.held.rows < recomputeRows {
				continue
			}
			if err := w.run(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.tc.Result.NextDue = min(w.tc.Result.NextDue, w.dues.next())
	return w.run(ctx)
}

// due is when a row's time has passed; a row without a time is due with the first watermark.
func (w *waiting) due(t int64) int64 {
	if t == math.MinInt64 {
		return t + 1
	}
	return t + w.shift
}

// encode makes the keys and the stored form of the rows of a batch. The columns, of
// which times is the last, are the caller's.
func (w *waiting) encode(rec arrow.RecordBatch) (cols []arrow.Array, times *array.Timestamp, err error) {
	if cols, err = w.ev.run(rec); err != nil {
		return nil, nil, err
	}
	n := int(rec.NumRows())
	if times, err = timesIn(w, cols); err == nil {
		err = w.keys.encodeRows(cols[:len(cols)-1], n)
	}
	if err == nil {
		err = w.codec.Encode(rec.Columns(), n, &w.vals)
	}
	if err != nil {
		gather.Release(cols)
		return nil, nil, err
	}
	return cols, times, nil
}

// put stores a row of the encoded ones: how often it has come, head, and the row.
func (w *waiting) put(i int, t int64, head ...byte) error {
	group, row := w.keys.rows.Row(i), w.vals.Row(i)
	key := rowKey(group, t, row)
	count, err := oneMore(w.txn, key)
	if err != nil {
		return err
	}
	stored := binary.AppendUvarint(make([]byte, 0, len(row)+4), uint64(count))
	if err := w.txn.Put(key, append(append(stored, head...), row...)); err != nil {
		return err
	}
	return w.look(group, w.due(t))
}

// look lets a partition be looked at when the watermark is at a time.
func (w *waiting) look(group []byte, at int64) error {
	w.dues.add(group[0], batch.EventTime(at))
	return w.txn.Put(append(timeWord([]byte{group[0], waitDue}, at), group[1:]...), nil)
}

// stored visits the rows of a partition in a part of the state, in the order of time,
// whose time has passed at a limit.
func (w *waiting) stored(group []byte, part byte, limit int64, visit func(key []byte, t int64, stored []byte) error) error {
	prefix := tagged(group, part)
	return w.txn.Scan(prefix, successor(prefix), func(key, stored []byte) (bool, error) {
		if len(key) != len(prefix)+8+16 {
			return false, rowkey.ErrDamaged
		}
		t := wordTime(key[len(prefix):])
		if w.due(t) > limit {
			return false, nil
		}
		return true, visit(key, t, stored)
	})
}

// hold takes a row in hand for the body, as often as it is there.
func (w *waiting) hold(row []byte, times int64) error {
	if w.held.builders == nil {
		w.held.builders = newBuilders(w.tc.Alloc, w.types)
	}
	own := w.held.builders[:w.in[0].Schema().NumFields()]
	for range times {
		if err := w.codec.Decode(row, own); err != nil {
			return err
		}
		w.held.rows++
	}
	return nil
}

// run runs the body over the rows in hand.
func (w *waiting) run(ctx context.Context) error {
	defer w.drop()
	if w.held.rows == 0 {
		return nil
	}
	rec := newBatch(w.rows, finish(w.held.builders), w.held.rows)
	defer rec.Release()
	for _, t := range w.table {
		t.rows = []arrow.RecordBatch{rec}
	}
	if err := w.in[1].Open(ctx, w.tc); err != nil {
		return err
	}
	return drain(ctx, w.in[1], func(out arrow.RecordBatch) error {
		out.Retain()
		w.ready = append(w.ready, out)
		return nil
	})
}
