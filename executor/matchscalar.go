package executor

import (
	"cmp"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Conditions that depend on the rows of a match are asked for one row at a time.
// The common ones, comparisons and sums of numbers, are computed without Arrow; what
// is not common, or would be an error, is left to the evaluator.

// atom is a value: a whole number, time or truth in i, a number in f, or text.
type atom struct {
	null bool
	i    int64
	f    float64
	s    string
}

// scalar computes an expression over atoms; ok is false if the evaluator must.
type scalar func(in []atom) (out atom, ok bool)

// cellKind says which field of a atom a type uses.
type cellKind int

const (
	noCell cellKind = iota
	intCell
	floatCell
	textCell
)

func cellKindOf(dt arrow.DataType) cellKind {
	switch dt.ID() {
	case arrow.BOOL, arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.DATE32, arrow.TIMESTAMP:
		return intCell
	case arrow.FLOAT64:
		return floatCell
	case arrow.STRING:
		return textCell
	}
	return noCell
}

// cellOf reads a value; ok is false for types that have no atom.
func cellOf(arr arrow.Array, i int) (c atom, ok bool) {
	if arr.IsNull(i) {
		return atom{null: true}, true
	}
	switch a := arr.(type) {
	case *array.Int64:
		return atom{i: a.Value(i)}, true
	case *array.Float64:
		return atom{f: a.Value(i)}, true
	case *array.Int32:
		return atom{i: int64(a.Value(i))}, true
	case *array.Timestamp:
		return atom{i: int64(a.Value(i))}, true
	case *array.String:
		return atom{s: a.Value(i)}, true
	case *array.Boolean:
		if a.Value(i) {
			return atom{i: 1}, true
		}
		return atom{}, true
	case *array.Date32:
		return atom{i: int64(a.Value(i))}, true
	case *array.Int16:
		return atom{i: int64(a.Value(i))}, true
	case *array.Int8:
		return atom{i: int64(a.Value(i))}, true
	}
	return atom{}, false
}

// compileScalar returns nil if the expression is not a common one.
func compileScalar(e expr.Expr) scalar {
	switch e := e.(type) {
	case *expr.Column:
		if cellKindOf(e.DT) == noCell {
			return nil
		}
		at := e.Index
		return func(in []atom) (atom, bool) { return in[at], true }
	case *expr.Literal:
		return literalScalar(e)
	case *expr.Cast:
		arg := compileScalar(e.Arg)
		if arg == nil || !isWhole(e.Arg.Type()) || !isWhole(e.DT) && e.DT.ID() != arrow.FLOAT64 || cellBits(e.DT) < cellBits(e.Arg.Type()) {
			return nil
		}
		return func(in []atom) (atom, bool) {
			c, ok := arg(in)
			c.f = float64(c.i)
			return c, ok
		}
	case *expr.Logical:
		return logicalScalar(e)
	case *expr.Call:
		return callScalar(e)
	}
	return nil
}

func isWhole(dt arrow.DataType) bool {
	switch dt.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		return true
	}
	return false
}

func cellBits(dt arrow.DataType) int {
	if f, ok := dt.(arrow.FixedWidthDataType); ok {
		return f.BitWidth()
	}
	return 0
}

func literalScalar(e *expr.Literal) scalar {
	c := atom{null: e.Value == nil}
	if cellKindOf(e.DT) == noCell {
		return nil
	}
	switch v := e.Value.(type) {
	case nil:
	case bool:
		if v {
			c.i = 1
		}
	case int64:
		c.i = v
	case float64:
		c.f = v
	case string:
		c.s = v
	default:
		return nil
	}
	return func([]atom) (atom, bool) { return c, true }
}

func logicalScalar(e *expr.Logical) scalar {
	args := make([]scalar, len(e.Args))
	for i, a := range e.Args {
		if args[i] = compileScalar(a); args[i] == nil {
			return nil
		}
	}
	decides := int64(0) // AND is false if one is false
	if e.Op == expr.Or {
		decides = 1
	}
	return func(in []atom) (atom, bool) {
		out := atom{i: 1 - decides}
		for _, a := range args {
			c, ok := a(in)
			switch {
			case !ok:
				return c, false
			case c.null:
				out.null = true
			case c.i == decides:
				return atom{i: decides}, true
			}
		}
		return out, true
	}
}

func callScalar(e *expr.Call) scalar {
	args := make([]scalar, len(e.Args))
	for i, a := range e.Args {
		if args[i] = compileScalar(a); args[i] == nil {
			return nil
		}
	}
	if e.Func.Name == "not" && len(args) == 1 {
		return func(in []atom) (atom, bool) {
			c, ok := args[0](in)
			c.i = 1 - c.i
			return c, ok
		}
	}
	if len(args) != 2 || e.Args[0].Type().ID() != e.Args[1].Type().ID() || !arrow.TypeEqual(e.Args[0].Type(), e.Args[1].Type()) {
		return nil
	}
	kind := cellKindOf(e.Args[0].Type())
	if holds := expr.Outcome(e.Func.Name); holds != nil && e.DT.ID() == arrow.BOOL {
		return compareScalar(args[0], args[1], kind, holds)
	}
	if e.DT.ID() != e.Args[0].Type().ID() || kind != floatCell && e.DT.ID() != arrow.INT64 {
		return nil
	}
	return sumScalar(e.Func.Name, args[0], args[1], kind)
}

func compareScalar(a, b scalar, kind cellKind, holds func(c int) bool) scalar {
	return func(in []atom) (atom, bool) {
		x, ok1 := a(in)
		y, ok2 := b(in)
		if !ok1 || !ok2 {
			return atom{}, false
		}
		if x.null || y.null {
			return atom{null: true}, true
		}
		c := 0
		switch kind {
		case intCell:
			c = cmp.Compare(x.i, y.i)
		case textCell:
			c = cmp.Compare(x.s, y.s)
		default:
			if math.IsNaN(x.f) || math.IsNaN(y.f) {
				return atom{}, false
			}
			c = cmp.Compare(x.f, y.f)
		}
		if holds(c) {
			return atom{i: 1}, true
		}
		return atom{}, true
	}
}

// sumScalar adds, subtracts and multiplies. What overflows is not ok, so that the
// evaluator makes its error.
func sumScalar(name string, a, b scalar, kind cellKind) scalar {
	var whole func(x, y int64) (int64, bool)
	var real func(x, y float64) float64
	switch name {
	case "+":
		whole = func(x, y int64) (int64, bool) { s := x + y; return s, (s > x) == (y > 0) }
		real = func(x, y float64) float64 { return x + y }
	case "-":
		whole = func(x, y int64) (int64, bool) { s := x - y; return s, (s < x) == (y > 0) }
		real = func(x, y float64) float64 { return x - y }
	case "*":
		const safe = 1 << 31
		whole = func(x, y int64) (int64, bool) { return x * y, x < safe && x > -safe && y < safe && y > -safe }
		real = func(x, y float64) float64 { return x * y }
	default:
		return nil
	}
	return func(in []atom) (atom, bool) {
		x, ok1 := a(in)
		y, ok2 := b(in)
		out := atom{null: x.null || y.null}
		if !ok1 || !ok2 || out.null {
			return out, ok1 && ok2
		}
		if kind == floatCell {
			out.f = real(x.f, y.f)
			return out, true
		}
		var ok bool
		out.i, ok = whole(x.i, y.i)
		return out, ok
	}
}
