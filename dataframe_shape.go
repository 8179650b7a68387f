package sluice

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sql/ast"
)

// names lists the columns.
func (d *DataFrame) names() ([]string, error) {
	n, err := d.bound()
	if err != nil {
		return nil, err
	}
	out := make([]string, n.Schema().NumFields())
	for i, f := range n.Schema().Fields() {
		out[i] = f.Name
	}
	return out, nil
}

// WithColumn adds a column, or replaces the one of that name in its place.
func (d *DataFrame) WithColumn(name string, c Column) *DataFrame { return d.WithColumns(c.As(name)) }

// WithColumns adds columns, each named by As, or replaces those of the same name.
// None sees what another one here computes.
func (d *DataFrame) WithColumns(cols ...Column) *DataFrame {
	have, err := d.names()
	if err != nil && d.inner == nil {
		return d.failed(err)
	}
	replaced := false
	for _, c := range cols {
		if c.alias == "" && c.err == nil {
			return d.failed(batch.UserErrorf("WithColumns: name each column by As"))
		}
		replaced = replaced || holds(have, c.alias)
	}
	var out []any
	if !replaced {
		out = append(out, Col("*"))
	} else {
		for _, n := range have {
			i := slices.IndexFunc(cols, func(c Column) bool { return strings.EqualFold(c.alias, n) })
			if i < 0 {
				out = append(out, ident(n))
				continue
			}
			out = append(out, cols[i].As(n))
		}
	}
	for _, c := range cols {
		if !holds(have, c.alias) {
			out = append(out, c)
		}
	}
	return d.named(d.Select(out...))
}

// WithColumnRenamed gives a column another name; one that is not there is left alone.
func (d *DataFrame) WithColumnRenamed(from, to string) *DataFrame {
	return d.WithColumnsRenamed(map[string]string{from: to})
}

// WithColumnsRenamed gives columns other names.
func (d *DataFrame) WithColumnsRenamed(names map[string]string) *DataFrame {
	have, err := d.names()
	if err != nil {
		return d.failed(err)
	}
	lower := map[string]string{}
	for from, to := range names {
		lower[strings.ToLower(from)] = to
	}
	for i, n := range have {
		if to, ok := lower[strings.ToLower(n)]; ok {
			have[i] = to
		}
	}
	return d.ToDF(have...)
}

// ToDF gives all columns new names, by position.
func (d *DataFrame) ToDF(names ...string) *DataFrame {
	have, err := d.names()
	if err != nil {
		return d.failed(err)
	}
	if len(have) != len(names) {
		return d.failed(batch.UserErrorf("ToDF: %d names for %d columns", len(names), len(have)))
	}
	t := &ast.Aliased{Input: &ast.PlanTable{Plan: d.node}, Alias: ast.Ident{Name: "t"}}
	for _, n := range names {
		t.Columns = append(t.Columns, ast.Ident{Name: n})
	}
	return d.named(d.derive(func() (*ast.Query, error) { return &ast.Query{Body: all(t)}, nil }))
}

// Drop leaves columns out.
func (d *DataFrame) Drop(names ...string) *DataFrame {
	star := &ast.Star{}
	for _, n := range names {
		star.Except = append(star.Except, ast.Ident{Name: n})
	}
	return d.named(d.Select(Column{e: star}))
}

// Sample keeps about a share of the rows, from 0 to 1. The same seed draws the
// same rows of the same input.
func (d *DataFrame) Sample(share float64, seed int64) *DataFrame {
	return d.named(d.over(func(t ast.Table) (ast.Table, error) {
		percent := strconv.FormatFloat(share*100, 'e', -1, 64)
		return &ast.Sample{Input: t, Value: &ast.Literal{Kind: ast.LitDouble, Text: percent}, Unit: "PERCENT", Repeat: Lit(seed).e}, nil
	}))
}

// SampleBy keeps of the rows with each value of a column about the share that is
// given for it, none of a value without one.
func (d *DataFrame) SampleBy(column string, shares map[any]float64, seed int64) *DataFrame {
	if len(shares) == 0 {
		return d.Where(Lit(false))
	}
	keys := make([]Column, 0, len(shares))
	at := map[string]float64{}
	for k, share := range shares {
		c := Lit(k)
		if c.err != nil {
			return d.failed(c.err)
		}
		keys = append(keys, c)
		at[ast.SQL(c.e)] = share
	}
	slices.SortFunc(keys, func(a, b Column) int { return strings.Compare(ast.SQL(a.e), ast.SQL(b.e)) })
	var c Column
	for i, k := range keys {
		share := at[ast.SQL(k.e)]
		if i == 0 {
			c = When(Col(column).Eq(k), share)
			continue
		}
		c = c.When(Col(column).Eq(k), share)
	}
	return d.Where(Call("rand", seed).Lt(c.Otherwise(0.0)))
}

// Unpivot makes a row of each of the columns: its name in the column variable, its
// value in the column value, behind the ids. NULLs stay, as in Spark.
func (d *DataFrame) Unpivot(ids, columns []string, variable, value string) *DataFrame {
	have, err := d.names()
	if err != nil {
		return d.failed(err)
	}
	if len(columns) == 0 {
		for _, n := range have {
			if !holds(ids, n) {
				columns = append(columns, n)
			}
		}
	}
	keep := make([]any, 0, len(ids)+len(columns))
	for _, n := range append(slices.Clone(ids), columns...) {
		keep = append(keep, Col(n))
	}
	u := &ast.Unpivot{IncludeNulls: true, Values: []ast.Ident{{Name: value}}, Name: ast.Ident{Name: variable}}
	for _, n := range columns {
		u.Columns = append(u.Columns, ast.UnpivotColumn{Columns: []ast.Name{name1(n)}})
	}
	return d.Select(keep...).over(func(t ast.Table) (ast.Table, error) { u.Input = t; return u, nil })
}

// Melt is Unpivot.
func (d *DataFrame) Melt(ids, columns []string, variable, value string) *DataFrame {
	return d.Unpivot(ids, columns, variable, value)
}

// Transform applies a function of DataFrames, so that steps can be chained.
func (d *DataFrame) Transform(f func(*DataFrame) *DataFrame) *DataFrame { return f(d) }
