package executor

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
)

// appending is what stores rows together, with nothing around it.
type appending struct {
	t     *testing.T
	r     *recompute
	codec *rowkey.ValueCodec
	txn   *mapTxn
}

func newAppending(t *testing.T) *appending {
	codec, err := rowkey.NewValueCodec([]arrow.DataType{arrow.BinaryTypes.String})
	if err != nil {
		t.Fatal(err)
	}
	return &appending{t: t, codec: codec, r: &recompute{},
		txn: &mapTxn{shard: batch.Shard{EndGroup: batch.KeyGroups}, rows: map[string]string{}}}
}

// add stores one batch of rows, each of a group.
func (a *appending) add(id batch.ID, rows ...[2]string) {
	a.t.Helper()
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	signs := make([]int32, len(rows))
	for i, r := range rows {
		b.Append(r[1])
		signs[i] = 1
	}
	arr := b.NewArray()
	defer arr.Release()
	a.r.tc = &TaskContext{Spec: batch.TaskSpec{Task: batch.TaskID{Batch: id}}}
	a.r.deltas.reset()
	if err := a.r.deltas.add(a.codec, []arrow.Array{arr}, signs, func(i int) []byte { return []byte(rows[i][0]) }, 1); err != nil {
		a.t.Fatal(err)
	}
	a.r.deltas.net()
	if err := a.r.appendDeltas(a.txn); err != nil {
		a.t.Fatal(err)
	}
}

// stored counts the rows under keys that start with a group.
func (a *appending) stored(group string) (keys int, rows map[string]int64) {
	a.t.Helper()
	rows = map[string]int64{}
	for k, v := range a.txn.rows {
		if !bytes.HasPrefix([]byte(k), []byte(group)) {
			continue
		}
		keys++
		if k[len(k)-17] != 1 {
			a.t.Errorf("key %x does not name its input where it is looked for", k)
		}
		err := rowkey.EachStored([]byte(v), func(count int64, row []byte) error {
			rows[string(row[3:])] += count // version, NULL mask, length
			return nil
		})
		if err != nil {
			a.t.Fatal(err)
		}
	}
	return keys, rows
}

// TestAppendedRowsLieTogether: the rows of a group in a batch are under one key, or a
// few if they are many; equal ones are counted, and those of a batch that has the number
// of another are not lost.
func TestAppendedRowsLieTogether(t *testing.T) {
	a := newAppending(t)
	a.add(0, [2]string{"a", "x"}, [2]string{"b", "y"}, [2]string{"a", "z"}, [2]string{"a", "x"})
	if keys, rows := a.stored("a"); keys != 1 || !maps.Equal(rows, map[string]int64{"x": 2, "z": 1}) {
		t.Errorf("%d keys with %v", keys, rows)
	}
	a.add(1, [2]string{"a", "x"})
	a.add(0, [2]string{"a", "x"}, [2]string{"a", "w"})
	if keys, rows := a.stored("a"); keys != 2 || !maps.Equal(rows, map[string]int64{"x": 4, "z": 1, "w": 1}) {
		t.Errorf("%d keys with %v", keys, rows)
	}
	var many [][2]string
	want := map[string]int64{}
	for i := range 900 {
		text := fmt.Sprintf("%040d", i)
		many, want[text] = append(many, [2]string{"c", text}), 1
	}
	a.add(2, many...)
	keys, rows := a.stored("c")
	if !maps.Equal(rows, want) {
		t.Errorf("%d of %d rows", len(rows), len(want))
	}
	if most := 900*50/togetherBytes + 1; keys < 2 || keys > most {
		t.Errorf("%d keys for 900 rows, want 2 to %d", keys, most)
	}
}

// TestAppendedRowsDependOnTheirGroup: what is stored for a group is the same whatever
// other groups the task has and in whichever order the rows come, so that a batch run
// again with other tasks stores the same.
func TestAppendedRowsDependOnTheirGroup(t *testing.T) {
	var first, second [][2]string
	for i := range 70 {
		first = append(first, [2]string{"a", fmt.Sprintf("%050d", i)}) // just over one part
		second = append(second, [2]string{"b", fmt.Sprintf("%050d", i)})
	}
	one, two := newAppending(t), newAppending(t)
	one.add(5, slices.Concat(first, second)...)
	slices.Reverse(second)
	two.add(5, second...)
	two.add(5, first...)
	if !maps.Equal(one.txn.rows, two.txn.rows) {
		t.Errorf("%d keys and %d keys, or other rows", len(one.txn.rows), len(two.txn.rows))
	}
	exact := [][2]string{} // a part that is full with the last row of its group
	for i := range togetherBytes / 64 {
		exact = append(exact, [2]string{"a", fmt.Sprintf("%061d", i)})
	}
	one, two = newAppending(t), newAppending(t)
	one.add(5, append(slices.Clone(exact), [2]string{"b", "x"})...)
	two.add(5, [2]string{"b", "x"})
	if _, rows := one.stored("b"); len(rows) != 1 {
		t.Fatalf("%v", rows)
	}
	for k, v := range two.txn.rows {
		if one.txn.rows[k] != v {
			t.Errorf("the key %x of a group alone is not there when it is behind another", k)
		}
	}
}
