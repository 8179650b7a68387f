package parquet

import (
	"errors"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// column is a wanted node with what reads it. A nil src is a column or a field
// that the file does not have: all null.
type column struct {
	n     *node
	want  arrow.DataType
	leaf  *leaf      // of a leaf inside of something
	flat  flatColumn // of a leaf that stands alone
	kids  []*column  // wanted children, in the wanted type's order
	level *leaf      // the leaf whose levels tell this node's structure
}

var errRagged = errors.New("columns of one group differ in length")

// build makes the array of the batch in hand. parent is the number of slots
// that the parent has, for columns that the file lacks.
func (c *column) build(parent int, alloc memory.Allocator) (arrow.ArrayData, error) {
	switch {
	case c.n == nil:
		a := array.MakeArrayOfNull(alloc, c.want, parent)
		defer a.Release()
		a.Data().Retain()
		return a.Data(), nil
	case c.flat != nil:
		return c.flat.emit(alloc)
	case c.n.shape == leafNode:
		return c.buildLeaf(alloc)
	case c.n.shape == structNode:
		return c.buildStruct(alloc)
	default:
		return c.buildList(alloc)
	}
}

func (c *column) buildLeaf(alloc memory.Allocator) (arrow.ArrayData, error) {
	l, n := c.leaf, c.leaf.usedVals
	slots, valid := c.validity(l, alloc)
	if slots < n {
		release(valid)
		return nil, errRagged
	}
	bufs, err := l.vals.emit(n, slots, alloc)
	if err != nil {
		release(valid)
		return nil, err
	}
	nulls := slots - n
	if nulls > 0 {
		spread(bufs, valid.Bytes(), n, slots, l.vals.width())
	}
	return c.data(slots, nulls, append([]*memory.Buffer{valid}, bufs...), nil), nil
}

// data hands the buffers over to an array.
func (c *column) data(slots, nulls int, bufs []*memory.Buffer, kids []arrow.ArrayData) arrow.ArrayData {
	d := array.NewData(c.want, slots, bufs, kids, nulls, 0)
	release(bufs...)
	for _, k := range kids {
		k.Release()
	}
	return d
}

func release(bufs ...*memory.Buffer) {
	for _, b := range bufs {
		if b != nil {
			b.Release()
		}
	}
}

// validity counts the slots of a node in the batch in hand, and returns a
// bitmap of those that are not null; nil if all are there.
func (c *column) validity(l *leaf, alloc memory.Allocator) (slots int, valid *memory.Buffer) {
	n := c.n
	if n.def == 0 || n.def == n.exists {
		return c.slots(l), nil // never null where it exists
	}
	defs := l.defs[:l.used]
	valid = newBuffer(alloc, (l.used+7)/8)
	bits := valid.Bytes()
	clear(bits)
	present := 0
	if n.exists == 0 && l.n.rep == n.rep {
		slots = l.used
		for i, d := range defs {
			if d >= n.def {
				bits[i>>3] |= 1 << (i & 7)
				present++
			}
		}
	} else {
		for i, d := range defs {
			if d < n.exists || l.n.rep > 0 && l.reps[i] > n.rep {
				continue
			}
			if d >= n.def {
				bits[slots>>3] |= 1 << (slots & 7)
				present++
			}
			slots++
		}
	}
	if present == slots {
		valid.Release()
		return slots, nil
	}
	return slots, valid
}

func (c *column) slots(l *leaf) int {
	if c.n.exists == 0 && l.n.rep == c.n.rep {
		return l.used
	}
	slots := 0
	for i := range l.used {
		if l.reps[i] <= c.n.rep && (l.n.def == 0 || l.defs[i] >= c.n.exists) {
			slots++
		}
	}
	return slots
}

func (c *column) buildStruct(alloc memory.Allocator) (arrow.ArrayData, error) {
	slots, valid := c.validity(c.level, alloc)
	kids, err := c.buildKids(slots, alloc)
	if err != nil {
		release(valid)
		return nil, err
	}
	return c.data(slots, nullsIn(valid, slots), []*memory.Buffer{valid}, kids), nil
}

func (c *column) buildKids(slots int, alloc memory.Allocator) ([]arrow.ArrayData, error) {
	kids := make([]arrow.ArrayData, 0, len(c.kids))
	for _, k := range c.kids {
		d, err := k.build(slots, alloc)
		if err == nil {
			kids = append(kids, d)
			if d.Len() != slots {
				err = errRagged
			}
		}
		if err != nil {
			for _, d := range kids {
				d.Release()
			}
			return nil, err
		}
	}
	return kids, nil
}

func nullsIn(valid *memory.Buffer, slots int) int {
	if valid == nil {
		return 0
	}
	return array.UnknownNullCount
}

func (c *column) buildList(alloc memory.Allocator) (arrow.ArrayData, error) {
	slots, valid := c.validity(c.level, alloc)
	offs := newBuffer(alloc, (slots+1)*4)
	elems := c.offsets(arrow.Int32Traits.CastFromBytes(offs.Bytes()))
	if elems > math.MaxInt32 {
		release(valid, offs)
		return nil, errors.New("more than 2^31 elements in the lists of one batch")
	}
	kids, err := c.buildKids(elems, alloc)
	if err != nil {
		release(valid, offs)
		return nil, err
	}
	if c.n.shape == mapNode {
		entries := array.NewData(c.want.(*arrow.MapType).Elem(), elems, []*memory.Buffer{nil}, kids, 0, 0)
		for _, k := range kids {
			k.Release()
		}
		kids = []arrow.ArrayData{entries}
	}
	return c.data(slots, nullsIn(valid, slots), []*memory.Buffer{valid, offs}, kids), nil
}

// offsets fills the list's offsets and returns the number of elements.
func (c *column) offsets(out []int32) int {
	l, n := c.level, c.n
	slot, elems := 0, 0
	for i := range l.used {
		if l.reps[i] <= n.rep && l.defs[i] >= n.exists {
			out[slot] = int32(elems)
			slot++
		}
		if l.reps[i] <= n.rep+1 && l.defs[i] > n.def {
			elems++
		}
	}
	out[slot] = int32(elems)
	return elems
}

// spread moves n dense values to the slots whose valid bit is set, from the
// last to the first, in place.
func spread(bufs []*memory.Buffer, valid []byte, n, slots, width int) {
	b := bufs[0].Bytes()
	switch width {
	case -1:
		spreadOffsets(arrow.Int32Traits.CastFromBytes(b), valid, n, slots)
	case 0:
		spreadBits(b, valid, n, slots)
	case 1:
		spreadFixed(b, valid, n, slots)
	case 2:
		spreadFixed(arrow.Int16Traits.CastFromBytes(b), valid, n, slots)
	case 4:
		spreadFixed(arrow.Int32Traits.CastFromBytes(b), valid, n, slots)
	case 8:
		spreadFixed(arrow.Int64Traits.CastFromBytes(b), valid, n, slots)
	default:
		spreadFixed(arrow.Decimal128Traits.CastFromBytes(b), valid, n, slots)
	}
}

func spreadFixed[T any](v []T, valid []byte, n, slots int) {
	var zero T
	for i := slots - 1; i >= 0; i-- {
		if valid[i>>3]&(1<<(i&7)) != 0 {
			n--
			v[i] = v[n]
		} else {
			v[i] = zero
		}
	}
}

func spreadOffsets(o []int32, valid []byte, n, slots int) {
	for i := slots; i > 0; i-- {
		o[i] = o[n]
		if valid[(i-1)>>3]&(1<<((i-1)&7)) != 0 {
			n--
		}
	}
}

func spreadBits(b, valid []byte, n, slots int) {
	for i := slots - 1; i >= 0; i-- {
		set := false
		if valid[i>>3]&(1<<(i&7)) != 0 {
			n--
			set = b[n>>3]&(1<<(n&7)) != 0
		}
		if set {
			b[i>>3] |= 1 << (i & 7)
		} else {
			b[i>>3] &^= 1 << (i & 7)
		}
	}
}
