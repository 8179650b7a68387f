package executor

import (
	"bytes"
	"cmp"
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// statsOf tells what is known of a column in a part of the data.
type statsOf func(column int) (batch.ColumnStats, bool)

// neverTrue reports that a condition is true of no row of a part of the data. It
// is asked with bounds that may be wider than the values, and that leave NaN out.
func neverTrue(e expr.Expr, rows int64, of statsOf) bool {
	switch e := e.(type) {
	case *expr.Literal:
		return e.Value == nil || e.Value == false
	case *expr.Logical:
		for _, a := range e.Args {
			if neverTrue(a, rows, of) != (e.Op == expr.Or) {
				return e.Op == expr.And
			}
		}
		return e.Op == expr.Or
	case *expr.In:
		return neverIn(e, rows, of)
	case *expr.Call:
		return neverCall(e, rows, of)
	}
	return false
}

func neverCall(e *expr.Call, rows int64, of statsOf) bool {
	if len(e.Args) == 1 {
		col, ok := e.Args[0].(*expr.Column)
		if !ok {
			return false
		}
		st, known := of(col.Index)
		switch e.Func.Name {
		case "is_null":
			return known && st.Nulls == 0
		case "is_not_null":
			return known && st.Nulls == rows
		}
		return false
	}
	if len(e.Args) != 2 || !e.Func.Strict {
		return false
	}
	op := e.Func.Infix
	if op == "" {
		op = e.Func.Name
	}
	col, ok1 := e.Args[0].(*expr.Column)
	lit, ok2 := e.Args[1].(*expr.Literal)
	if !ok1 || !ok2 {
		lit, ok2 = e.Args[0].(*expr.Literal)
		if col, ok1 = e.Args[1].(*expr.Column); !ok1 || !ok2 || mirrored[op] == "" {
			return false
		}
		op = mirrored[op]
	}
	if lit.Value == nil {
		return true
	}
	st, known := of(col.Index)
	if !known {
		return false
	}
	if st.Nulls == rows && rows > 0 {
		return true
	}
	v, ok := valueAs(lit, col.DT)
	return ok && neverCompares(op, st, v)
}

// valueAs is a literal's value in the form of a column's bounds. Decimals are
// brought to the column's scale; of other types it has to be the same.
func valueAs(l *expr.Literal, dt arrow.DataType) (any, bool) {
	if x, ok := l.Value.(decimal128.Num); ok {
		from, ok1 := l.DT.(*arrow.Decimal128Type)
		to, ok2 := dt.(*arrow.Decimal128Type)
		if !ok1 || !ok2 || to.Scale < from.Scale || !x.FitsInPrecision(38-(to.Scale-from.Scale)) {
			return nil, false
		}
		return x.IncreaseScaleBy(to.Scale - from.Scale), true
	}
	return plainValue(l.Value), arrow.TypeEqual(l.DT, dt)
}

// mirrored maps each comparison to itself with its sides changed.
var mirrored = map[string]string{"=": "=", "<>": "<>", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// plainValue is a literal's value in the form of the bounds.
func plainValue(v any) any {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return v
}

// neverCompares reports that no value between the bounds compares so with v. NaN
// is greater than all and may be there beside the bounds.
func neverCompares(op string, st batch.ColumnStats, v any) bool {
	lo, okLo := compareBound(st.Min, v)
	hi, okHi := compareBound(st.Max, v)
	_, float := v.(float64)
	switch op {
	case "=":
		return okLo && lo > 0 || okHi && hi < 0
	case "<":
		return okLo && lo >= 0
	case "<=":
		return okLo && lo > 0
	case ">":
		return !float && okHi && hi <= 0
	case ">=":
		return !float && okHi && hi < 0
	case "<>", "!=":
		return !float && okLo && okHi && lo == 0 && hi == 0
	case "like":
		pattern, ok := v.(string)
		return ok && neverPrefix(pattern[:wildcardAt(pattern)], st)
	case "startswith", "starts_with":
		prefix, ok := v.(string)
		return ok && neverPrefix(prefix, st)
	}
	return false
}

// wildcardAt is where the part of a LIKE pattern ends that stands for itself.
func wildcardAt(pattern string) int {
	if i := strings.IndexAny(pattern, `%_\`); i >= 0 {
		return i
	}
	return len(pattern)
}

// neverPrefix reports that nothing between the bounds begins with prefix.
func neverPrefix(prefix string, st batch.ColumnStats) bool {
	lo, ok1 := st.Min.(string)
	hi, ok2 := st.Max.(string)
	if prefix == "" {
		return false
	}
	return ok2 && hi < prefix || ok1 && lo > prefix && !strings.HasPrefix(lo, prefix)
}

func neverIn(e *expr.In, rows int64, of statsOf) bool {
	col, ok := e.Arg.(*expr.Column)
	if !ok || e.Negated {
		return false
	}
	st, known := of(col.Index)
	if !known {
		return false
	}
	if st.Nulls == rows && rows > 0 {
		return true
	}
	for _, l := range e.List {
		if l.Value == nil {
			continue
		}
		if v, ok := valueAs(l, e.Arg.Type()); !ok || !neverCompares("=", st, v) {
			return false
		}
	}
	return true
}

// compareBound compares a bound with a value of the same kind.
func compareBound(bound, v any) (int, bool) {
	switch b := bound.(type) {
	case int64:
		if v, ok := v.(int64); ok {
			return cmp.Compare(b, v), true
		}
	case float64:
		if v, ok := v.(float64); ok && !math.IsNaN(v) && !math.IsNaN(b) {
			return cmp.Compare(b, v), true
		}
	case string:
		if v, ok := v.(string); ok {
			return bytes.Compare([]byte(b), []byte(v)), true
		}
	case decimal128.Num:
		if v, ok := v.(decimal128.Num); ok {
			return b.Cmp(v), true
		}
	}
	return 0, false
}

// pointsOf returns the values of which a condition on one column wants one.
func pointsOf(e expr.Expr) []any {
	switch e := e.(type) {
	case *expr.In:
		if _, ok := e.Arg.(*expr.Column); !ok || e.Negated {
			return nil
		}
		var out []any
		for _, l := range e.List {
			if l.Value == nil {
				continue
			}
			v, ok := valueAs(l, e.Arg.Type())
			if !ok {
				return nil
			}
			out = append(out, v)
		}
		return out
	case *expr.Call:
		if e.Func.Infix != "=" || len(e.Args) != 2 {
			return nil
		}
		for i, a := range e.Args {
			if _, ok := a.(*expr.Column); ok {
				if l, ok := e.Args[1-i].(*expr.Literal); ok && l.Value != nil {
					if v, ok := valueAs(l, a.Type()); ok {
						return []any{v}
					}
				}
			}
		}
	}
	return nil
}
