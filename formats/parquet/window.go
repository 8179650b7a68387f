package parquet

import "github.com/apache/arrow-go/v18/arrow"

// window reads the next n rows of all columns and returns how many of them
// passed. The columns that conditions look at are decoded first, and the others
// only for the rows that are left.
func (r *Reader) window(n int) (int, error) {
	if len(r.steps) == 0 {
		return n, r.readAll(n)
	}
	w := window{r: r, n: n, left: n}
	if cap(r.decoded) < len(r.columns) {
		r.decoded = make([]bool, len(r.columns))
	}
	r.decoded = r.decoded[:len(r.columns)]
	clear(r.decoded)
	for _, c := range r.columns {
		if c.flat != nil {
			w.from = c.flat.held()
			break
		}
	}
	for _, s := range r.steps {
		if s.active != nil && !s.active() {
			continue
		}
		s.seen += int64(w.left)
		if err := w.step(s); err != nil {
			return 0, err
		}
		s.kept += int64(w.left)
		if w.left == 0 {
			break
		}
	}
	for i, c := range r.columns {
		if c.flat != nil && !r.decoded[i] {
			if err := w.decode(i); err != nil {
				return 0, err
			}
		}
	}
	return w.left, nil
}

func (r *Reader) readAll(n int) error {
	for _, l := range r.leaves {
		if err := l.read(n); err != nil {
			return r.fail(l.n.prim.Path(), err)
		}
	}
	for _, c := range r.columns {
		if c.flat == nil {
			continue
		}
		if err := c.flat.read(n); err != nil {
			return r.fail(c.n.name, err)
		}
	}
	return nil
}

// window is the state of one: the rows that have passed so far are those at sel.
type window struct {
	r    *Reader
	n    int
	from int     // rows held before
	sel  []int32 // nil: all
	left int
	flip int
}

// buffer is for a selection that is made of the one in hand.
func (w *window) buffer() *[]int32 {
	w.flip ^= 1
	return &w.r.sel[w.flip]
}

func (w *window) decode(i int) error {
	c := w.r.columns[i]
	w.r.decoded[i] = true
	var err error
	switch {
	case w.left == 0:
		err = c.flat.skip(w.n)
	case w.sel == nil:
		err = c.flat.read(w.n)
	default:
		err = c.flat.pick(w.n, w.sel)
	}
	if err != nil {
		return w.r.fail(c.n.name, err)
	}
	return nil
}

func (w *window) step(s *step) error {
	if i := s.cols[0]; s.test != nil && !w.r.decoded[i] {
		c, buf := w.r.columns[i], w.buffer()
		out, err := c.flat.sift(w.n, w.sel, s.test, (*buf)[:0])
		if err != nil {
			return w.r.fail(c.n.name, err)
		}
		*buf = out
		if len(out) < w.left {
			w.narrow(w.places(out))
			w.sel, w.left = out, len(out)
		}
		w.r.decoded[i] = true
		return nil
	}
	cols := make([]arrow.Array, 0, len(s.cols))
	defer func() {
		for _, a := range cols {
			a.Release()
		}
	}()
	for _, i := range s.cols {
		c := w.r.columns[i]
		if !w.r.decoded[i] {
			if err := w.decode(i); err != nil {
				return err
			}
		}
		a, err := c.flat.array(w.from, w.r.alloc)
		if err != nil {
			return w.r.fail(c.n.name, err)
		}
		cols = append(cols, a)
	}
	keep, err := s.ask(cols, w.left)
	if err != nil {
		return w.r.fail(w.r.columns[s.cols[0]].n.name, err)
	}
	if len(keep) == w.left {
		return nil
	}
	w.narrow(keep)
	buf := w.buffer()
	out := (*buf)[:0]
	for _, k := range keep {
		if w.sel != nil {
			k = w.sel[k]
		}
		out = append(out, k)
	}
	*buf, w.sel, w.left = out, out, len(out)
	return nil
}

func (s *step) ask(cols []arrow.Array, n int) ([]int32, error) {
	if s.test != nil {
		return s.test.run(cols[0])
	}
	var err error
	s.keep, err = s.sel(cols, n, s.keep[:0])
	return s.keep, err
}

// places turns positions in the window into places in the selection in hand.
func (w *window) places(out []int32) []int32 {
	if w.sel == nil {
		return out
	}
	at := make([]int32, len(out))
	j := 0
	for i, p := range out {
		for w.sel[j] != p {
			j++
		}
		at[i] = int32(j)
	}
	return at
}

// narrow drops rows of the columns that are decoded.
func (w *window) narrow(keep []int32) {
	for i, c := range w.r.columns {
		if w.r.decoded[i] {
			c.flat.compact(w.from, keep)
		}
	}
}
