package vec

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// counted is an allocator that notes what it is told of memory that is not its own.
type counted struct {
	*memory.CheckedAllocator
	now, most int64
}

func (c *counted) Charge(n int64) {
	c.now += n
	c.most = max(c.most, c.now)
}

// TestGrowingTextCounts holds that text which grows in Go's memory is counted
// while it does, and given back whatever becomes of it.
func TestGrowingTextCounts(t *testing.T) {
	alloc := &counted{CheckedAllocator: memory.NewCheckedAllocator(memory.NewGoAllocator())}
	defer alloc.AssertSize(t, 0)
	piece := strings.Repeat("x", 1<<20)
	for _, make := range []bool{true, false} {
		o := NewStrOut(alloc, 8)
		for range 8 {
			o.Append(piece)
		}
		if alloc.now < 7<<20 {
			t.Errorf("8 MiB of text count %d bytes", alloc.now)
		}
		if make {
			arr, err := o.Array(arrow.BinaryTypes.String, NewMask(alloc, 8))
			if err != nil {
				t.Fatal(err)
			}
			arr.Release()
		} else {
			o.Release()
		}
		if alloc.now != 0 {
			t.Errorf("%d bytes are left", alloc.now)
		}
	}
	o := NewStrOut(alloc, 1)
	alloc.most = 0
	o.Append("short")
	o.Release()
	if alloc.most != 0 {
		t.Errorf("a short text counts %d bytes", alloc.most)
	}
}

func TestPositions(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	p := NewPositions(alloc)
	for i := range 1000 {
		p.Add(int32(i * 3))
	}
	if alloc.CurrentAlloc() < 4000 {
		t.Errorf("1000 positions take %d bytes of the allocator", alloc.CurrentAlloc())
	}
	for i, row := range p.Rows() {
		if row != int32(i*3) {
			t.Fatalf("position %d is %d", i, row)
		}
	}
	if err := p.Check(); err != nil || p.Len() != 1000 {
		t.Errorf("%d positions, %v", p.Len(), err)
	}
	p.Release()
}

// TestTakeOfLists holds that arrays of arrays are gathered, empty and NULL ones too.
func TestTakeOfLists(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	arr, _, err := array.FromJSON(alloc, arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int64)), strings.NewReader("[[[1,2],[]],null,[[3],null,[4,5]]]"))
	if err != nil {
		t.Fatal(err)
	}
	defer arr.Release()
	got, err := Take(alloc, arr, []int32{2, 0, -1, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	b, err := got.MarshalJSON()
	if want := "[[[3],null,[4,5]],[[1,2],[]],null,null,[[3],null,[4,5]]]"; err != nil || strings.Join(strings.Fields(string(b)), "") != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
}
