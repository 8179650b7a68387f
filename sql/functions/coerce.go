package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/dec"
)

// never is the cost of a conversion that is not made implicitly.
const never = 1 << 20

// canonical casts an argument of a foreign Arrow type to the one SQL computes in.
func canonical(e expr.Expr) expr.Expr {
	if _, ok := e.(*expr.Lambda); ok {
		return e
	}
	return coerce(e, cast.Canonical(e.Type()))
}

// coerce inserts a cast, or converts a constant at once where the session's
// zone does not matter.
func coerce(e expr.Expr, to arrow.DataType) expr.Expr {
	if arrow.TypeEqual(e.Type(), to) {
		return e
	}
	if l, ok := e.(*expr.Literal); ok {
		if l.Value == nil {
			return expr.NullOf(to)
		}
		if l.DT.ID() != arrow.TIMESTAMP && to.ID() != arrow.TIMESTAMP {
			kc := &expr.KernelContext{Alloc: memory.DefaultAllocator}
			if c, ok := cast.Literal(kc, l, to); ok {
				return c
			}
		}
	}
	return &expr.Cast{Arg: e, DT: to}
}

// NewCast binds CAST and TRY_CAST.
func NewCast(e expr.Expr, to arrow.DataType, try bool) (expr.Expr, error) {
	e = canonical(e)
	if arrow.TypeEqual(e.Type(), to) {
		return e, nil
	}
	if _, err := cast.Kernel(e.Type(), to, try); err != nil {
		return nil, err
	}
	if !try {
		return coerce(e, to), nil
	}
	return &expr.Cast{Arg: e, DT: to, Try: true}, nil
}

// rank orders the numeric types by precedence.
func rank(dt arrow.DataType) int {
	switch dt.ID() {
	case arrow.INT8:
		return 1
	case arrow.INT16:
		return 2
	case arrow.INT32:
		return 3
	case arrow.INT64:
		return 4
	case arrow.DECIMAL128:
		return 5
	case arrow.FLOAT32:
		return 6
	case arrow.FLOAT64:
		return 7
	}
	return 0
}

func isInstant(dt arrow.DataType) bool { return dt.ID() == arrow.DATE32 || dt.ID() == arrow.TIMESTAMP }

func isSpan(dt arrow.DataType) bool {
	return dt.ID() == arrow.INTERVAL_MONTHS || dt.ID() == arrow.DURATION
}

func isNested(dt arrow.DataType) bool {
	return dt.ID() == arrow.LIST || dt.ID() == arrow.MAP || dt.ID() == arrow.STRUCT
}

// castCost rates the implicit cast of an argument; never where there is none.
func castCost(e expr.Expr, to arrow.DataType) int {
	from := e.Type()
	rf, rt := rank(from), rank(to)
	switch {
	case arrow.TypeEqual(from, to):
		return 0
	case from.ID() == arrow.NULL && isSpan(to):
		return 2
	case from.ID() == arrow.NULL:
		return 1
	case isDecimal(from) && isDecimal(to):
		return 1
	case rf > 0 && rt > 0:
		return numericCost(e, rf, rt)
	case isInstant(from) && isInstant(to):
		if to.ID() == arrow.DATE32 {
			return 60
		}
		return 3
	case isNested(from) && from.ID() == to.ID():
		if cast.Allowed(from, to) {
			return 5
		}
		return never
	case from.ID() == arrow.STRING && to.ID() == arrow.BINARY, from.ID() == arrow.BINARY && to.ID() == arrow.STRING:
		return 15
	case from.ID() == arrow.STRING:
		if isNested(to) || !cast.Allowed(from, to) {
			return never
		}
		if isSpan(to) { // where a number will do, a text is one
			return 22
		}
		return 20
	case to.ID() == arrow.STRING:
		if isNested(from) {
			return never
		}
		return 30
	}
	return never
}

func numericCost(e expr.Expr, rf, rt int) int {
	switch {
	case rf < rt:
		return rt - rf + 1
	case rf <= 4 && rt <= 4:
		// A constant that fits is as good as one of the right type.
		if l, ok := e.(*expr.Literal); ok {
			if _, fits := cast.Literal(&expr.KernelContext{Alloc: memory.DefaultAllocator}, l, namedRank[rt]); fits {
				return 1
			}
		}
		return 40 // checked when it is computed
	case rf == 7 && rt == 6:
		return 40
	case rf == 5 && rt <= 4:
		return 80 // cut to its whole part, checked for its range
	}
	return never
}

var namedRank = map[int]arrow.DataType{1: expr.TypeInt8, 2: expr.TypeInt16, 3: expr.TypeInt32, 4: expr.TypeInt64}

// CommonType returns the least type that values of both can be converted to, as
// for the branches of CASE, the columns of UNION and a list's elements.
func CommonType(a, b arrow.DataType) (arrow.DataType, bool) {
	a, b = cast.Canonical(a), cast.Canonical(b)
	ra, rb := rank(a), rank(b)
	switch {
	case arrow.TypeEqual(a, b):
		return a, true
	case a.ID() == arrow.NULL:
		return b, true
	case b.ID() == arrow.NULL:
		return a, true
	case ra > 0 && rb > 0:
		return commonNumeric(a, b), true
	case isInstant(a) && isInstant(b):
		return commonInstant(a, b), true
	case a.ID() == arrow.STRING && !isNested(b):
		return commonString(b), true
	case b.ID() == arrow.STRING && !isNested(a):
		return commonString(a), true
	}
	return commonNested(a, b)
}

func commonNumeric(a, b arrow.DataType) arrow.DataType {
	switch {
	case isDecimal(a) && isFloat(b), isDecimal(b) && isFloat(a):
		return expr.TypeDouble
	case isDecimal(a) || isDecimal(b):
		x, _ := dec.Of(a)
		y, _ := dec.Of(b)
		return dec.Wider(x, y).Arrow()
	case isFloat(a) != isFloat(b):
		return expr.TypeDouble // a FLOAT would lose digits of the integer
	case rank(a) > rank(b):
		return a
	}
	return b
}

func commonInstant(a, b arrow.DataType) arrow.DataType {
	for _, t := range []arrow.DataType{a, b} {
		if ts, ok := t.(*arrow.TimestampType); ok && ts.TimeZone != "" {
			return expr.TypeTimestamp
		}
	}
	return expr.TypeLocalTime
}

// commonString is what a string and another type meet in: the other one, with
// integers widened so that any written integer fits.
func commonString(other arrow.DataType) arrow.DataType {
	switch {
	case isInt(other):
		return expr.TypeInt64
	case isNumeric(other):
		return expr.TypeDouble
	}
	return other
}

func commonNested(a, b arrow.DataType) (arrow.DataType, bool) {
	switch x := a.(type) {
	case *arrow.ListType:
		if y, ok := b.(*arrow.ListType); ok {
			e, ok := CommonType(x.Elem(), y.Elem())
			if ok {
				return arrow.ListOf(e), true
			}
		}
	case *arrow.MapType:
		if y, ok := b.(*arrow.MapType); ok {
			k, ok1 := CommonType(x.KeyType(), y.KeyType())
			v, ok2 := CommonType(x.ItemType(), y.ItemType())
			if ok1 && ok2 {
				return arrow.MapOf(k, v), true
			}
		}
	case *arrow.StructType:
		y, ok := b.(*arrow.StructType)
		if !ok || x.NumFields() != y.NumFields() {
			return nil, false
		}
		fields := make([]arrow.Field, x.NumFields())
		for i := range fields {
			t, ok := CommonType(x.Field(i).Type, y.Field(i).Type)
			if !ok {
				return nil, false
			}
			fields[i] = arrow.Field{Name: x.Field(i).Name, Type: t, Nullable: true}
		}
		return arrow.StructOf(fields...), true
	}
	return nil, false
}

// Coerce casts expressions to their common type; what names them in the error.
func Coerce(what string, es []expr.Expr) ([]expr.Expr, arrow.DataType, error) {
	dt := arrow.DataType(expr.TypeNull)
	for _, e := range es {
		wide, ok := CommonType(dt, e.Type())
		if !ok {
			return nil, nil, batch.UserErrorf("%s: no common type for %s and %s", what, expr.TypeName(dt), expr.TypeName(e.Type()))
		}
		dt = wide
	}
	out := make([]expr.Expr, len(es))
	for i, e := range es {
		out[i] = coerce(canonical(e), dt)
	}
	return out, dt, nil
}

// Assign casts an expression to a column's type for INSERT; an error if there is no cast.
func Assign(e expr.Expr, to arrow.DataType) (expr.Expr, error) { return NewCast(e, to, false) }
