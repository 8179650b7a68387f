package sluice

import (
	"fmt"

	"github.com/sluice-stream/sluice/sql/ast"
)

// WindowSpec is what stands behind OVER: which rows a window function sees. Its
// methods return a changed copy.
type WindowSpec struct {
	spec ast.WindowSpec
	err  error
}

// Bound is one end of a window's frame.
type Bound struct {
	b   ast.Bound
	err error
}

// The ends of a frame that need no number.
var (
	UnboundedPreceding = Bound{b: ast.Bound{Kind: ast.UnboundedPreceding}}
	CurrentRow         = Bound{b: ast.Bound{Kind: ast.CurrentRow}}
	UnboundedFollowing = Bound{b: ast.Bound{Kind: ast.UnboundedFollowing}}
)

// Preceding is n rows (or groups, or a distance in the order's own unit) before
// the current row.
func Preceding(n any) Bound {
	c := argument(n)
	return Bound{b: ast.Bound{Kind: ast.Preceding, Offset: c.e}, err: c.err}
}

// Following is n rows, groups or a distance behind the current row.
func Following(n any) Bound {
	c := argument(n)
	return Bound{b: ast.Bound{Kind: ast.Following, Offset: c.e}, err: c.err}
}

// PartitionBy starts a window: each row sees the rows with the same keys.
func PartitionBy(keys ...any) WindowSpec { return WindowSpec{}.PartitionBy(keys...) }

// OrderBy starts a window over all rows in an order.
func OrderBy(keys ...any) WindowSpec { return WindowSpec{}.OrderBy(keys...) }

// PartitionBy replaces the keys.
func (w WindowSpec) PartitionBy(keys ...any) WindowSpec {
	cols, err := columnsOf(keys)
	w.err = firstErr(w.err, err)
	w.spec.PartitionBy = nil
	for _, c := range cols {
		w.spec.PartitionBy = append(w.spec.PartitionBy, c.e)
	}
	return w
}

// OrderBy replaces the order of the rows, by columns with Asc and Desc.
func (w WindowSpec) OrderBy(keys ...any) WindowSpec {
	order, err := orderOf(keys)
	w.spec.OrderBy, w.err = order, firstErr(w.err, err)
	return w
}

// RowsBetween limits the frame by rows. An end is a Bound, or a whole number:
// below zero for rows before, 0 for the current row, above for rows behind.
func (w WindowSpec) RowsBetween(lo, hi any) WindowSpec { return w.frame("ROWS", lo, hi) }

// RangeBetween limits the frame by distance from the current row's order key: a
// number, or an interval by Preceding(Expr("INTERVAL 1 HOUR")).
func (w WindowSpec) RangeBetween(lo, hi any) WindowSpec { return w.frame("RANGE", lo, hi) }

// GroupsBetween limits the frame by groups of rows with equal order keys.
func (w WindowSpec) GroupsBetween(lo, hi any) WindowSpec { return w.frame("GROUPS", lo, hi) }

// Exclude leaves rows out of the frame: "CURRENT ROW", "GROUP" or "TIES". Call it
// behind the method that sets the frame.
func (w WindowSpec) Exclude(what string) WindowSpec {
	if w.spec.Frame == nil {
		w.err = firstErr(w.err, fmt.Errorf("Exclude: the window has no frame"))
		return w
	}
	f := *w.spec.Frame
	f.Exclude = what
	w.spec.Frame = &f
	return w
}

func (w WindowSpec) frame(unit string, lo, hi any) WindowSpec {
	l, h := boundOf(lo), boundOf(hi)
	w.err = firstErr(w.err, firstErr(l.err, h.err))
	w.spec.Frame = &ast.Frame{Unit: unit, Start: l.b, End: h.b}
	return w
}

func boundOf(v any) Bound {
	n, whole := int64(0), true
	switch v := v.(type) {
	case Bound:
		return v
	case int:
		n = int64(v)
	case int64:
		n = v
	case int32:
		n = int64(v)
	default:
		whole = false
	}
	switch {
	case !whole:
		return Bound{err: fmt.Errorf("the end of a frame is a %T: want a whole number or a Bound", v)}
	case n < 0:
		return Preceding(Expr(fmt.Sprint(uint64(-n))))
	case n > 0:
		return Following(Expr(fmt.Sprint(n)))
	}
	return CurrentRow
}

// Over makes a window function of an aggregate or of a function such as
// row_number: Call("rank").Over(PartitionBy("k").OrderBy("v")).
func (c Column) Over(w WindowSpec) Column {
	return c.call("Over", func(k *ast.Call) error {
		spec := w.spec
		k.Over = &spec
		return w.err
	})
}
