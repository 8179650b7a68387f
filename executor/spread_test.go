package executor

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
	"github.com/sluice-stream/sluice/planner/physical"
)

// wideRows is a batch of numbers from first on, of which the key is one of seven, and texts.
func wideRows(alloc memory.Allocator, first, n int) arrow.RecordBatch {
	b := array.NewRecordBuilder(alloc, arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: tInt}, {Name: "k", Type: tInt}, {Name: "s", Type: tString, Nullable: true}, {Name: "l", Type: arrow.ListOf(tInt)},
	}, nil))
	defer b.Release()
	for i := first; i < first+n; i++ {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.Int64Builder).Append(int64(i % 7))
		if s := b.Field(2).(*array.StringBuilder); i%3 == 0 {
			s.AppendNull()
		} else {
			s.Append(strings.Repeat("x", i%120))
		}
		l := b.Field(3).(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.Int64Builder).Append(int64(i))
	}
	return b.NewRecordBatch()
}

func newSpread(tb testing.TB, alloc memory.Allocator, outputs *exchange.Outputs, schema *arrow.Schema, key, parts int) *toHash {
	tb.Helper()
	r, err := newRouter(physical.ToHash{Keys: []expr.Expr{&expr.Column{Index: key, DT: tInt}}}, schema)
	if err != nil {
		tb.Fatal(err)
	}
	tc := &TaskContext{Alloc: alloc}
	r.keys.open(tc)
	return &toHash{router: r, tc: tc, parts: parts, w: outputs.Writer(exchange.Ref{}, false)}
}

// TestSpreadPutsSmallBatchesTogether pins that rows of small batches and of large ones come
// to their partitions, those of a key in their order, and that small ones are put together.
func TestSpreadPutsSmallBatchesTogether(t *testing.T) {
	for _, parts := range []int{1, 2, 5} {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		outputs := exchange.New(exchange.Options{})
		var o *toHash
		rows := 0
		for _, n := range []int{3, 2000, 2500, 5000, 1, 0, 40, 3999} {
			rec := wideRows(alloc, rows, n)
			if o == nil {
				o = newSpread(t, alloc, outputs, rec.Schema(), 1, parts)
			}
			if err := o.write(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
			rec.Release()
			rows += n
		}
		var res batch.TaskResult
		if err := o.finish(t.Context(), &res); err != nil {
			t.Fatal(err)
		}
		seen, homes := 0, map[int64]int{}
		for p := range parts {
			n, batches := checkPart(t, outputs, p, parts, homes)
			if n != res.OutRows[p] || batches > 3 {
				t.Errorf("partition %d of %d: %d rows in %d batches, and the task tells of %d", p, parts, n, batches, res.OutRows[p])
			}
			seen += int(n)
		}
		if seen != rows || res.Counters.RowsOut != int64(rows) {
			t.Errorf("%d rows of %d in %d partitions, and the task tells of %d", seen, rows, parts, res.Counters.RowsOut)
		}
		if err := outputs.Close(); err != nil {
			t.Fatal(err)
		}
		alloc.AssertSize(t, 0)
	}
}

// checkPart reads a partition and notes where the keys are.
func checkPart(t *testing.T, outputs *exchange.Outputs, p, parts int, homes map[int64]int) (rows int64, batches int) {
	t.Helper()
	in, err := outputs.Reader(exchange.Ref{}, p, parts)
	if err != nil {
		t.Fatal(err)
	}
	last := map[int64]int64{}
	for {
		rec, err := in.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		ns, ks, texts := rec.Column(0).(*array.Int64), rec.Column(1).(*array.Int64), rec.Column(2).(*array.String)
		for i := range int(rec.NumRows()) {
			n, k := ns.Value(i), ks.Value(i)
			if home, ok := homes[k]; ok && home != p {
				t.Fatalf("key %d is in partitions %d and %d", k, home, p)
			}
			homes[k] = p
			if was, ok := last[k]; ok && was >= n {
				t.Fatalf("of key %d row %d comes behind %d", k, n, was)
			}
			last[k] = n
			if k != n%7 || texts.IsNull(i) != (n%3 == 0) || texts.IsValid(i) && texts.Value(i) != strings.Repeat("x", int(n%120)) || rec.Column(3).ValueStr(i) != fmt.Sprintf("[%d]", n) {
				t.Fatalf("row %d has come as %d %s %s", n, k, texts.ValueStr(i), rec.Column(3).ValueStr(i))
			}
		}
		rows += rec.NumRows()
		batches++
		rec.Release()
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	return rows, batches
}

// BenchmarkSpread spreads wide rows by a key, in batches that are put together.
func BenchmarkSpread(b *testing.B) {
	pool := vec.NewPooled()
	r := rand.New(rand.NewPCG(1, 1))
	const rows = 3768
	nums := make([][]int64, 4)
	for i := range nums {
		for range rows {
			nums[i] = append(nums[i], r.Int64N(100000))
		}
	}
	fields := []arrow.Field{{Name: "k", Type: tInt}, {Name: "a", Type: tInt}, {Name: "b", Type: tInt}, {Name: "c", Type: tInt}, {Name: "s", Type: tString}, {Name: "t", Type: tString}, {Name: "u", Type: tString}}
	var recs []arrow.RecordBatch
	for range 2 {
		var cols []arrow.Array
		for i := range nums {
			cols = append(cols, int64Column(pool, tInt, nums[i], 0))
		}
		for _, size := range [][2]int{{4, 12}, {50, 20}, {53, 27}} {
			s := array.NewStringBuilder(pool)
			text := make([]byte, 200)
			for range rows {
				s.Append(string(text[:size[0]+r.IntN(size[1])]))
			}
			cols = append(cols, s.NewArray())
		}
		recs = append(recs, array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, rows))
	}
	outs := exchange.New(exchange.Options{MemoryMax: 1 << 40})
	b.SetBytes(int64(rows) * 184)
	b.ResetTimer()
	i := 0
	var o *toHash
	for b.Loop() {
		if i%80 == 0 {
			if o != nil {
				o.discard()
			}
			o = newSpread(b, pool, outs, recs[0].Schema(), 0, 2)
		}
		if err := o.write(b.Context(), recs[i%len(recs)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
