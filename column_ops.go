package sluice

import (
	"fmt"

	"github.com/sluice-stream/sluice/sql/ast"
)

// EqNullSafe is true where both are equal or both are NULL: c <=> v.
func (c Column) EqNullSafe(v any) Column { return c.binary("<=>", v) }

// IsDistinctFrom is true where the two differ, NULL counting as a value.
func (c Column) IsDistinctFrom(v any) Column {
	r := argument(v)
	return Column{e: &ast.IsDistinct{L: c.e, R: r.e}, err: firstErr(c.err, r.err)}
}

// Neg is -c.
func (c Column) Neg() Column { return Column{e: &ast.Unary{Op: "-", X: c.e}, err: c.err} }

// Concat is c || v, of strings and of arrays.
func (c Column) Concat(v any) Column { return c.binary("||", v) }

// IntDiv is c DIV v: the whole part of a division.
func (c Column) IntDiv(v any) Column { return c.binary("DIV", v) }

// BitAnd is c & v.
func (c Column) BitAnd(v any) Column { return c.binary("&", v) }

// BitOr is c | v.
func (c Column) BitOr(v any) Column { return c.binary("|", v) }

// BitXor is c ^ v.
func (c Column) BitXor(v any) Column { return c.binary("^", v) }

// BitNot is ~c.
func (c Column) BitNot() Column { return Column{e: &ast.Unary{Op: "~", X: c.e}, err: c.err} }

// IsTrue is true where c is true and never NULL.
func (c Column) IsTrue() Column { return Column{e: &ast.Is{X: c.e, What: "TRUE"}, err: c.err} }

// IsFalse is true where c is false and never NULL.
func (c Column) IsFalse() Column { return Column{e: &ast.Is{X: c.e, What: "FALSE"}, err: c.err} }

// ILike is Like without regard to case.
func (c Column) ILike(pattern string) Column { return c.like("ILIKE", pattern) }

// RLike is true where a regular expression matches a part of c.
func (c Column) RLike(pattern string) Column { return c.like("RLIKE", pattern) }

func (c Column) like(op, pattern string) Column {
	return Column{e: &ast.Like{Op: op, X: c.e, Pattern: Lit(pattern).e}, err: c.err}
}

// Contains is true where v is a part of c.
func (c Column) Contains(v any) Column { return Call("contains", c, v) }

// StartsWith is true where c starts with v.
func (c Column) StartsWith(v any) Column { return Call("startswith", c, v) }

// EndsWith is true where c ends with v.
func (c Column) EndsWith(v any) Column { return Call("endswith", c, v) }

// Substr is n characters of c from a position that counts from 1.
func (c Column) Substr(from, n any) Column { return Call("substring", c, from, n) }

// NotIn is true where c equals none of the values.
func (c Column) NotIn(values ...any) Column {
	out := c.In(values...)
	out.e.(*ast.In).Not = true
	return out
}

// NotBetween is c < lo OR c > hi.
func (c Column) NotBetween(lo, hi any) Column {
	out := c.Between(lo, hi)
	out.e.(*ast.Between).Not = true
	return out
}

// TryCast is Cast with NULL for what does not fit.
func (c Column) TryCast(typ string) Column {
	out := c.Cast(typ)
	out.e.(*ast.Cast).Try = true
	return out
}

// AsMany names the columns of a generator: Call("posexplode", c).AsMany("i", "x").
func (c Column) AsMany(names ...string) Column {
	c.aliases = names
	return c
}

// call changes a copy of the function call that the column is.
func (c Column) call(method string, change func(*ast.Call) error) Column {
	k, ok := c.e.(*ast.Call)
	if !ok {
		return Column{err: firstErr(c.err, fmt.Errorf("%s: the column is no function call", method))}
	}
	d := *k
	c.e, c.err = &d, firstErr(c.err, change(&d))
	return c
}

// FilterWhere lets an aggregate see the rows alone where the condition is true.
func (c Column) FilterWhere(cond Column) Column {
	return c.call("FilterWhere", func(k *ast.Call) error { k.Filter = cond.e; return cond.err })
}

// Distinct lets an aggregate see each different value once.
func (c Column) Distinct() Column {
	return c.call("Distinct", func(k *ast.Call) error { k.Distinct = true; return nil })
}

// IgnoreNulls lets a window function such as lag pass over NULLs.
func (c Column) IgnoreNulls() Column {
	return c.call("IgnoreNulls", func(k *ast.Call) error { k.Nulls = "IGNORE"; return nil })
}

// WithinGroup gives an aggregate such as listagg or percentile_cont its order.
func (c Column) WithinGroup(order ...any) Column {
	return c.call("WithinGroup", func(k *ast.Call) (err error) {
		k.WithinGroup, err = orderOf(order)
		return err
	})
}

func orderOf(cols []any) ([]ast.OrderItem, error) {
	keys, err := columnsOf(cols)
	if err != nil {
		return nil, err
	}
	items := make([]ast.OrderItem, len(keys))
	for i, k := range keys {
		items[i] = k.order()
	}
	return items, nil
}
