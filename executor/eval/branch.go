package eval

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// choice collects a CASE's branches: row i of the result is row pos[i] of parts[from[i]].
type choice struct {
	parts     []vec.Part
	from, pos []int32
	open      []*frame // whose memory the parts are
}

func (c *choice) close() {
	for i := len(c.open) - 1; i >= 0; i-- {
		c.open[i].close()
	}
}

// evalCase computes each branch for the rows that take it, on frames that shrink.
func (f *frame) evalCase(nd *node, e *expr.Case) (expr.Vec, error) {
	c := &choice{from: make([]int32, f.n), pos: make([]int32, f.n)}
	defer c.close()
	cur, rows := f, []int32(nil) // rows of f that cur holds; nil is all
	for w := range e.Whens {
		at, of := cur, []int32(nil) // where the condition is computed, and which of its rows count
		if rows != nil && f.p.nodes[nd.kids[2*w]].safe && len(rows)*4 > f.n {
			// Asking all rows is less work than picking out those that are left.
			at, of = f, rows
		}
		cond, err := at.eval(nd.kids[2*w])
		if err != nil {
			return cond, err
		}
		yes, no, whole := split(cond, of, cur.n)
		if whole && len(no) == 0 && yes == nil {
			return f.finish(c, nd, cur, rows, nd.kids[2*w+1])
		}
		if len(yes) == 0 {
			continue
		}
		if err := f.take(c, cur, rows, yes, nd.kids[2*w+1]); err != nil {
			return expr.Vec{}, err
		}
		if rows = gather(rows, no); at == f {
			cur = f.sub(rows)
		} else {
			cur = cur.sub(no)
		}
		c.open = append(c.open, cur)
		if len(no) == 0 {
			return f.assemble(c, nd)
		}
	}
	return f.finish(c, nd, cur, rows, nd.kids[len(nd.kids)-1])
}

// split lists the n rows where a condition is true and the others; of says where in
// cond they are, nil for one after the other. For a constant true condition, and only
// then, whole is true and both lists are nil.
func split(cond expr.Vec, of []int32, n int) (yes, no []int32, whole bool) {
	bits, valid := vec.BoolBits(cond.Arr), vec.Validity(cond.Arr)
	if cond.Const {
		if cond.Arr.IsValid(0) && bits.Get(0) {
			return nil, nil, true
		}
		return nil, nil, false
	}
	lists := make([]int32, n)
	y, z := 0, n
	for i := range n {
		r := i
		if of != nil {
			r = int(of[i])
		}
		// It is written to both ends, of which one goes on: which is not to be foreseen.
		lists[y], lists[z-1] = int32(i), int32(i)
		is := 0
		if valid.Get(r) && bits.Get(r) {
			is = 1
		}
		y += is
		z -= 1 - is
	}
	no = lists[y:]
	for i, j := 0, len(no)-1; i < j; i, j = i+1, j-1 {
		no[i], no[j] = no[j], no[i]
	}
	return lists[:y:y], no, false
}

// gather maps rows of a frame to rows of the outermost: nil rows are all.
func gather(rows, sel []int32) []int32 {
	if rows == nil {
		return sel
	}
	out := make([]int32, len(sel))
	for i, s := range sel {
		out[i] = rows[s]
	}
	return out
}

// take computes a branch for the given rows of cur and notes where they lie.
func (f *frame) take(c *choice, cur *frame, rows, yes []int32, id int) error {
	nd := &f.p.nodes[id]
	part := int32(len(c.parts))
	at := gather(rows, yes)
	if nd.cheap || f.memo[id].Arr != nil || nd.safe && len(yes)*2 > f.n {
		v, err := f.eval(id)
		if err != nil {
			return err
		}
		c.parts = append(c.parts, vec.Part{Arr: v.Arr, Const: v.Const})
		for _, r := range at {
			c.from[r], c.pos[r] = part, r
		}
		return nil
	}
	s := cur.sub(yes)
	c.open = append(c.open, s)
	v, err := s.eval(id)
	if err != nil {
		return err
	}
	c.parts = append(c.parts, vec.Part{Arr: v.Arr, Const: v.Const})
	for i, r := range at {
		c.from[r], c.pos[r] = part, int32(i)
	}
	return nil
}

// finish gives all rows that are left to one branch.
func (f *frame) finish(c *choice, nd *node, cur *frame, rows []int32, id int) (expr.Vec, error) {
	if rows != nil && (f.p.nodes[id].cheap || f.memo[id].Arr != nil) {
		v, err := f.eval(id)
		if err != nil {
			return v, err
		}
		part := int32(len(c.parts))
		c.parts = append(c.parts, vec.Part{Arr: v.Arr, Const: v.Const})
		for _, r := range rows {
			c.from[r], c.pos[r] = part, r
		}
		return f.assemble(c, nd)
	}
	v, err := cur.eval(id)
	if err != nil {
		return v, err
	}
	if rows == nil { // no row was taken before
		v.Arr.Retain()
		return v, nil
	}
	part := int32(len(c.parts))
	c.parts = append(c.parts, vec.Part{Arr: v.Arr, Const: v.Const})
	for i, r := range rows {
		c.from[r], c.pos[r] = part, int32(i)
	}
	return f.assemble(c, nd)
}

func (f *frame) assemble(c *choice, nd *node) (expr.Vec, error) {
	arr, err := vec.Interleave(f.kc.Alloc, nd.dt, c.parts, c.from, c.pos)
	return expr.Vec{Arr: arr}, err
}

// field returns a struct's field, NULL where the struct is.
func field(alloc memory.Allocator, st *array.Struct, i int) (arrow.Array, error) {
	fld := st.Field(i)
	if st.NullN() == 0 {
		fld.Retain()
		return fld, nil
	}
	idx := make([]int32, st.Len())
	for r := range idx {
		idx[r] = -1
		if st.IsValid(r) {
			idx[r] = int32(r)
		}
	}
	return vec.Take(alloc, fld, idx)
}
