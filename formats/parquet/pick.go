package parquet

import (
	"fmt"
	"slices"
)

// pick takes some of the next n rows. Pages without any are passed over as they
// are, and of the others only the values that are wanted leave the dictionary.
func (f *flat[T]) pick(n int, sel []int32) error {
	for base := 0; base < n; {
		k, err := f.step(n - base)
		if err != nil {
			return err
		}
		part, _ := slices.BinarySearch(sel, int32(base+k))
		switch {
		case part == 0:
			err = f.skip(k)
		case part == k:
			err = f.read(k)
		default:
			if err = f.load(); err != nil {
				return err
			}
			f.mark()
			if err = f.pickPage(k, sel[:part], int32(base)); err != nil {
				err = fmt.Errorf("page at byte %d: %w", f.ch.body, err)
			}
		}
		if err != nil {
			return err
		}
		sel, base = sel[part:], base+k
	}
	return nil
}

// pickPage takes, of the next k rows of the page, those at sel less base.
func (f *flat[T]) pickPage(k int, sel []int32, base int32) error {
	for k > 0 {
		b := min(k, blockRows)
		part, _ := slices.BinarySearch(sel, base+int32(b))
		m := f.present(b)
		var err error
		switch {
		case part == 0:
			err = f.pass(m)
		case m == b:
			err = f.pickDense(b, sel[:part], base)
		default:
			err = f.pickSparse(b, sel[:part], base)
		}
		if err != nil {
			return err
		}
		f.rows, f.row = f.rows-b, f.row+b
		sel, base, k = sel[part:], base+int32(b), k-b
	}
	return nil
}

// pickDense takes from a block without NULLs.
func (f *flat[T]) pickDense(b int, sel []int32, base int32) error {
	at := len(f.out)
	f.out = f.out[:at+len(sel)]
	out := f.out[at:]
	if f.valid != nil {
		setBits(f.valid.Bytes(), at, len(sel))
	}
	if !f.coded {
		vals := f.block(b)
		if err := f.decode(vals); err != nil {
			return err
		}
		for i, s := range sel {
			out[i] = vals[s-base]
		}
		return nil
	}
	var block [blockRows]uint32
	if f.dense < b {
		return errShort
	}
	f.dense -= b
	if err := f.idx.read(block[:b]); err != nil {
		return err
	}
	dict := f.dict
	for i, s := range sel {
		x := block[s-base]
		if uint(x) >= uint(len(dict)) {
			return fmt.Errorf("index %d of a dictionary of %d values", x, len(dict))
		}
		out[i] = dict[x]
	}
	return nil
}

// pickSparse takes from a block with NULLs.
func (f *flat[T]) pickSparse(b int, sel []int32, base int32) error {
	vals := f.block(b)
	if err := f.fill(vals, b); err != nil {
		return err
	}
	at := len(f.out)
	f.out = f.out[:at+len(sel)]
	bits := f.validity(at)
	for i, s := range sel {
		f.out[at+i] = vals[s-base]
		p := f.row + int(s-base)
		if f.defs[p>>3]>>(p&7)&1 != 0 {
			bits[(at+i)>>3] |= 1 << ((at + i) & 7)
		} else {
			f.nulls++
		}
	}
	return nil
}

func (f *flat[T]) block(n int) []T {
	if f.scratch == nil {
		f.scratch = make([]T, blockRows)
	}
	return f.scratch[:n]
}
