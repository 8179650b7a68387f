package eval

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// fastTest compares a column with a constant straight into a selection, without
// a boolean column in between. It declines (false) batches that it does not fit.
type fastTest func(rec arrow.RecordBatch, sel []int32, all bool) ([]int32, bool)

// fastTest recognises <column> <op> <constant> over plain numbers.
func (p *program) fastTest(id int) fastTest {
	c, ok := p.nodes[id].e.(*expr.Call)
	if !ok || len(c.Args) != 2 || !c.Func.Strict {
		return nil
	}
	op := c.Func.Infix
	col, ok1 := c.Args[0].(*expr.Column)
	lit, ok2 := c.Args[1].(*expr.Literal)
	if !ok1 || !ok2 {
		if col, ok1 = c.Args[1].(*expr.Column); !ok1 {
			return nil
		}
		if lit, ok2 = c.Args[0].(*expr.Literal); !ok2 {
			return nil
		}
		op = turned[op]
	}
	if !arrow.TypeEqual(col.DT, lit.DT) || turned[op] == "" {
		return nil
	}
	switch v := lit.Value.(type) {
	case int64:
		switch col.DT.ID() {
		case arrow.INT32, arrow.DATE32:
			return compareTo(col, op, int32(v))
		case arrow.INT64, arrow.TIMESTAMP:
			return compareTo(col, op, v)
		case arrow.INT16:
			return compareTo(col, op, int16(v))
		}
	case float64:
		// Only where a NaN in the column fails the test by itself.
		if col.DT.ID() == arrow.FLOAT64 && v == v && (op == "=" || op == "<" || op == "<=") {
			return compareTo(col, op, v)
		}
	}
	return nil
}

// turned maps each comparison to itself with its sides changed.
var turned = map[string]string{"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

type number interface {
	int16 | int32 | int64 | float64
}

func compareTo[T number](col *expr.Column, op string, c T) fastTest {
	return func(rec arrow.RecordBatch, sel []int32, all bool) ([]int32, bool) {
		arr := rec.Column(col.Index)
		if arr.DataType().ID() != col.DT.ID() {
			return nil, false
		}
		vals := vec.Values[T](arr)
		if all {
			sel = selectAll(vals, sel, op, c)
		} else {
			sel = selectSome(vals, sel, op, c)
		}
		if arr.NullN() > 0 {
			valid, k := vec.Validity(arr), 0
			for _, r := range sel {
				sel[k] = r
				if valid.Get(int(r)) {
					k++
				}
			}
			sel = sel[:k]
		}
		return sel, true
	}
}

// selectAll writes without a branch: each position is stored, and kept by counting on.
func selectAll[T number](vals []T, sel []int32, op string, c T) []int32 {
	sel = sel[:len(vals)]
	k := 0
	switch op {
	case "=":
		for i, v := range vals {
			sel[k] = int32(i)
			k += b2i(v == c)
		}
	case "<>":
		for i, v := range vals {
			sel[k] = int32(i)
			k += b2i(v != c)
		}
	case "<":
		for i, v := range vals {
			sel[k] = int32(i)
			k += b2i(v < c)
		}
	case "<=":
		for i, v := range vals {
			sel[k] = int32(i)
			k += b2i(v <= c)
		}
	case ">":
		for i, v := range vals {
			sel[k] = int32(i)
			k += b2i(v > c)
		}
	default:
		for i, v := range vals {
			sel[k] = int32(i)
			k += b2i(v >= c)
		}
	}
	return sel[:k]
}

func selectSome[T number](vals []T, sel []int32, op string, c T) []int32 {
	k := 0
	for _, r := range sel {
		v := vals[r]
		var t bool
		switch op {
		case "=":
			t = v == c
		case "<>":
			t = v != c
		case "<":
			t = v < c
		case "<=":
			t = v <= c
		case ">":
			t = v > c
		default:
			t = v >= c
		}
		sel[k] = r
		k += b2i(t)
	}
	return sel[:k]
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
