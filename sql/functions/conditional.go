package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/bitutil"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func conditionals() []*Entry {
	return []*Entry{
		special("and", "(boolean, boolean...) -> boolean", "Logical AND with three values; a later argument is not computed where an earlier one is false.",
			"and(true, NULL)", "NULL", logical(expr.And)),
		special("or", "(boolean, boolean...) -> boolean", "Logical OR with three values; a later argument is not computed where an earlier one is true.",
			"or(true, NULL)", "true", logical(expr.Or)),
		fn("not|!", "Logical negation.", "not(false)", "true", sig("boolean -> boolean", notKernel)).safe().tight(),
		nullTest("is_null|isnull", "Whether a value is NULL.", "is_null(NULL)", "true", true),
		nullTest("is_not_null|isnotnull", "Whether a value is not NULL.", "is_not_null(NULL)", "false", false),
		truth("is_true", "Whether a value is true and not NULL.", "is_true(NULL)", "false", true, false),
		truth("is_false", "Whether a value is false and not NULL.", "is_false(false)", "true", false, false),
		truth("is_not_true", "Whether a value is false or NULL.", "is_not_true(NULL)", "true", true, true),
		truth("is_not_false", "Whether a value is true or NULL.", "is_not_false(NULL)", "true", false, true),
		fn("isnan", "Whether a number is NaN.", "isnan(CAST('NaN' AS DOUBLE))", "true",
			sig("double -> boolean", p1(func(f float64) bool { return f != f }))).safe(),
		special("coalesce", "coalesce(T...) -> T", "The first argument that is not NULL.", "coalesce(NULL, 2, 3)", "2", bindCoalesce),
		special("ifnull|nvl", "ifnull(T, T) -> T", "The first argument, or the second where it is NULL.", "ifnull(NULL, 'x')", "x", exactly(2, bindCoalesce)),
		special("nvl2", "nvl2(any, T, T) -> T", "The second argument where the first is not NULL, else the third.", "nvl2(NULL, 1, 2)", "2", bindNvl2),
		special("if|iff", "if(boolean, T, T) -> T", "The second argument where the first is true, else the third.", "if(1 < 2, 'a', 'b')", "a", bindIf),
		special("nullif", "nullif(T, T) -> T", "NULL where the arguments are equal, else the first.", "nullif(2, 2)", "NULL", bindNullif),
		special("nanvl", "nanvl(double, double) -> double", "The first argument unless it is NaN, else the second.", "nanvl(CAST('NaN' AS DOUBLE), 1.0)", "1.0",
			bindNanvl),
		special("zeroifnull", "zeroifnull(numeric) -> numeric", "The argument, or 0 where it is NULL.", "zeroifnull(CAST(NULL AS INT))", "0",
			func(e *Entry, args []expr.Expr) (expr.Expr, error) {
				if len(args) != 1 {
					return nil, e.mismatch(args)
				}
				return bindCoalesce(e, []expr.Expr{args[0], &expr.Literal{Value: int64(0), DT: expr.TypeInt32}})
			}),
		special("nullifzero", "nullifzero(numeric) -> numeric", "The argument, or NULL where it is 0.", "nullifzero(0)", "NULL",
			func(e *Entry, args []expr.Expr) (expr.Expr, error) {
				if len(args) != 1 {
					return nil, e.mismatch(args)
				}
				return bindNullif(e, []expr.Expr{args[0], &expr.Literal{Value: int64(0), DT: expr.TypeInt32}})
			}),
		extreme("greatest", "The greatest argument, leaving out NULLs.", "greatest(1, 3, 2)", "3", 1),
		extreme("least", "The least argument, leaving out NULLs.", "least(1, NULL, 2)", "1", -1),
	}
}

// exactly checks the number of arguments before binding.
func exactly(n int, bind func(*Entry, []expr.Expr) (expr.Expr, error)) func(*Entry, []expr.Expr) (expr.Expr, error) {
	return func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) != n {
			return nil, e.mismatch(args)
		}
		return bind(e, args)
	}
}

func logical(op expr.LogicalOp) func(*Entry, []expr.Expr) (expr.Expr, error) {
	return func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		var flat []expr.Expr
		for _, a := range args {
			c, err := condition(e, a)
			if err != nil {
				return nil, err
			}
			if l, ok := c.(*expr.Logical); ok && l.Op == op {
				flat = append(flat, l.Args...)
				continue
			}
			flat = append(flat, c)
		}
		switch len(flat) {
		case 0:
			return nil, e.mismatch(args)
		case 1:
			return flat[0], nil
		}
		return &expr.Logical{Op: op, Args: flat}, nil
	}
}

// condition casts an argument that is to be a truth value.
func condition(e *Entry, a expr.Expr) (expr.Expr, error) {
	switch a.Type().ID() {
	case arrow.BOOL:
		return a, nil
	case arrow.NULL, arrow.STRING:
		return coerce(a, expr.TypeBool), nil
	}
	return nil, batch.UserErrorf("%s needs a BOOLEAN, not %s", e.Name(), expr.TypeName(a.Type()))
}

// NewCase binds a searched CASE: conditions must be boolean and the branches
// are cast to their common type. els may be nil.
func NewCase(whens []expr.When, els expr.Expr) (expr.Expr, error) {
	e := &Entry{Names: []string{"CASE"}}
	if els == nil {
		els = expr.NullOf(expr.TypeNull)
	}
	var branches []expr.Expr
	for _, w := range whens {
		branches = append(branches, canonical(w.Then))
	}
	out, dt, err := Coerce("CASE", append(branches, canonical(els)))
	if err != nil {
		return nil, err
	}
	c := &expr.Case{Else: out[len(whens)], DT: dt}
	for i, w := range whens {
		cond, err := condition(e, w.Cond)
		if err != nil {
			return nil, err
		}
		c.Whens = append(c.Whens, expr.When{Cond: cond, Then: out[i]})
	}
	return c, nil
}

// NewIn binds IN over constants; items that are no constants become ORed comparisons.
func NewIn(arg expr.Expr, list []expr.Expr, negated bool) (expr.Expr, error) {
	if in, ok := constantIn(canonical(arg), list, negated); ok {
		return in, nil
	}
	var ors []expr.Expr
	for _, item := range list {
		eq, err := Scalar("=", []expr.Expr{arg, item})
		if err != nil {
			return nil, err
		}
		ors = append(ors, eq)
	}
	or, err := Scalar("or", ors)
	if err != nil || !negated {
		return or, err
	}
	return Scalar("not", []expr.Expr{or})
}

func constantIn(arg expr.Expr, list []expr.Expr, negated bool) (expr.Expr, bool) {
	in := &expr.In{Negated: negated}
	dt := arg.Type()
	for _, item := range list {
		t := item.Type()
		if isInt(dt) && isInt(t) {
			if _, n := narrowLiteral(arg, item); arrow.TypeEqual(n.Type(), dt) {
				continue
			}
		}
		ct, ok := CommonType(dt, t)
		if !ok {
			return nil, false
		}
		dt = ct
	}
	for _, item := range list {
		l, ok := coerce(item, dt).(*expr.Literal)
		if !ok {
			return nil, false
		}
		in.List = append(in.List, l)
	}
	in.Arg = coerce(arg, dt)
	return in, len(list) > 0
}

func notNull(e expr.Expr) (expr.Expr, error) { return Scalar("is_not_null", []expr.Expr{e}) }

func bindCoalesce(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) == 0 {
		return nil, e.mismatch(args)
	}
	out, dt, err := Coerce(e.Name(), args)
	if err != nil {
		return nil, err
	}
	var whens []expr.When
	for i, a := range out {
		if !a.Nullable() || i == len(out)-1 {
			if len(whens) == 0 {
				return a, nil
			}
			return &expr.Case{Whens: whens, Else: a, DT: dt}, nil
		}
		if expr.IsNull(a) {
			continue
		}
		cond, err := notNull(a)
		if err != nil {
			return nil, err
		}
		whens = append(whens, expr.When{Cond: cond, Then: a})
	}
	return nil, e.mismatch(args)
}

func bindNvl2(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 3 {
		return nil, e.mismatch(args)
	}
	cond, err := notNull(args[0])
	if err != nil {
		return nil, err
	}
	return NewCase([]expr.When{{Cond: cond, Then: args[1]}}, args[2])
}

func bindIf(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 3 {
		return nil, e.mismatch(args)
	}
	return NewCase([]expr.When{{Cond: args[0], Then: args[1]}}, args[2])
}

func bindNullif(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 2 {
		return nil, e.mismatch(args)
	}
	eq, err := Scalar("=", args)
	if err != nil {
		return nil, err
	}
	return NewCase([]expr.When{{Cond: eq, Then: expr.NullOf(args[0].Type())}}, args[0])
}

func bindNanvl(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 2 {
		return nil, e.mismatch(args)
	}
	nan, err := Scalar("isnan", args[:1])
	if err != nil {
		return nil, err
	}
	return NewCase([]expr.When{{Cond: nan, Then: coerce(args[1], expr.TypeDouble)}}, coerce(args[0], expr.TypeDouble))
}

func notKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	in := vec.BoolBits(args[0].Arr)
	buf := vec.NewBits(kc.Alloc, n)
	if in.Buf != nil {
		bitutil.InvertBitmap(in.Buf, in.Off, n, buf.Bytes(), 0)
	}
	return vec.StrictMask(kc.Alloc, args, n).Array(kc.Result, buf), nil
}

func nullTest(names, doc, ex, res string, want bool) *Entry {
	k := func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		buf := vec.NewBits(kc.Alloc, n)
		out := buf.Bytes()
		arr := args[0].Arr
		switch valid := vec.Validity(arr); {
		case arr.DataType().ID() == arrow.NULL || valid.Buf == nil:
			if (arr.NullN() > 0) == want {
				bitutil.SetBitsTo(out, 0, int64(n), true)
			}
		case want:
			bitutil.InvertBitmap(valid.Buf, valid.Off, n, out, 0)
		default:
			bitutil.CopyBitmap(valid.Buf, valid.Off, n, out, 0)
		}
		return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
	}
	return fn(names, doc, ex, res, sig("any -> boolean", k)).lax().safe().tight()
}

func truth(name, doc, ex, res string, value, negate bool) *Entry {
	k := func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		buf := vec.NewBits(kc.Alloc, n)
		out := buf.Bytes()
		arr := args[0].Arr
		bits, valid := vec.BoolBits(arr), vec.Validity(arr)
		for i := range n {
			if (valid.Get(i) && bits.Get(i) == value) != negate {
				out[i>>3] |= 1 << (i & 7)
			}
		}
		return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
	}
	return fn(name, doc, ex, res, sig("boolean -> boolean", k)).lax().safe().tight()
}

// extreme is greatest or least: per row the argument that compares as wanted.
func extreme(name, doc, ex, res string, want int) *Entry {
	k := func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		from, pos := make([]int32, n), make([]int32, n)
		parts := make([]vec.Part, len(args))
		for k, a := range args {
			parts[k] = vec.Part{Arr: a.Arr, Const: a.Const}
		}
		for i := range n {
			best := 0
			for k := 1; k < len(args); k++ {
				a, b := args[k], args[best]
				if vec.IsNull(a.Arr, row(a, i)) {
					continue
				}
				if vec.IsNull(b.Arr, row(b, i)) || vec.Compare(a.Arr, row(a, i), b.Arr, row(b, i))*want > 0 {
					best = k
				}
			}
			from[i], pos[i] = int32(best), int32(i)
		}
		return vec.Interleave(kc.Alloc, kc.Result, parts, from, pos)
	}
	return fn(name, doc, ex, res, sig("T, T, T... -> T", k)).lax().safe()
}
