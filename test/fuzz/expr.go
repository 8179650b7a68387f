package fuzz

import (
	"fmt"
	"strconv"
	"strings"
)

// kind is what a type is apart from its parameters.
type kind int

const (
	kI8 kind = iota
	kI16
	kI32
	kI64
	kF64
	kDec
	kStr
	kBool
	kDate
	kTs
	kinds
)

// typ is a type that both engines have.
type typ struct {
	k    kind
	p, s int // of kDec
}

func (t typ) isInt() bool { return t.k <= kI64 }

// limit is the largest magnitude that every value of a whole-number type may have.
func (t typ) limit() float64 {
	switch t.k {
	case kI8:
		return 127
	case kI16:
		return 32767
	case kI32:
		return 2147483647
	default:
		return 9.2e18
	}
}

var typeNames = map[dialect][]string{
	inSluice: {"TINYINT", "SMALLINT", "INT", "BIGINT", "DOUBLE", "DECIMAL", "STRING", "BOOLEAN", "DATE", "TIMESTAMP_NTZ"},
	inDuckDB: {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DOUBLE", "DECIMAL", "VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP"},
}

func (t typ) name(d dialect) string {
	if t.k == kDec {
		return fmt.Sprintf("DECIMAL(%d,%d)", t.p, t.s)
	}
	return typeNames[d][t.k]
}

// dialect is a way of writing a query.
type dialect int

const (
	inSluice dialect = iota
	inDuckDB
)

// node is an expression in both dialects. In a text $0, $1 .. stand for the
// arguments and $q for the query.
type node struct {
	t     typ
	s, d  string
	args  []*node
	query *query

	max    float64 // no value is greater in magnitude
	exact  bool    // a DOUBLE with so few digits that sums do not depend on order
	approx bool    // equal only to within rounding, because it depends on order
}

func (e *node) text(d dialect) string {
	t := e.s
	if d == inDuckDB && e.d != "" {
		t = e.d
	}
	if !strings.Contains(t, "$") {
		return t
	}
	var b strings.Builder
	for i := 0; i < len(t); i++ {
		if t[i] != '$' || i+1 == len(t) {
			b.WriteByte(t[i])
			continue
		}
		i++
		if t[i] == 'q' {
			b.WriteString(e.query.text(d))
			continue
		}
		n, err := strconv.Atoi(t[i : i+1])
		if err != nil || n >= len(e.args) {
			b.WriteString("NULL")
			continue
		}
		b.WriteString(e.args[n].text(d))
	}
	return b.String()
}

func (e *node) clone() *node {
	if e == nil {
		return nil
	}
	c := *e
	c.args = cloneNodes(e.args)
	c.query = e.query.clone()
	return &c
}

func cloneNodes(es []*node) []*node {
	if es == nil {
		return nil
	}
	out := make([]*node, len(es))
	for i, e := range es {
		out[i] = e.clone()
	}
	return out
}

// quoted is a string literal in both dialects.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
