package ast

import (
	"fmt"
	"strconv"
	"strings"
)

// SQL prints a node as SQL in one line. Operators stand in parentheses as in
// Spark's names of columns, (a + b), so that precedence never matters; what is
// printed parses to an equal tree (A2).
func SQL(n Node) string {
	var p printer
	p.node(n)
	return p.b.String()
}

// printer writes SQL text.
type printer struct{ b strings.Builder }

func (p *printer) w(parts ...string) {
	for _, s := range parts {
		p.b.WriteString(s)
	}
}

// node prints any node; the kinds have files of their own.
func (p *printer) node(n Node) {
	switch n := n.(type) {
	case *Ident:
		p.ident(*n)
	case *Name:
		p.name(*n)
	case *Type:
		p.typ(n)
	case *WindowSpec:
		p.window(n)
	case Expr:
		p.expr(n)
	case QueryBody:
		if q, ok := n.(*Query); ok {
			p.query(q)
			return
		}
		p.body(n)
	case Table:
		p.table(n)
	case Pattern:
		p.pattern(n)
	case Stmt:
		p.stmt(n)
	}
}

// Quote puts a string into SQL quotes.
func Quote(s string) string {
	s = strings.ReplaceAll(s, `\`, `\\`)
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// QuoteName puts a name into backquotes.
func QuoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

func (p *printer) ident(id Ident) {
	if id.Quoted {
		p.w(QuoteName(id.Name))
	} else {
		p.w(id.Name)
	}
}

func (p *printer) name(n Name) { p.dotted(n.Parts) }

// String prints the name as it would be written in SQL.
func (n Name) String() string {
	var p printer
	p.name(n)
	return p.b.String()
}

func (p *printer) dotted(ids []Ident) {
	for i, id := range ids {
		if i > 0 {
			p.w(".")
		}
		p.ident(id)
	}
}

func (p *printer) idents(ids []Ident) {
	for i, id := range ids {
		if i > 0 {
			p.w(", ")
		}
		p.ident(id)
	}
}

func (p *printer) exprs(xs []Expr) {
	for i, x := range xs {
		if i > 0 {
			p.w(", ")
		}
		p.expr(x)
	}
}

func (p *printer) orderItems(items []OrderItem) {
	for i, it := range items {
		if i > 0 {
			p.w(", ")
		}
		p.expr(it.Expr)
		if it.Desc {
			p.w(" DESC")
		}
		if it.Nulls != "" {
			p.w(" NULLS ", it.Nulls)
		}
	}
}

// typ prints a type with Spark's names.
func (p *printer) typ(t *Type) {
	switch t.Name {
	case "ARRAY":
		p.w("ARRAY<")
		p.typ(t.Elem)
		p.w(">")
	case "MAP":
		p.w("MAP<")
		p.typ(t.Key)
		p.w(", ")
		p.typ(t.Elem)
		p.w(">")
	case "STRUCT":
		p.w("STRUCT<")
		for i, f := range t.Fields {
			if i > 0 {
				p.w(", ")
			}
			p.ident(f.Name)
			p.w(": ")
			p.typ(f.Type)
			if f.NotNull {
				p.w(" NOT NULL")
			}
			if f.Comment != "" {
				p.w(" COMMENT ", Quote(f.Comment))
			}
		}
		p.w(">")
	case "INTERVAL":
		p.w("INTERVAL")
		if t.From != "" {
			p.w(" ", t.From)
		}
		if t.To != t.From {
			p.w(" TO ", t.To)
		}
	default:
		p.w(t.Name)
		for i, a := range t.Args {
			p.w([]string{"(", ", "}[min(i, 1)], strconv.Itoa(a))
		}
		if len(t.Args) > 0 {
			p.w(")")
		}
	}
}

func (p *printer) literal(l *Literal) {
	typed := map[LitKind]string{
		LitDate: "DATE ", LitTime: "TIME ", LitTimestamp: "TIMESTAMP ",
		LitTimestampNTZ: "TIMESTAMP_NTZ ", LitTimestampLTZ: "TIMESTAMP_LTZ ",
	}
	suffix := map[LitKind]string{LitByte: "Y", LitShort: "S", LitLong: "L", LitFloat: "F", LitBigDecimal: "BD"}
	switch l.Kind {
	case LitString:
		p.w(Quote(l.Text))
	case LitBinary:
		fmt.Fprintf(&p.b, "X'%X'", l.Text)
	case LitDate, LitTime, LitTimestamp, LitTimestampNTZ, LitTimestampLTZ:
		p.w(typed[l.Kind], Quote(l.Text))
	case LitDouble:
		p.w(l.Text)
		if !strings.Contains(l.Text, "E") {
			p.w("D")
		}
	default:
		p.w(l.Text, suffix[l.Kind])
	}
}

func (p *printer) interval(n *Interval) {
	p.w("INTERVAL")
	for _, part := range n.Parts {
		p.w(" ", Quote(part.Value))
		if part.Unit != "" {
			p.w(" ", part.Unit)
		}
		if part.To != "" {
			p.w(" TO ", part.To)
		}
	}
}
