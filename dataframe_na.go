package sluice

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// NA is what a DataFrame does about its NULLs.
type NA struct{ d *DataFrame }

// NA fills, drops and replaces missing values.
func (d *DataFrame) NA() NA { return NA{d} }

// Fill puts a value in the place of NULL, and of NaN, in the columns, or in all whose
// type it fits: a number into numbers, text into text, a bool into bools.
func (n NA) Fill(value any, columns ...string) *DataFrame {
	return n.each(columns, value, func(c Column, f arrow.Field) Column {
		if isFloat(f.Type) {
			c = Call("nanvl", c, Lit(nil).Cast(expr.TypeName(f.Type)))
		}
		return Call("coalesce", c, Lit(value).Cast(typeText(f.Type)))
	})
}

// FillEach puts a value of its own in the place of NULL in each column.
func (n NA) FillEach(values map[string]any) *DataFrame {
	out := n.d
	names, err := n.d.names()
	if err != nil {
		return n.d.failed(err)
	}
	for c := range values {
		if !holds(names, c) {
			return n.d.failed(batch.UserErrorf("fill: there is no column %q", c))
		}
	}
	for _, name := range names {
		for c, v := range values {
			if strings.EqualFold(c, name) {
				out = out.NA().Fill(v, name)
			}
		}
	}
	return out
}

// Drop leaves out the rows where any ("any") or all ("all") of the columns are NULL
// or NaN; without columns, of all.
func (n NA) Drop(how string, columns ...string) *DataFrame {
	fields, err := n.fields(columns)
	if err != nil {
		return n.d.failed(err)
	}
	if how != "any" && how != "all" {
		return n.d.failed(batch.UserErrorf("drop of missing values %q: want any or all", how))
	}
	var cond Column
	for i, f := range fields {
		there := ident(f.Name).IsNotNull()
		if isFloat(f.Type) {
			there = there.And(Call("isnan", ident(f.Name)).Not())
		}
		switch {
		case i == 0:
			cond = there
		case how == "any":
			cond = cond.And(there)
		default:
			cond = cond.Or(there)
		}
	}
	if len(fields) == 0 {
		return n.d
	}
	return n.d.Where(cond)
}

// DropThresh keeps the rows with at least so many of the columns present.
func (n NA) DropThresh(least int, columns ...string) *DataFrame {
	fields, err := n.fields(columns)
	if err != nil {
		return n.d.failed(err)
	}
	sum := Lit(int32(0))
	for _, f := range fields {
		there := ident(f.Name).IsNotNull()
		if isFloat(f.Type) {
			there = there.And(Call("isnan", ident(f.Name)).Not())
		}
		sum = sum.Plus(When(there, int32(1)).Otherwise(int32(0)))
	}
	return n.d.Where(sum.Ge(int32(least)))
}

// Replace puts one value in the place of another in the columns, or in all whose
// type the two fit. A new value of nil is NULL.
func (n NA) Replace(from, to any, columns ...string) *DataFrame {
	return n.each(columns, from, func(c Column, f arrow.Field) Column {
		return When(c.Eq(from), Lit(to).Cast(typeText(f.Type))).Otherwise(c)
	})
}

func (n NA) fields(columns []string) ([]arrow.Field, error) {
	node, err := n.d.bound()
	if err != nil {
		return nil, err
	}
	names, _ := n.d.names()
	if len(columns) == 0 {
		return node.Schema().Fields(), nil
	}
	var out []arrow.Field
	for _, c := range columns {
		at := nameAt(names, c)
		if at < 0 {
			return nil, batch.UserErrorf("missing values: there is no column %q", c)
		}
		out = append(out, node.Schema().Field(at))
	}
	return out, nil
}

// each replaces the columns whose type takes the value.
func (n NA) each(columns []string, value any, with func(Column, arrow.Field) Column) *DataFrame {
	fields, err := n.fields(columns)
	if err != nil {
		return n.d.failed(err)
	}
	var out []Column
	for _, f := range fields {
		if fits(value, f.Type) {
			out = append(out, with(ident(f.Name), f).As(f.Name))
		}
	}
	if len(out) == 0 {
		return n.d
	}
	return n.d.WithColumns(out...)
}

func isFloat(t arrow.DataType) bool { return t.ID() == arrow.FLOAT64 || t.ID() == arrow.FLOAT32 }

func isNumber(t arrow.DataType) bool {
	return arrow.IsInteger(t.ID()) || isFloat(t) || t.ID() == arrow.DECIMAL128
}

// fits says whether a constant is of the kind of a column.
func fits(v any, t arrow.DataType) bool {
	switch v.(type) {
	case bool:
		return t.ID() == arrow.BOOL
	case string:
		return t.ID() == arrow.STRING
	case int, int8, int16, int32, int64, uint8, uint16, uint32, float32, float64:
		return isNumber(t)
	}
	return true
}
