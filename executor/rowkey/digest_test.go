package rowkey

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
)

// Digests are compared with those in batch logs, so that what they are made of
// may never change: the sum of two hashes of each row, from two seeds.
func TestDigestIsTheSumOfTwoHashes(t *testing.T) {
	cols := digestColumns(t, 1000)
	var h Hasher
	lo, hi := make([]uint64, 1000), make([]uint64, 1000)
	h.hash(cols, hashStart, lo)
	h.hash(cols, hashNull, hi)
	var want batch.Digest
	for i := range lo {
		want = want.Add(batch.Digest{Hi: hi[i], Lo: lo[i]})
	}
	if got := h.Digest(cols, 1000); got != want {
		t.Errorf("digest %v, want %v", got, want)
	}
	const durable = "2c52e03b4465a77c8cb319c10b1f24c6"
	if got := h.Digest(cols, 1000).String(); got != durable {
		t.Errorf("digest %s, was %s ever since", got, durable)
	}
	parts := batch.Digest{}
	for from := int64(0); from < 1000; from += 137 {
		to := min(from+137, 1000)
		part := make([]arrow.Array, len(cols))
		for i, c := range cols {
			part[i] = array.NewSlice(c, from, to)
			defer part[i].Release()
		}
		parts = parts.Add(h.Digest(part, int(to-from)))
	}
	if parts != want {
		t.Errorf("digest by slices %v, want %v", parts, want)
	}
}

func digestColumns(t *testing.T, n int) []arrow.Array {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { alloc.AssertSize(t, 0) })
	whole, some, text := array.NewInt64Builder(alloc), array.NewInt32Builder(alloc), array.NewStringBuilder(alloc)
	gaps, wide := array.NewStringBuilder(alloc), array.NewLargeStringBuilder(alloc)
	for i := range n {
		whole.Append(int64(i) * 7919)
		text.Append(fmt.Sprintf("%0*d", i%90, i))
		wide.Append(fmt.Sprint("w", i))
		if i%3 == 0 {
			some.AppendNull()
			gaps.AppendNull()
		} else {
			some.Append(int32(-i))
			gaps.Append(fmt.Sprint("g", i%11))
		}
	}
	var cols []arrow.Array
	for _, b := range []array.Builder{whole, some, text, gaps, wide} {
		a := b.NewArray()
		t.Cleanup(a.Release)
		b.Release()
		cols = append(cols, a)
	}
	return cols
}

func BenchmarkDigest(b *testing.B) {
	whole, text := array.NewInt64Builder(memory.DefaultAllocator), array.NewStringBuilder(memory.DefaultAllocator)
	for i := range 4096 {
		whole.Append(int64(i) * 7919)
		text.Append(fmt.Sprintf("%068d", i))
	}
	ints, texts := whole.NewArray(), text.NewArray()
	cols := []arrow.Array{ints, ints, ints, ints, texts}
	var h Hasher
	for b.Loop() {
		h.Digest(cols, 4096)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/row")
}
