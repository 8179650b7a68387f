package postgres

import (
	"math"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Numbers that are equal are one key, however they are written.
func TestKeysOfNumbers(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	b := array.NewRecordBuilder(alloc, arrow.NewSchema([]arrow.Field{{Name: "d", Type: arrow.PrimitiveTypes.Float64}, {Name: "f", Type: arrow.PrimitiveTypes.Float32}}, nil))
	defer b.Release()
	for _, v := range []float64{0, math.Copysign(0, -1), 1.5, -1.5, 0} {
		b.Field(0).(*array.Float64Builder).Append(v)
		b.Field(1).(*array.Float32Builder).Append(float32(v))
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	q := &question{on: []int{0, 1}}
	if err := q.read([]arrow.RecordBatch{rec}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range q.keys {
		got = append(got, k.values...)
	}
	if want := []string{"0", "0", "1.5", "1.5", "-1.5", "-1.5"}; !slices.Equal(got, want) {
		t.Errorf("the keys are %q, want %q", got, want)
	}
}

func TestKeysThatNoValueHas(t *testing.T) {
	const id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
	for _, c := range []struct {
		typ, value string
		want       bool
	}{
		{"uuid", id, false}, {"uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", true}, {"uuid", "{" + id + "}", true}, {"uuid", "urn:uuid:" + id, true}, {"uuid", "", true},
		{"bpchar", "ab", false}, {"bpchar", "ab ", true}, {"bpchar", "", false}, {"text", "ab ", false},
	} {
		if got := foreign(c.typ, c.value); got != c.want {
			t.Errorf("%s %q: %v", c.typ, c.value, got)
		}
	}
}
