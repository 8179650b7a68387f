package sql

import (
	"fmt"
	"hash/maphash"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// outputs are the columns of the Project that ends a SELECT.
type outputs struct {
	exprs []expr.Expr
	names []string
	// items says where each output column is. A window is two columns of the
	// plan (wide): queries above group and join by its start and end, which the
	// planner must see, and only the end of the whole query makes a struct of it.
	items []struct {
		at   int
		wide bool
	}
	// at holds where expressions of a shape are, so that thousands of keys are not
	// each compared with each.
	at map[uint64][]int
}

func (o *outputs) add(e expr.Expr, name string) int {
	if o.at == nil {
		o.at = map[uint64][]int{}
	}
	h := shape(e)
	o.at[h] = append(o.at[h], len(o.exprs))
	o.exprs, o.names = append(o.exprs, e), append(o.names, name)
	return len(o.exprs) - 1
}

// find returns the position of an expression, or -1.
func (o *outputs) find(e expr.Expr) int {
	for _, i := range o.at[shape(e)] {
		if same(o.exprs[i], e) {
			return i
		}
	}
	return -1
}

// shape is a number that is equal for what same calls the same.
func shape(e expr.Expr) uint64 {
	h := maphash.Comparable(shapes, fmt.Sprintf("%T", e))
	switch e := e.(type) {
	case *expr.Column:
		h = maphash.Comparable(shapes, e.Index)
	case *expr.Literal:
		if n, ok := e.Value.(int64); ok {
			h ^= maphash.Comparable(shapes, n)
		}
	case *expr.Call:
		h ^= maphash.Comparable(shapes, e.Func.Name)
	default: // its kind and its parts
	}
	for _, c := range expr.Children(e) {
		h = h*31 + shape(c)
	}
	return h
}

var shapes = maphash.MakeSeed()

// over writes an expression over the output columns, if they are all that it needs.
func (o *outputs) over(e expr.Expr) (expr.Expr, bool) {
	if len(o.items) == 0 || !expr.Deterministic(e) {
		return nil, false
	}
	ok := true
	out := expr.Transform(e, func(x expr.Expr) expr.Expr {
		c, is := x.(*expr.Column)
		if !is || c.Index < 0 {
			return x
		}
		at := o.find(x)
		if at < 0 {
			ok = false
			return x
		}
		return &expr.Column{Index: at, Name: o.names[at], DT: c.DT, Null: c.Null}
	})
	return out, ok
}

// output projects the items and sorts them. A sort key that is no item travels
// along as a hidden column and is dropped again.
func (sel *selection) output(in logical.Node, es []expr.Expr, names []string, keys []expr.SortKey) (*scope, error) {
	o := &outputs{}
	for i, e := range es {
		it := struct {
			at   int
			wide bool
		}{at: len(o.exprs)}
		if start, end, ok := windowColumns(e); ok {
			o.add(start, "window_start")
			o.add(end, "window_end")
			it.wide = true
		} else {
			o.add(e, names[i])
		}
		o.items = append(o.items, it)
	}
	width := len(o.exprs)
	sorted, err := sel.sortKeys(o, keys)
	if err != nil {
		return nil, err
	}
	node := project(in, o.exprs, o.names)
	if sel.s.Distinct {
		node = &logical.Distinct{Input: node}
	}
	if len(sorted) > 0 {
		node = &logical.Sort{Input: node, Keys: sorted}
	}
	if len(o.exprs) > width {
		kept := make([]expr.Expr, width)
		for i, f := range node.Schema().Fields()[:width] {
			kept[i] = columnOf(i, f)
		}
		node = &logical.Project{Input: node, Exprs: kept, Names: o.names[:width]}
	}
	return o.scope(node, names)
}

// sortKeys finds the columns to sort by; a window sorts by its start, then its
// end.
func (sel *selection) sortKeys(o *outputs, keys []expr.SortKey) ([]expr.SortKey, error) {
	var out []expr.SortKey
	for _, k := range keys {
		parts := []expr.Expr{k.Expr}
		if start, end, ok := windowColumns(k.Expr); ok {
			parts = []expr.Expr{start, end}
		}
		for _, e := range parts {
			at := o.find(e)
			if at < 0 && sel.s.Distinct {
				over, ok := o.over(e)
				if !ok {
					return nil, ast.Errorf(sel.s.Pos, "with SELECT DISTINCT, ORDER BY can only use what is selected")
				}
				c := k
				c.Expr = over
				out = append(out, c)
				continue
			}
			if at < 0 {
				at = o.add(e, "sort_key")
			}
			c := k
			c.Expr = &expr.Column{Index: at, Name: o.names[at], DT: e.Type(), Null: e.Nullable()}
			out = append(out, c)
		}
	}
	return out, nil
}

// scope names the output columns.
func (o *outputs) scope(node logical.Node, names []string) (*scope, error) {
	sc := &scope{node: node}
	f := node.Schema().Fields()
	for i, it := range o.items {
		var e expr.Expr = columnOf(it.at, f[it.at])
		if it.wide {
			var err error
			if e, err = structOfWindow(columnOf(it.at, f[it.at]), columnOf(it.at+1, f[it.at+1])); err != nil {
				return nil, err
			}
		}
		sc.cols = append(sc.cols, scopeCol{name: names[i], e: e})
	}
	return sc, nil
}

func structOfWindow(start, end *expr.Column) (expr.Expr, error) {
	return functions.Scalar("named_struct", []expr.Expr{expr.Text("start"), start, expr.Text("end"), end})
}
