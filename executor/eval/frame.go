package eval

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// errText bounds how much of an expression an error shows.
const errText = 160

// frame holds what has been computed for a selection of rows: all of the batch
// at the root, else rows sel of the parent.
type frame struct {
	p      *program
	kc     *expr.KernelContext
	rec    arrow.RecordBatch // at the root
	parent *frame
	sel    []int32
	n      int
	memo   []expr.Vec // by node; Arr is nil where nothing is computed
	// A lambda's frame computes what depends on parameters; preset holds them.
	spare *pool
}

// pool keeps frames for reuse between batches.
type pool struct{ free []*frame }

func (pl *pool) frame(p *program, kc *expr.KernelContext, n int) *frame {
	var f *frame
	if k := len(pl.free); k > 0 {
		f, pl.free = pl.free[k-1], pl.free[:k-1]
	} else {
		f = &frame{memo: make([]expr.Vec, len(p.nodes))}
	}
	f.p, f.kc, f.n, f.spare = p, kc, n, pl
	return f
}

// sub returns a frame of the given rows of f. sel must not change until it is closed.
func (f *frame) sub(sel []int32) *frame {
	s := f.spare.frame(f.p, f.kc, len(sel))
	s.parent, s.sel = f, sel
	return s
}

// close releases all that the frame computed.
func (f *frame) close() {
	for i := range f.memo {
		if f.memo[i].Arr != nil {
			f.memo[i].Arr.Release()
			f.memo[i] = expr.Vec{}
		}
	}
	f.parent, f.sel, f.rec, f.kc = nil, nil, nil, nil
	f.spare.free = append(f.spare.free, f)
}

// eval returns a node's value; it belongs to the frame.
func (f *frame) eval(id int) (expr.Vec, error) {
	v, err := f.raw(id)
	if err != nil {
		return v, err
	}
	d, ok := v.Arr.(*array.Dictionary)
	if !ok || f.p.nodes[id].dt.ID() == arrow.DICTIONARY {
		return v, nil
	}
	plain, err := vec.Decode(f.kc.Alloc, d)
	if err != nil {
		return v, err
	}
	d.Release()
	f.memo[id].Arr = plain
	return f.memo[id], nil
}

// raw is eval, but what is to be decoded may still be a dictionary.
func (f *frame) raw(id int) (expr.Vec, error) {
	nd := &f.p.nodes[id]
	if nd.one.Arr != nil {
		return nd.one, nil
	}
	v, ok, err := f.known(id)
	if ok || err != nil {
		return v, err
	}
	if _, isCol := nd.e.(*expr.Column); (isCol || nd.perRow) && f.parent != nil {
		if _, err := f.top(nd).raw(id); err != nil {
			return expr.Vec{}, err
		}
		v, _, err := f.known(id)
		return v, err
	}
	v, err = f.compute(id, nd)
	if err != nil {
		return v, err
	}
	f.memo[id] = v
	return v, nil
}

// top is the frame that a column or a row's own value is computed on.
func (f *frame) top(nd *node) *frame {
	for f.parent != nil {
		f = f.parent
	}
	return f
}

// known returns a value that this frame or one above it has computed.
func (f *frame) known(id int) (expr.Vec, bool, error) {
	if f.memo[id].Arr != nil {
		return f.memo[id], true, nil
	}
	if f.parent == nil {
		return expr.Vec{}, false, nil
	}
	v, ok, err := f.parent.known(id)
	if !ok || err != nil {
		return v, false, err
	}
	if v.Const {
		v.Arr.Retain()
	} else if v.Arr, err = vec.Take(f.kc.Alloc, v.Arr, f.sel); err != nil {
		return expr.Vec{}, false, err
	}
	f.memo[id] = v
	return v, true, nil
}

// compute makes a node's value; the result carries a reference.
func (f *frame) compute(id int, nd *node) (expr.Vec, error) {
	switch e := nd.e.(type) {
	case *expr.Column:
		col := f.rec.Column(e.Index)
		col.Retain()
		return expr.Vec{Arr: col}, nil
	case *expr.Call:
		return f.call(nd, e)
	case *expr.Cast:
		return f.cast(nd)
	case *expr.Case:
		return f.evalCase(nd, e)
	case *expr.Logical:
		return f.logical(nd, e.Op)
	case *expr.In:
		a, err := f.eval(nd.kids[0])
		if err != nil {
			return a, err
		}
		return nd.set.test(f.kc, a, vec.Rows([]expr.Vec{a}, f.n)), nil
	case *expr.Field:
		a, err := f.eval(nd.kids[0])
		if err != nil {
			return a, err
		}
		arr, err := field(f.kc.Alloc, a.Arr.(*array.Struct), e.Index)
		return expr.Vec{Arr: arr, Const: a.Const}, err
	case *expr.Param:
		return expr.Vec{}, fmt.Errorf("parameter %s is used outside of its lambda", e.Name)
	default:
		return expr.Vec{}, fmt.Errorf("no evaluation for %T", nd.e)
	}
}

// blame adds the expression, and where it stands in the user's text, to a kernel's error.
func blame(err error, e expr.Expr) error {
	s := e.String()
	if len(s) > errText {
		s = s[:errText] + "..."
	}
	var at expr.Place
	switch e := e.(type) {
	case *expr.Call:
		at = e.At
	case *expr.Cast:
		at = e.At
	}
	if at.Line == 0 {
		return fmt.Errorf("%w (in %s)", err, s)
	}
	return fmt.Errorf("%w (in %s, at %d:%d)", err, s, at.Line, at.Col)
}

func (f *frame) call(nd *node, e *expr.Call) (expr.Vec, error) {
	args := make([]expr.Vec, len(nd.kids))
	constant := e.Func.Volatility < expr.PerRow
	dict := -1
	for i, k := range nd.kids {
		if nd.lambda[i] != nil {
			continue
		}
		v, err := f.raw(k)
		if err != nil {
			return v, err
		}
		args[i] = v
		constant = constant && v.Const
		if _, ok := v.Arr.(*array.Dictionary); ok && f.p.nodes[k].decode {
			dict = i
		}
	}
	if dict >= 0 {
		if v, ok := f.overDictionary(nd, e, args, dict); ok {
			return v, nil
		}
		for i, k := range nd.kids {
			if nd.lambda[i] == nil {
				var err error
				if args[i], err = f.eval(k); err != nil {
					return args[i], err
				}
			}
		}
	}
	kc := *f.kc
	kc.Result = nd.dt
	n := f.n
	if constant {
		n = 1
	}
	if nd.lambda != nil {
		kc.Lambdas = nd.lambda
		kc.Eval = f.lambda
		constant, n = false, f.n
	}
	arr, err := nd.kernel(&kc, args, n)
	if err != nil {
		return expr.Vec{}, blame(err, e)
	}
	return expr.Vec{Arr: arr, Const: constant}, nil
}

// overDictionary computes a function of one dictionary-encoded column on the
// dictionary's entries. It declines where that is no gain, or where an entry
// that perhaps no row has would fail.
func (f *frame) overDictionary(nd *node, e *expr.Call, args []expr.Vec, at int) (expr.Vec, bool) {
	d := args[at].Arr.(*array.Dictionary)
	if !e.Func.Strict || e.Func.Volatility != expr.Immutable || d.Dictionary().Len() > f.n/2 || nd.lambda != nil {
		return expr.Vec{}, false
	}
	sub := append([]expr.Vec(nil), args...)
	for i, a := range args {
		if i != at && !a.Const {
			return expr.Vec{}, false
		}
	}
	sub[at] = expr.Vec{Arr: d.Dictionary()}
	kc := *f.kc
	kc.Result = nd.dt
	entries, err := nd.kernel(&kc, sub, d.Dictionary().Len())
	if err != nil {
		return expr.Vec{}, false
	}
	defer entries.Release()
	idx := make([]int32, d.Len())
	for i := range idx {
		idx[i] = -1
		if d.IsValid(i) {
			idx[i] = int32(d.GetValueIndex(i))
		}
	}
	arr, err := vec.Take(f.kc.Alloc, entries, idx)
	return expr.Vec{Arr: arr}, err == nil
}

func (f *frame) cast(nd *node) (expr.Vec, error) {
	a, err := f.raw(nd.kids[0])
	if err != nil {
		return a, err
	}
	if nd.decode {
		a.Arr.Retain()
		return a, nil
	}
	kc := *f.kc
	kc.Result = nd.dt
	arr, err := nd.kernel(&kc, []expr.Vec{a}, vec.Rows([]expr.Vec{a}, f.n))
	if err != nil {
		return a, blame(err, nd.e)
	}
	return expr.Vec{Arr: arr, Const: a.Const}, nil
}

// lambda evaluates a lambda's body: row i of the parameters belongs to row rows[i] of f.
func (f *frame) lambda(l *expr.Lambda, params []arrow.Array, rows []int32, n int) (arrow.Array, error) {
	body, ok := f.p.bodies[l]
	if !ok {
		return nil, fmt.Errorf("lambda %s was not compiled", l)
	}
	s := f.sub(rows)
	defer s.close()
	for i, prm := range l.Params {
		if id, used := f.p.byID[prm.ID]; used && i < len(params) {
			params[i].Retain()
			s.memo[id] = expr.Vec{Arr: params[i]}
		}
	}
	v, err := s.eval(body)
	if err != nil {
		return nil, err
	}
	return own(s, v, n)
}

// own returns a value as an array of n rows that the caller owns.
func own(f *frame, v expr.Vec, n int) (arrow.Array, error) {
	if v.Const {
		return vec.Expand(f.kc.Alloc, v.Arr, n)
	}
	v.Arr.Retain()
	return v.Arr, nil
}
