package sluice

import (
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Union is all rows of both, duplicates included, by position of the columns.
func (d *DataFrame) Union(other *DataFrame) *DataFrame { return d.setOp("UNION", true, other) }

// UnionAll is Union.
func (d *DataFrame) UnionAll(other *DataFrame) *DataFrame { return d.Union(other) }

// Intersect is the different rows that both have.
func (d *DataFrame) Intersect(other *DataFrame) *DataFrame { return d.setOp("INTERSECT", false, other) }

// IntersectAll is the rows that both have, each as often as in the one that has
// it less often.
func (d *DataFrame) IntersectAll(other *DataFrame) *DataFrame {
	return d.setOp("INTERSECT", true, other)
}

// Except is the different rows that the other does not have.
func (d *DataFrame) Except(other *DataFrame) *DataFrame { return d.setOp("EXCEPT", false, other) }

// ExceptAll takes each row of the other away once.
func (d *DataFrame) ExceptAll(other *DataFrame) *DataFrame { return d.setOp("EXCEPT", true, other) }

// Subtract is Except.
func (d *DataFrame) Subtract(other *DataFrame) *DataFrame { return d.Except(other) }

func (d *DataFrame) setOp(op string, dups bool, other *DataFrame) *DataFrame {
	switch {
	case d.err != nil:
		return d
	case other.err != nil:
		return other
	case d.s != other.s:
		return d.failed(batch.UserErrorf("the DataFrames are of different sessions"))
	}
	return d.derive(func() (*ast.Query, error) {
		return &ast.Query{Body: &ast.SetOp{Op: op, All: dups, L: all(d.from()), R: all(other.from())}}, nil
	})
}

// UnionByName is all rows of both, by name of the columns, in this DataFrame's
// order. With missing, a column that one side lacks is NULL there; else it is a fault.
func (d *DataFrame) UnionByName(other *DataFrame, missing ...bool) *DataFrame {
	l, err := d.bound()
	if err != nil {
		return d.failed(err)
	}
	r, err := other.bound()
	if err != nil {
		return d.failed(err)
	}
	fill := len(missing) > 0 && missing[0]
	var names []string
	for _, f := range l.Schema().Fields() {
		names = append(names, f.Name)
	}
	mine := len(names)
	for _, f := range r.Schema().Fields() {
		if !holds(names, f.Name) {
			names = append(names, f.Name)
		}
	}
	if !fill && len(names) > mine {
		return d.failed(batch.UserErrorf("union by name: the first side has no column %q", names[mine]))
	}
	side := func(x *DataFrame) (*DataFrame, error) {
		var have []string
		for _, f := range x.node.Schema().Fields() {
			have = append(have, f.Name)
		}
		cols := make([]any, len(names))
		for i, n := range names {
			switch {
			case holds(have, n):
				cols[i] = ident(n)
			case fill:
				cols[i] = Lit(nil).As(n)
			default:
				return nil, batch.UserErrorf("union by name: the second side has no column %q", n)
			}
		}
		return x.plain().Select(cols...), nil
	}
	a, err := side(d)
	if err != nil {
		return d.failed(err)
	}
	b, err := side(other)
	if err != nil {
		return d.failed(err)
	}
	return a.Union(b)
}

// plain is the DataFrame as one table, without the names that a join has kept.
func (d *DataFrame) plain() *DataFrame {
	return &DataFrame{s: d.s, node: d.node, inner: d.inner, err: d.err}
}

// ident names a column whatever characters its name has.
func ident(name string) Column {
	return Column{e: &ast.Column{Parts: []ast.Ident{{Name: name, Quoted: true}}}}
}

// holds looks a name up as SQL does: whatever its case.
func holds(names []string, name string) bool { return nameAt(names, name) >= 0 }

func nameAt(names []string, name string) int {
	for i, n := range names {
		if strings.EqualFold(n, name) {
			return i
		}
	}
	return -1
}
