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

// What a state key of versions is about, the byte behind the key group.
const (
	versionDue  = 0 // [time][partition]: nothing
	versionLast = 1 // [partition]: the last row with a value that is over
	versionRow  = 2 // [partition][time][digest of the row]: how often, whether it has a value, and the row
)

// versions lets rows wait until the watermark has passed their time, and then runs
// its body over them and the last version before them.
type versions struct {
	base  // the input, then the body
	n     *physical.Versions
	table []*workTable
	ev    *computed // the partition, then the time
	keys  *stateKeys
	codec *rowkey.ValueCodec
	types []arrow.DataType
	txn   statestore.Txn
	dues  dues

	vals rowkey.Rows
	held side
	onePass
}

func newVersions(n *physical.Versions, in []Operator, work map[int][]*workTable) (*versions, error) {
	v := &versions{base: base{node: n, in: in}, n: n, table: work[n.Table], types: fieldTypes(in[0].Schema().Fields())}
	var err error
	if v.ev, err = newComputed(append(append([]expr.Expr{}, n.Keys...), n.Time), in[0].Schema()); err != nil {
		return nil, err
	}
	if v.keys, err = newStateKeys(typesOf(n.Keys), -1, 0, nil); err != nil {
		return nil, err
	}
	v.codec, err = rowkey.NewValueCodec(v.types)
	return v, err
}

// Open opens the input alone: the body is opened for every run.
func (v *versions) Open(ctx context.Context, tc *TaskContext) error {
	v.tc = tc
	v.reset()
	v.ev.open(tc)
	return v.in[0].Open(ctx, tc)
}

func (v *versions) reset() {
	v.onePass.reset()
	v.drop()
}

func (v *versions) drop() {
	releaseBuilders(v.held.builders)
	v.held = side{}
	for _, t := range v.table {
		t.rows = nil
	}
}

func (v *versions) Close() error {
	v.reset()
	return v.base.Close()
}

func (v *versions) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return v.next(ctx, v.n.Operator, v.compute)
}

func (v *versions) compute(ctx context.Context) error {
	var err error
	if v.txn, err = v.tc.State(ctx, v.n.Operator); err != nil {
		return err
	}
	if err := v.dues.loadBy(v.tc, v.txn); err != nil {
		return err
	}
	if err := drain(ctx, v.in[0], v.take); err != nil {
		return err
	}
	limit := v.tc.Spec.Close
	for g := v.dues.first; g < v.dues.end; g++ {
		if limit == batch.NoTime || v.dues.at[g] > limit {
			continue
		}
		if err := v.pass(ctx, g, limit); err != nil {
			return err
		}
	}
	v.tc.Result.NextDue = min(v.tc.Result.NextDue, v.dues.next())
	return v.run(ctx)
}

// due is when a row's time has passed; a row without a time does not wait.
func (v *versions) due(t int64) int64 {
	if t == math.MinInt64 {
		return t + 1
	}
	return t + v.n.Shift
}

// take stores the rows of a batch.
func (v *versions) take(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	cols, err := v.ev.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	times, ok := cols[len(cols)-1].(*array.Timestamp)
	if !ok {
		return fmt.Errorf("%s: the time is %s, not a timestamp", v, cols[len(cols)-1].DataType())
	}
	if err := v.keys.encodeRows(cols[:len(cols)-1], n); err != nil {
		return err
	}
	if err := v.codec.Encode(rec.Columns(), n, &v.vals); err != nil {
		return err
	}
	for i := range n {
		t := int64(math.MinInt64)
		if times.IsValid(i) {
			if t = int64(times.Value(i)); checkTime(t) != nil {
				return checkTime(t)
			}
		}
		if err := v.put(v.keys.rows.Row(i), t, v.vals.Row(i), rec.Column(v.n.Value).IsValid(i)); err != nil {
			return err
		}
	}
	return nil
}

func (v *versions) put(group []byte, t int64, row []byte, value bool) error {
	key := rowKey(group, t, row)
	count := int64(1)
	err := v.txn.Get([][]byte{key}, func(_ int, stored []byte) error {
		have, _, err := countOf(stored)
		count += have
		return err
	})
	if err != nil {
		return err
	}
	flag := byte(0)
	if value {
		flag = 1
	}
	stored := append(binary.AppendUvarint(make([]byte, 0, len(row)+4), uint64(count)), flag)
	if err := v.txn.Put(key, append(stored, row...)); err != nil {
		return err
	}
	at := v.due(t)
	v.dues.add(group[0], batch.EventTime(at))
	return v.txn.Put(append(timeWord([]byte{group[0], versionDue}, at), group[1:]...), nil)
}

// pass takes the rows of a key group in hand whose time has passed.
func (v *versions) pass(ctx context.Context, g int, limit batch.EventTime) error {
	v.dues.at[g] = batch.EndOfTime
	var gone [][]byte
	touched := map[string]bool{}
	var groups [][]byte // in the order in which they are due
	err := v.txn.Scan([]byte{byte(g), versionDue}, []byte{byte(g), versionDue + 1}, func(key, _ []byte) (bool, error) {
		at, err := dueTime(key)
		if err != nil {
			return false, err
		}
		if at > limit {
			v.dues.at[g] = at
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
		return err
	}
	for _, key := range gone {
		if err := v.txn.Delete(key); err != nil {
			return err
		}
	}
	for _, group := range groups {
		if err := v.passGroup(group, limit); err != nil {
			return err
		}
		if v.held.rows >= recomputeRows {
			if err := v.run(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// passGroup takes the rows of one partition in hand, its last version first, and
// keeps the version that is the last now.
func (v *versions) passGroup(group []byte, limit batch.EventTime) error {
	last := tagged(group, versionLast)
	err := v.txn.Get([][]byte{last}, func(_ int, row []byte) error { return v.hold(row, 1) })
	if err != nil {
		return err
	}
	prefix := tagged(group, versionRow)
	var gone [][]byte
	var newest []byte
	err = v.txn.Scan(prefix, successor(prefix), func(key, stored []byte) (bool, error) {
		if len(key) != len(prefix)+8+16 {
			return false, rowkey.ErrDamaged
		}
		if v.due(wordTime(key[len(prefix):])) > int64(limit) {
			return false, nil
		}
		count, value, row, err := pairOf(stored)
		if err != nil {
			return false, err
		}
		gone = append(gone, bytes.Clone(key))
		if value {
			newest = bytes.Clone(row)
		}
		return true, v.hold(row, count)
	})
	if err != nil {
		return err
	}
	for _, key := range gone {
		if err := v.txn.Delete(key); err != nil {
			return err
		}
	}
	if newest == nil {
		return nil
	}
	return v.txn.Put(last, newest)
}

func (v *versions) hold(row []byte, times int64) error {
	if v.held.builders == nil {
		v.held.builders = newBuilders(v.tc.Alloc, v.types)
	}
	for range times {
		if err := v.codec.Decode(row, v.held.builders); err != nil {
			return err
		}
		v.held.rows++
	}
	return nil
}

// run runs the body over the rows in hand. A last version that is among them comes
// out again; above, only rows of the other side are kept.
func (v *versions) run(ctx context.Context) error {
	defer v.drop()
	if v.held.rows == 0 {
		return nil
	}
	rec := newBatch(v.in[0].Schema(), finish(v.held.builders), v.held.rows)
	defer rec.Release()
	for _, t := range v.table {
		t.rows = []arrow.RecordBatch{rec}
	}
	if err := v.in[1].Open(ctx, v.tc); err != nil {
		return err
	}
	return drain(ctx, v.in[1], func(out arrow.RecordBatch) error {
		out.Retain()
		v.ready = append(v.ready, out)
		return nil
	})
}
