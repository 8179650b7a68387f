package vec

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Positions is a list of rows that grows in an allocator's memory, where it counts.
type Positions struct {
	buf  *memory.Buffer
	vals []int32
	n    int
}

// NewPositions returns an empty list, which Release gives back.
func NewPositions(alloc memory.Allocator) *Positions {
	return &Positions{buf: memory.NewResizableBuffer(alloc)}
}

// Add appends a row.
func (p *Positions) Add(row int32) {
	if p.n == len(p.vals) {
		p.grow()
	}
	p.vals[p.n] = row
	p.n++
}

func (p *Positions) grow() {
	rows := max(64, 2*len(p.vals))
	p.buf.Resize(4 * rows)
	p.vals = unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(p.buf.Bytes()))), rows)
}

// Len is the number of rows, which Check reports when a column cannot hold them.
func (p *Positions) Len() int { return p.n }

// Check returns an error if there are more rows than a column has.
func (p *Positions) Check() error {
	if p.n > math.MaxInt32 {
		return fmt.Errorf("gather more than %d elements", math.MaxInt32)
	}
	return nil
}

// Rows are the rows, valid until Release or the next Add.
func (p *Positions) Rows() []int32 { return p.vals[:p.n] }

// Release gives the memory back.
func (p *Positions) Release() { p.buf.Release() }
