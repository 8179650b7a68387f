package parquet

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// selector appends to dst the positions of the n rows of cols that are wanted.
type selector func(cols []arrow.Array, n int, dst []int32) ([]int32, error)

// test is what the rows of one column have to pass: conditions that cannot fail
// and look at nothing else, so that they may be asked of a dictionary.
type test struct {
	selects []selector
	sel     []int32
	// Of the dictionary in hand, once asked: whether each value passes, and NULL.
	table    []bool
	passNull bool
	asked    bool
}

// run returns the positions of the rows of a that pass all conditions.
func (t *test) run(a arrow.Array) ([]int32, error) {
	cols := []arrow.Array{a}
	var err error
	if len(t.selects) == 1 {
		t.sel, err = t.selects[0](cols, a.Len(), t.sel[:0])
		return t.sel, err
	}
	var pass []int32
	for i, s := range t.selects {
		if t.sel, err = s(cols, a.Len(), t.sel[:0]); err != nil {
			return nil, err
		}
		if i == 0 {
			pass = slices.Clone(t.sel)
		} else {
			pass = intersect(pass, t.sel)
		}
	}
	return pass, nil
}

// intersect keeps what both ascending lists have, in place of the first.
func intersect(a, b []int32) []int32 {
	out, j := a[:0], 0
	for _, x := range a {
		for j < len(b) && b[j] < x {
			j++
		}
		if j < len(b) && b[j] == x {
			out = append(out, x)
		}
	}
	return out
}

// sift takes, of the next n rows, those at sel (nil: all) that pass t, and
// appends their positions to dst. Where the rows are indexes of a dictionary, the
// dictionary is asked once and the rows are looked up.
func (f *flat[T]) sift(n int, sel []int32, t *test, dst []int32) ([]int32, error) {
	all := sel == nil
	for base := 0; base < n; {
		k, err := f.step(n - base)
		if err != nil {
			return nil, err
		}
		part := k
		if !all {
			part, _ = slices.BinarySearch(sel, int32(base+k))
		}
		if part == 0 {
			if err := f.skip(k); err != nil {
				return nil, err
			}
			base += k
			continue
		}
		if err := f.load(); err != nil {
			return nil, err
		}
		useTable, err := f.ask(t)
		if err != nil {
			return nil, err
		}
		var here []int32
		if !all {
			here = sel[:part]
		}
		if useTable {
			f.mark()
			dst, err = f.siftPage(k, here, int32(base), t, dst)
			if err != nil {
				err = fmt.Errorf("page at byte %d: %w", f.ch.body, err)
			}
		} else {
			dst, err = f.siftValues(k, here, int32(base), t, dst)
		}
		if err != nil {
			return nil, err
		}
		if !all {
			sel = sel[part:]
		}
		base += k
	}
	return dst, nil
}

// siftValues decodes the rows and asks for each.
func (f *flat[T]) siftValues(k int, sel []int32, base int32, t *test, dst []int32) ([]int32, error) {
	at := len(f.out)
	var err error
	if sel == nil {
		err = f.read(k)
	} else {
		rel := make([]int32, len(sel))
		for i, s := range sel {
			rel[i] = s - base
		}
		err = f.pick(k, rel)
	}
	if err != nil {
		return nil, err
	}
	a, err := f.array(at, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	pass, err := t.run(a)
	a.Release()
	if err != nil {
		return nil, err
	}
	f.compact(at, pass)
	for _, p := range pass {
		if sel == nil {
			dst = append(dst, base+p)
		} else {
			dst = append(dst, sel[p])
		}
	}
	return dst, nil
}

// ask has the dictionary tested, where that is less work than the rows.
func (f *flat[T]) ask(t *test) (bool, error) {
	if !f.coded || !f.hasDict || int64(len(f.dict)) > f.total/2 {
		return false, nil
	}
	if t.asked {
		return true, nil
	}
	a, err := f.dictionary()
	if err != nil {
		return false, err
	}
	defer a.Release()
	pass, err := t.run(a)
	if err != nil {
		return false, err
	}
	t.asked, t.passNull = true, false
	t.table = slices.Grow(t.table[:0], a.Len())[:len(f.dict)]
	clear(t.table)
	for _, p := range pass {
		if int(p) == len(f.dict) {
			t.passNull = true
		} else {
			t.table[p] = true
		}
	}
	return true, nil
}

// dictionary is an array of the dictionary's values with a NULL behind them.
func (f *flat[T]) dictionary() (arrow.Array, error) {
	n := len(f.dict)
	alloc := memory.DefaultAllocator
	var zero T
	vals := append(slices.Clone(f.dict), zero)
	var bufs []*memory.Buffer
	if f.st.direct() {
		buf := newBuffer(alloc, len(vals)*sizeOf[T]())
		copy(castTo[T](buf.Bytes(), len(vals)), vals)
		bufs = []*memory.Buffer{buf}
	} else {
		var err error
		if bufs, err = f.st.buffers(vals, []segment{{base: f.dictBody}}, alloc); err != nil {
			return nil, err
		}
	}
	valid := newBuffer(alloc, n/8+1)
	clear(valid.Bytes())
	setBits(valid.Bytes(), 0, n)
	d := array.NewData(f.want, n+1, append([]*memory.Buffer{valid}, bufs...), nil, 1, 0)
	defer d.Release()
	release(append(bufs, valid)...)
	return array.MakeFromData(d), nil
}

// siftPage looks the next k rows of a page of indexes up.
func (f *flat[T]) siftPage(k int, sel []int32, base int32, t *test, dst []int32) ([]int32, error) {
	all := sel == nil
	var block [blockRows]uint32
	for k > 0 {
		b := min(k, blockRows)
		m := f.present(b)
		part := b
		if !all {
			part, _ = slices.BinarySearch(sel, base+int32(b))
		}
		if m > f.dense {
			return nil, errShort
		}
		f.dense -= m
		if part == 0 {
			if err := f.idx.skip(m); err != nil {
				return nil, err
			}
		} else {
			if err := f.idx.read(block[:m]); err != nil {
				return nil, err
			}
			var err error
			switch {
			case m < b:
				dst, err = f.siftSparse(block[:m], b, sel, base, t, dst)
			case all:
				dst, err = f.siftAll(block[:b], base, t.table, dst)
			default:
				dst, err = f.siftSome(block[:b], sel[:part], base, t.table, dst)
			}
			if err != nil {
				return nil, err
			}
		}
		f.rows, f.row = f.rows-b, f.row+b
		if !all {
			sel = sel[part:]
		}
		base, k = base+int32(b), k-b
	}
	return dst, nil
}

func errIndex(x uint32, n int) error {
	return fmt.Errorf("index %d of a dictionary of %d values", x, n)
}

// siftAll writes each row without a branch and counts on where it passes.
func (f *flat[T]) siftAll(block []uint32, base int32, table []bool, dst []int32) ([]int32, error) {
	at, first := len(f.out), len(dst)
	dst = slices.Grow(dst, len(block))
	pos, out := dst[first:first+len(block)], f.out[at:min(at+len(block), cap(f.out))]
	dict, k := f.dict, 0
	table = table[:len(dict)]
	for i, x := range block {
		if uint(x) >= uint(len(dict)) {
			return nil, errIndex(x, len(dict))
		}
		pos[k] = base + int32(i)
		block[k] = x
		if table[x] {
			k++
		}
	}
	for i, x := range block[:k] {
		out[i] = dict[x]
	}
	f.out = f.out[:at+k]
	if f.valid != nil {
		setBits(f.valid.Bytes(), at, k)
	}
	return dst[:first+k], nil
}

func (f *flat[T]) siftSome(block []uint32, sel []int32, base int32, table []bool, dst []int32) ([]int32, error) {
	at := len(f.out)
	for _, s := range sel {
		x := block[s-base]
		if uint(x) >= uint(len(f.dict)) {
			return nil, errIndex(x, len(f.dict))
		}
		if table[x] {
			f.out = append(f.out, f.dict[x])
			dst = append(dst, s)
		}
	}
	if f.valid != nil {
		setBits(f.valid.Bytes(), at, len(f.out)-at)
	}
	return dst, nil
}

// siftSparse is for a block of b rows with NULLs.
func (f *flat[T]) siftSparse(block []uint32, b int, sel []int32, base int32, t *test, dst []int32) ([]int32, error) {
	var zero T
	bits := f.validity(len(f.out))
	for i, j := 0, 0; i < b; i++ {
		p := f.row + i
		there := f.defs[p>>3]>>(p&7)&1 != 0
		pass := t.passNull
		val := zero
		if there {
			x := block[j]
			j++
			if uint(x) >= uint(len(f.dict)) {
				return nil, errIndex(x, len(f.dict))
			}
			pass, val = t.table[x], f.dict[x]
		}
		row := base + int32(i)
		if sel != nil {
			if len(sel) == 0 || sel[0] != row {
				continue
			}
			sel = sel[1:]
		}
		if !pass {
			continue
		}
		if at := len(f.out); there {
			bits[at>>3] |= 1 << (at & 7)
		} else {
			f.nulls++
		}
		f.out = append(f.out, val)
		dst = append(dst, row)
	}
	return dst, nil
}
