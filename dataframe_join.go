package sluice

import (
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sql/ast"
)

// joinKinds are the words that Join takes, without blanks, _ and "outer".
var joinKinds = map[string]ast.JoinKind{
	"": ast.InnerJoin, "inner": ast.InnerJoin, "left": ast.LeftJoin, "right": ast.RightJoin, "full": ast.FullJoin, "cross": ast.CrossJoin,
	"semi": ast.SemiJoin, "leftsemi": ast.SemiJoin, "anti": ast.AntiJoin, "leftanti": ast.AntiJoin,
}

var joinWords = strings.NewReplacer(" ", "", "_", "", "outer", "")

// Join joins with another DataFrame of the same session. on is a Column, a SQL
// condition, or a []string of columns that both have; how is inner, left, right,
// full, cross, semi or anti. Sides that have a name (a table's, or that of As)
// keep it for further joins, Where, and the first other method after them.
func (d *DataFrame) Join(other *DataFrame, on any, how string) *DataFrame {
	j, err := joinOf(on, how)
	return d.joined(other, j, err)
}

// CrossJoin puts each row beside each row of the other.
func (d *DataFrame) CrossJoin(other *DataFrame) *DataFrame { return d.Join(other, nil, "cross") }

// NaturalJoin joins on all columns that both have.
func (d *DataFrame) NaturalJoin(other *DataFrame, how string) *DataFrame {
	j, err := joinOf(nil, how)
	j.Natural = true
	return d.joined(other, j, err)
}

// AsofJoin joins each row with the nearest one of the other by an inequality,
// such as "t.ts >= q.ts", among those for which on holds. how is inner or left.
func (d *DataFrame) AsofJoin(other *DataFrame, match, on any, how string) *DataFrame {
	j, err := joinOf(on, how)
	if err == nil {
		j.Asof = true
		j.Match, err = condition(match)
	}
	return d.joined(other, j, err)
}

// LateralJoin joins each row with the rows that the other DataFrame has for it:
// that one uses columns of this one by Outer. how is inner, left or cross.
func (d *DataFrame) LateralJoin(other *DataFrame, on any, how string) *DataFrame {
	j, err := joinOf(on, how)
	if err == nil && other.inner == nil {
		return d.joined(other, j, nil)
	}
	lateral := *other
	lateral.join = func() ast.Table {
		var t ast.Table = &ast.Derived{Lateral: true, Query: other.inner}
		if other.alias != "" {
			t = &ast.Aliased{Input: t, Alias: ast.Ident{Name: other.alias}}
		}
		return t
	}
	lateral.where = nil
	if j.On == nil && j.Using == nil && j.Kind == ast.LeftJoin {
		j.On = Lit(true).e
	}
	return d.joined(&lateral, j, err)
}

func (d *DataFrame) joined(other *DataFrame, j ast.Join, err error) *DataFrame {
	switch {
	case d.err != nil:
		return d
	case other.err != nil:
		return other
	case err != nil:
		return d.failed(err)
	case d.s != other.s:
		return d.failed(batch.UserErrorf("the DataFrames are of different sessions"))
	}
	join := func() ast.Table {
		j := j
		j.L, j.R = d.from(), other.from()
		return &j
	}
	out := d.derive(func() (*ast.Query, error) { return &ast.Query{Body: all(join())}, nil })
	if out.err == nil {
		out.join = join
	}
	return out
}

// joinOf makes a join without its sides.
func joinOf(on any, how string) (j ast.Join, err error) {
	var ok bool
	if j.Kind, ok = joinKinds[joinWords.Replace(strings.ToLower(how))]; !ok {
		return j, batch.UserErrorf("join %q: want inner, left, right, full, cross, semi or anti", how)
	}
	switch on := on.(type) {
	case nil:
	case []string:
		for _, n := range on {
			j.Using = append(j.Using, ast.Ident{Name: n})
		}
	case string:
		c := Expr(on)
		j.On, err = c.e, c.err
	case Column:
		j.On, err = on.e, on.err
	default:
		err = fmt.Errorf("join condition is a %T: want a Column, SQL text or []string", on)
	}
	return j, err
}

// LateralView puts the rows that a generator makes of each row beside it:
// d.LateralView(Call("explode", Col("tags")), "t", "tag").
func (d *DataFrame) LateralView(generator Column, alias string, columns ...string) *DataFrame {
	return d.lateralView(generator, alias, columns, false)
}

// LateralViewOuter is LateralView that keeps a row for which there are none.
func (d *DataFrame) LateralViewOuter(generator Column, alias string, columns ...string) *DataFrame {
	return d.lateralView(generator, alias, columns, true)
}

func (d *DataFrame) lateralView(generator Column, alias string, columns []string, outer bool) *DataFrame {
	return d.over(func(t ast.Table) (ast.Table, error) {
		call, ok := generator.e.(*ast.Call)
		if !ok {
			return nil, firstErr(generator.err, fmt.Errorf("LateralView: the column is no function call"))
		}
		v := &ast.LateralView{Input: t, Outer: outer, Call: call, Alias: ast.Ident{Name: alias}}
		for _, c := range columns {
			v.Columns = append(v.Columns, ast.Ident{Name: c})
		}
		return v, generator.err
	})
}
