package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
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

// What a state key of overTime is about, the byte behind the key group.
const (
	overDue  = 0 // [time][partition]: nothing
	overPast = 1 // [partition][time][digest of the row]: how often, and a row that came out and still counts
	overWait = 2 // [partition][time][digest of the row]: how often, and a row that waits
)

// overTime lets rows wait until the watermark has passed their time, and then runs
// its body over them and as many rows before them as its functions look back at.
type overTime struct {
	base  // the input, then the body
	n     *physical.OverTime
	table []*workTable
	ev    *computed // the partition, then the time
	keys  *stateKeys
	codec *rowkey.ValueCodec
	types []arrow.DataType // of the input, then of the flag
	rows  *arrow.Schema    // what the body reads
	txn   statestore.Txn
	dues  dues

	vals rowkey.Rows
	late []int32
	held side
	onePass
}

func newOverTime(n *physical.OverTime, in []Operator, work map[int][]*workTable) (*overTime, error) {
	fields := append(append([]arrow.Field{}, in[0].Schema().Fields()...), arrow.Field{Name: "new", Type: expr.TypeBool})
	o := &overTime{base: base{node: n, in: in}, n: n, table: work[n.Table], types: fieldTypes(fields), rows: arrow.NewSchema(fields, nil)}
	var err error
	if o.ev, err = newComputed(append(append([]expr.Expr{}, n.Keys...), n.Time), in[0].Schema()); err != nil {
		return nil, err
	}
	if o.keys, err = newStateKeys(typesOf(n.Keys), -1, 0, nil); err != nil {
		return nil, err
	}
	o.codec, err = rowkey.NewValueCodec(o.types[:len(o.types)-1])
	return o, err
}

// Open opens the input alone: the body is opened for every run.
func (o *overTime) Open(ctx context.Context, tc *TaskContext) error {
	o.tc = tc
	o.reset()
	o.ev.open(tc)
	return o.in[0].Open(ctx, tc)
}

func (o *overTime) reset() {
	o.onePass.reset()
	o.drop()
}

func (o *overTime) drop() {
	releaseBuilders(o.held.builders)
	o.held = side{}
	for _, t := range o.table {
		t.rows = nil
	}
}

func (o *overTime) Close() error {
	o.reset()
	return o.base.Close()
}

func (o *overTime) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return o.next(ctx, o.n.Operator, o.compute)
}

func (o *overTime) compute(ctx context.Context) error {
	var err error
	if o.txn, err = o.tc.State(ctx, o.n.Operator); err != nil {
		return err
	}
	if err := o.dues.loadBy(o.tc, o.txn); err != nil {
		return err
	}
	if err := drain(ctx, o.in[0], func(rec arrow.RecordBatch) error { return o.take(ctx, rec) }); err != nil {
		return err
	}
	limit := o.tc.Spec.Close
	for g := o.dues.first; g < o.dues.end; g++ {
		if limit == batch.NoTime || o.dues.at[g] > limit {
			continue
		}
		if err := o.pass(ctx, g, limit); err != nil {
			return err
		}
	}
	o.tc.Result.NextDue = min(o.tc.Result.NextDue, o.dues.next())
	return o.run(ctx)
}

// due is when a row's time has passed; a row without a time is due with the first watermark.
func (o *overTime) due(t int64) int64 {
	if t == math.MinInt64 {
		return t + 1
	}
	return t + o.n.Shift
}

// take stores the rows of a batch.
func (o *overTime) take(ctx context.Context, rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	cols, err := o.ev.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	times, ok := cols[len(cols)-1].(*array.Timestamp)
	if !ok {
		return fmt.Errorf("%s: the time is %s, not a timestamp", o, cols[len(cols)-1].DataType())
	}
	if err := o.keys.encodeRows(cols[:len(cols)-1], n); err != nil {
		return err
	}
	if err := o.codec.Encode(rec.Columns(), n, &o.vals); err != nil {
		return err
	}
	o.late = o.late[:0]
	for i := range n {
		t := int64(math.MinInt64)
		switch {
		case times.IsValid(i):
			if t = int64(times.Value(i)); checkTime(t) != nil {
				return checkTime(t)
			}
		case o.n.Late && o.tc.Spec.Watermark != batch.NoTime:
			o.late = append(o.late, int32(i))
			continue
		}
		if err := o.put(o.keys.rows.Row(i), t, o.vals.Row(i)); err != nil {
			return err
		}
	}
	if len(o.late) == 0 {
		return nil
	}
	noteLate(o.tc, o.n.Operator, int64(len(o.late)))
	return o.tc.late.put(ctx, o.n.Operator, rec, times, o.late)
}

func (o *overTime) put(group []byte, t int64, row []byte) error {
	key := rowKey(group, t, row)
	count := int64(1)
	err := o.txn.Get([][]byte{key}, func(_ int, stored []byte) error {
		have, _, err := countOf(stored)
		count += have
		return err
	})
	if err != nil {
		return err
	}
	stored := binary.AppendUvarint(make([]byte, 0, len(row)+4), uint64(count))
	if err := o.txn.Put(key, append(stored, row...)); err != nil {
		return err
	}
	return o.look(group, o.due(t))
}

// look lets a partition be looked at when the watermark is at a time.
func (o *overTime) look(group []byte, at int64) error {
	o.dues.add(group[0], batch.EventTime(at))
	return o.txn.Put(append(timeWord([]byte{group[0], overDue}, at), group[1:]...), nil)
}

// pass looks at the partitions of a key group in which something is due.
func (o *overTime) pass(ctx context.Context, g int, limit batch.EventTime) error {
	groups, err := o.dueGroups(g, limit)
	if err != nil {
		return err
	}
	for _, group := range groups {
		if err := o.passGroup(group, int64(limit)); err != nil {
			return err
		}
		if o.held.rows >= recomputeRows {
			if err := o.run(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// dueGroups takes the partitions off the index that are due, in its order.
func (o *overTime) dueGroups(g int, limit batch.EventTime) ([][]byte, error) {
	o.dues.at[g] = batch.EndOfTime
	var gone, groups [][]byte
	touched := map[string]bool{}
	err := o.txn.Scan([]byte{byte(g), overDue}, []byte{byte(g), overDue + 1}, func(key, _ []byte) (bool, error) {
		at, err := dueTime(key)
		if err != nil {
			return false, err
		}
		if at > limit {
			o.dues.at[g] = at
			return false, nil
		}
		gone = append(gone, bytes.Clone(key))
		if rest := key[10:]; !touched[string(rest)] {
			touched[string(rest)] = true
			groups = append(groups, append([]byte{byte(g)}, rest...))
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	for _, key := range gone {
		if err := o.txn.Delete(key); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// overRow is a row in the state of a partition.
type overRow struct {
	key    []byte
	time   int64
	count  int64
	stored []byte
}

// passGroup takes the due rows of a partition in hand behind those that count for
// them, and keeps what counts for later ones.
func (o *overTime) passGroup(group []byte, limit int64) error {
	fresh, err := o.read(tagged(group, overWait), func(t int64) bool { return o.due(t) <= limit })
	if err != nil {
		return err
	}
	past, err := o.read(tagged(group, overPast), func(int64) bool { return true })
	if err != nil {
		return err
	}
	if len(fresh) > 0 {
		for _, r := range past {
			if err := o.hold(r, false); err != nil {
				return err
			}
		}
	}
	for i, r := range fresh {
		if err := o.hold(r, true); err != nil {
			return err
		}
		if err := o.txn.Delete(r.key); err != nil {
			return err
		}
		// Its key among those that came out differs in the one byte.
		fresh[i].key = bytes.Clone(r.key)
		fresh[i].key[1] = overPast
	}
	return o.keep(group, past, fresh, limit)
}

// read lists rows of a partition in the order of time, as long as while holds.
func (o *overTime) read(prefix []byte, while func(t int64) bool) ([]overRow, error) {
	var rows []overRow
	err := o.txn.Scan(prefix, successor(prefix), func(key, stored []byte) (bool, error) {
		if len(key) != len(prefix)+8+16 {
			return false, rowkey.ErrDamaged
		}
		t := wordTime(key[len(prefix):])
		if !while(t) {
			return false, nil
		}
		count, _, err := countOf(stored)
		rows = append(rows, overRow{key: bytes.Clone(key), time: t, count: count, stored: bytes.Clone(stored)})
		return true, err
	})
	return rows, err
}

// keep writes the rows that count for later ones, and removes the others.
func (o *overTime) keep(group []byte, past, fresh []overRow, limit int64) error {
	all := append(append([]overRow{}, past...), fresh...)
	from, to := o.kept(all, limit)
	for i, r := range all {
		inside := i >= from && i < to
		var err error
		switch {
		case inside && i >= len(past):
			err = o.txn.Put(r.key, r.stored)
		case !inside && i < len(past):
			err = o.txn.Delete(r.key)
		}
		if err != nil {
			return err
		}
	}
	if back := o.n.Back; back.First == 0 && back.Rows == 0 && from < to {
		// Nobody may ever come to this partition again.
		return o.look(group, all[from].time+back.Range+o.n.Shift+1)
	}
	return nil
}

// kept is which rows of a partition count for rows behind the limit.
func (o *overTime) kept(all []overRow, limit int64) (from, to int) {
	back := o.n.Back
	if back.First > 0 {
		n := int64(0)
		for to < len(all) && (n < back.First || all[to].time == all[to-1].time) {
			n += all[to].count
			to++
		}
		return 0, to
	}
	if back.Rows < 0 {
		return 0, len(all)
	}
	from, n := len(all), int64(0)
	for from > 0 && (n < back.Rows || back.Rows > 0 && all[from-1].time == all[from].time || o.inRange(all[from-1].time, limit)) {
		from--
		n += all[from].count
	}
	return from, len(all)
}

// inRange says whether a row may lie in the range before a row behind the limit.
func (o *overTime) inRange(t, limit int64) bool {
	return o.n.Back.Range > 0 && t != math.MinInt64 && t+o.n.Back.Range+o.n.Shift > limit-1
}

func (o *overTime) hold(r overRow, isNew bool) error {
	if o.held.builders == nil {
		o.held.builders = newBuilders(o.tc.Alloc, o.types)
	}
	last := len(o.types) - 1
	flag, ok := o.held.builders[last].(*array.BooleanBuilder)
	if !ok {
		return fmt.Errorf("%s: the flag is %s", o, o.types[last])
	}
	_, row, err := countOf(r.stored)
	if err != nil {
		return err
	}
	for range r.count {
		if err := o.codec.Decode(row, o.held.builders[:last]); err != nil {
			return err
		}
		flag.Append(isNew)
		o.held.rows++
	}
	return nil
}

// run runs the body over the rows in hand.
func (o *overTime) run(ctx context.Context) error {
	defer o.drop()
	if o.held.rows == 0 {
		return nil
	}
	rec := newBatch(o.rows, finish(o.held.builders), o.held.rows)
	defer rec.Release()
	for _, t := range o.table {
		t.rows = []arrow.RecordBatch{rec}
	}
	if err := o.in[1].Open(ctx, o.tc); err != nil {
		return err
	}
	return drain(ctx, o.in[1], func(out arrow.RecordBatch) error {
		out.Retain()
		o.ready = append(o.ready, out)
		return nil
	})
}
