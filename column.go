package sluice

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// Column is an expression over the columns of a DataFrame, built in Go. It is
// the same tree that the SQL parser makes, so both mean the same. A fault in
// building one (an unreadable Expr) is reported by the DataFrame that uses it.
type Column struct {
	e     ast.Expr
	alias string
	desc  bool
	nulls string
	err   error
	// aliases name the columns of a generator.
	aliases []string
}

// Col names a column: "x", "t.x", or "s.field" for a field of a struct.
func Col(name string) Column {
	if name == "*" {
		return Column{e: &ast.Star{}}
	}
	n, err := parser.ParseName(name, parser.Options{})
	if err != nil {
		return Column{err: fmt.Errorf("column name %q: %w", name, err)}
	}
	return Column{e: &ast.Column{Parts: n.Parts}}
}

// Expr is an expression in SQL, with an alias if it has one: Expr("a + 1 AS b").
func Expr(sql string) Column {
	item, err := parser.ParseSelectItem(sql, parser.Options{})
	if err != nil {
		return Column{err: fmt.Errorf("expression %q: %w", sql, err)}
	}
	c := Column{e: item.Expr}
	if item.Alias != nil {
		c.alias = item.Alias.Name
	}
	return c
}

// Lit is a constant: nil, bool, an integer or float type, string, []byte,
// time.Time (a TIMESTAMP), time.Duration (an INTERVAL DAY TO SECOND), or a slice
// (an ARRAY) or map (a MAP) of these.
func Lit(v any) Column {
	lit := func(k ast.LitKind, text string) Column { return Column{e: &ast.Literal{Kind: k, Text: text}} }
	switch v := v.(type) {
	case nil:
		return lit(ast.LitNull, "NULL")
	case Column:
		return v
	case bool:
		return lit(ast.LitBool, strings.ToUpper(strconv.FormatBool(v)))
	case int, int64, uint32:
		return lit(ast.LitLong, fmt.Sprint(v))
	case int32, uint16:
		return lit(ast.LitInt, fmt.Sprint(v))
	case int16, uint8:
		return lit(ast.LitShort, fmt.Sprint(v))
	case int8:
		return lit(ast.LitByte, fmt.Sprint(v))
	case float32:
		return lit(ast.LitFloat, strconv.FormatFloat(float64(v), 'e', -1, 32))
	case float64:
		return lit(ast.LitDouble, strconv.FormatFloat(v, 'e', -1, 64))
	case string:
		return lit(ast.LitString, v)
	case []byte:
		return lit(ast.LitBinary, string(v))
	case time.Time:
		return lit(ast.LitTimestampLTZ, v.UTC().Format("2006-01-02 15:04:05.999999")+" UTC")
	case time.Duration:
		return interval(v)
	}
	return collection(v)
}

// collection is an array of a slice, or a map of a map in the order of its keys' text.
func collection(v any) Column {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Slice, reflect.Array:
		items := make([]any, r.Len())
		for i := range items {
			items[i] = r.Index(i).Interface()
		}
		return Call("array", items...)
	case reflect.Map:
		var items []any
		for _, k := range sortedKeys(r) {
			items = append(items, k.Interface(), r.MapIndex(k).Interface())
		}
		return Call("map", items...)
	}
	return Column{err: fmt.Errorf("a Go value of type %T cannot be a constant", v)}
}

// sortedKeys lists the keys of a map in the order of their text.
func sortedKeys(m reflect.Value) []reflect.Value {
	keys := m.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return keys
}

// Decimal is an exact constant: "12.50" is a DECIMAL(4,2).
func Decimal(text string) Column {
	return Column{e: &ast.Literal{Kind: ast.LitDecimal, Text: text}}
}

// Date is a constant of type DATE.
func Date(year int, month time.Month, day int) Column {
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	return Column{e: &ast.Literal{Kind: ast.LitDate, Text: t.Format(time.DateOnly)}}
}

func interval(d time.Duration) Column {
	text := strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	return Column{e: &ast.Interval{Parts: []ast.IntervalPart{{Value: text, Unit: "SECOND"}}}}
}

// Call applies a function of SQL by its name, built in or registered. Arguments
// are Columns, constants, DataFrames as scalar subqueries, and for a lambda Go
// functions of one to three Columns. Package fn has a function for each.
func Call(name string, args ...any) Column {
	c := &ast.Call{Name: ast.Name{Parts: []ast.Ident{{Name: name}}}}
	out := Column{e: c}
	for _, a := range args {
		x := argument(a)
		out.err = firstErr(out.err, x.err)
		c.Args = append(c.Args, x.e)
	}
	return out
}

// Count counts the rows of a group.
func Count() Column { return Column{e: &ast.Call{Name: name1("count"), Args: []ast.Expr{&ast.Star{}}}} }

// CountDistinct counts the different values of a group.
func CountDistinct(c Column) Column {
	out := Call("count", c)
	if call, ok := out.e.(*ast.Call); ok {
		call.Distinct = true
	}
	return out
}

// Sum adds up a column over a group.
func Sum(c Column) Column { return Call("sum", c) }

// Avg is the mean of a column over a group.
func Avg(c Column) Column { return Call("avg", c) }

// Min is the smallest value of a group.
func Min(c Column) Column { return Call("min", c) }

// Max is the largest value of a group.
func Max(c Column) Column { return Call("max", c) }

// Window groups by time: Window(Col("ts"), 10*time.Minute) tumbles, with a slide
// it hops. The result is a struct of start and end.
func Window(ts Column, size time.Duration, slide ...time.Duration) Column {
	args := []any{ts, size.String()}
	for _, s := range slide {
		args = append(args, s.String())
	}
	for i := 1; i < len(args); i++ {
		args[i] = durationText(args[i].(string))
	}
	return Call("window", args...)
}

// durationText turns Go's duration text into the seconds that SQL's window() reads.
func durationText(s string) string {
	d, err := time.ParseDuration(s)
	if err != nil {
		return s
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " seconds"
}

func name1(n string) ast.Name { return ast.Name{Parts: []ast.Ident{{Name: n}}} }

// As names the column in the result.
func (c Column) As(name string) Column { c.alias = name; return c }

// Desc sorts by the column from high to low, NULLs last.
func (c Column) Desc() Column { c.desc = true; return c }

// Asc sorts by the column from low to high, NULLs first. It is the default.
func (c Column) Asc() Column { c.desc = false; return c }

// NullsFirst sorts NULLs before all values.
func (c Column) NullsFirst() Column { c.nulls = "FIRST"; return c }

// NullsLast sorts NULLs after all values.
func (c Column) NullsLast() Column { c.nulls = "LAST"; return c }

func (c Column) binary(op string, v any) Column {
	if q, ok := v.(Quantified); ok {
		return q.compare(op, c)
	}
	r := argument(v)
	return Column{e: &ast.Binary{Op: op, L: c.e, R: r.e}, err: firstErr(c.err, r.err)}
}

// Eq is c = v, NULL if either is.
func (c Column) Eq(v any) Column { return c.binary("=", v) }

// Ne is c <> v.
func (c Column) Ne(v any) Column { return c.binary("<>", v) }

// Lt is c < v.
func (c Column) Lt(v any) Column { return c.binary("<", v) }

// Le is c <= v.
func (c Column) Le(v any) Column { return c.binary("<=", v) }

// Gt is c > v.
func (c Column) Gt(v any) Column { return c.binary(">", v) }

// Ge is c >= v.
func (c Column) Ge(v any) Column { return c.binary(">=", v) }

// Plus is c + v.
func (c Column) Plus(v any) Column { return c.binary("+", v) }

// Minus is c - v.
func (c Column) Minus(v any) Column { return c.binary("-", v) }

// Times is c * v.
func (c Column) Times(v any) Column { return c.binary("*", v) }

// Div is c / v; over integers it is a DOUBLE, as in SQL.
func (c Column) Div(v any) Column { return c.binary("/", v) }

// Mod is c % v.
func (c Column) Mod(v any) Column { return c.binary("%", v) }

// And is true where both are.
func (c Column) And(v Column) Column {
	return Column{e: &ast.Logic{Op: "AND", Args: []ast.Expr{c.e, v.e}}, err: firstErr(c.err, v.err)}
}

// Or is true where one is.
func (c Column) Or(v Column) Column {
	return Column{e: &ast.Logic{Op: "OR", Args: []ast.Expr{c.e, v.e}}, err: firstErr(c.err, v.err)}
}

// Not is true where c is false.
func (c Column) Not() Column { return Column{e: &ast.Unary{Op: "NOT", X: c.e}, err: c.err} }

// IsNull is true where c is NULL.
func (c Column) IsNull() Column { return Column{e: &ast.Is{X: c.e, What: "NULL"}, err: c.err} }

// IsNotNull is true where c is not NULL.
func (c Column) IsNotNull() Column {
	return Column{e: &ast.Is{Not: true, X: c.e, What: "NULL"}, err: c.err}
}

// Like matches a pattern with % and _.
func (c Column) Like(pattern string) Column {
	return Column{e: &ast.Like{Op: "LIKE", X: c.e, Pattern: Lit(pattern).e}, err: c.err}
}

// In is true where c equals one of the values.
func (c Column) In(values ...any) Column {
	in := &ast.In{X: c.e}
	out := Column{e: in, err: c.err}
	for _, v := range values {
		x := argument(v)
		out.err = firstErr(out.err, x.err)
		in.List = append(in.List, x.e)
	}
	return out
}

// Between is lo <= c AND c <= hi.
func (c Column) Between(lo, hi any) Column {
	l, h := argument(lo), argument(hi)
	return Column{e: &ast.Between{X: c.e, Lo: l.e, Hi: h.e}, err: firstErr(c.err, firstErr(l.err, h.err))}
}

// Cast converts to a type in SQL's spelling: "BIGINT", "DECIMAL(10,2)".
func (c Column) Cast(typ string) Column {
	t, err := parser.ParseType(typ, parser.Options{})
	return Column{e: &ast.Cast{X: c.e, Type: t}, err: firstErr(c.err, err)}
}

// Field takes a field of a struct.
func (c Column) Field(name string) Column {
	return Column{e: &ast.Field{X: c.e, Name: ast.Ident{Name: name}}, err: c.err}
}

// At takes an element of an array by position from 0, or of a map by key.
func (c Column) At(i any) Column {
	x := argument(i)
	return Column{e: &ast.Index{X: c.e, I: x.e}, err: firstErr(c.err, x.err)}
}

// When starts a CASE: When(cond, value).When(..).Otherwise(value).
func When(cond Column, value any) Column {
	v := argument(value)
	return Column{e: &ast.Case{Whens: []ast.When{{Cond: cond.e, Then: v.e}}}, err: firstErr(cond.err, v.err)}
}

// When adds a branch to a CASE that the function When started.
func (c Column) When(cond Column, value any) Column {
	k, ok := c.e.(*ast.Case)
	if !ok {
		return Column{err: fmt.Errorf("When: the column is no CASE; start with sluice.When")}
	}
	v := argument(value)
	d := *k
	d.Whens = append(append([]ast.When{}, k.Whens...), ast.When{Cond: cond.e, Then: v.e})
	return Column{e: &d, err: firstErr(c.err, firstErr(cond.err, v.err))}
}

// Otherwise ends a CASE with the value where no branch is taken.
func (c Column) Otherwise(value any) Column {
	k, ok := c.e.(*ast.Case)
	if !ok {
		return Column{err: fmt.Errorf("Otherwise: the column is no CASE; start with sluice.When")}
	}
	v := argument(value)
	d := *k
	d.Else = v.e
	return Column{e: &d, err: firstErr(c.err, v.err)}
}

func firstErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// item is the column in a SELECT list.
func (c Column) item() ast.SelectItem {
	it := ast.SelectItem{Expr: c.e}
	if c.alias != "" {
		it.Alias = &ast.Ident{Name: c.alias}
	}
	for _, a := range c.aliases {
		it.Aliases = append(it.Aliases, ast.Ident{Name: a})
	}
	return it
}

// order is the column in an ORDER BY.
func (c Column) order() ast.OrderItem { return ast.OrderItem{Expr: c.e, Desc: c.desc, Nulls: c.nulls} }
