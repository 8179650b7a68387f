package ast

import "strings"

// chain groups operators of one precedence: a chain of them leans to the left
// and needs no parentheses inside.
var chain = map[string]int{
	"=": 1, "<>": 1, "<": 1, "<=": 1, ">": 1, ">=": 1, "<=>": 1,
	"|": 2, "^": 3, "&": 4, "<<": 5, ">>": 5, ">>>": 5,
	"+": 6, "-": 6, "||": 6, "*": 7, "/": 7, "%": 7, "DIV": 7,
}

func not(n bool) string {
	if n {
		return " NOT"
	}
	return ""
}

// expr prints an expression.
func (p *printer) expr(e Expr) {
	switch e := e.(type) {
	case *Column:
		p.dotted(e.Parts)
	case Standin:
		p.expr(e.Stands())
	case *Star:
		p.star(e)
	case *Literal:
		p.literal(e)
	case *Interval:
		p.interval(e)
	case *Param:
		if e.Name != "" {
			p.w(":", e.Name)
		} else {
			p.w("?")
		}
	case *Unary:
		p.w("(", e.Op, " ")
		p.expr(e.X)
		p.w(")")
	case *Binary:
		p.binary(e)
	case *Logic:
		for i, x := range e.Args {
			p.w([]string{"(", " " + e.Op + " "}[min(i, 1)])
			p.expr(x)
		}
		p.w(")")
	case *Case:
		p.caseExpr(e)
	case *Cast:
		p.w([]string{"CAST(", "TRY_CAST("}[b2i(e.Try)])
		p.expr(e.X)
		p.w(" AS ")
		p.typ(e.Type)
		p.w(")")
	case *Call:
		p.call(e)
	case *Index:
		p.base(e.X, false)
		p.w("[")
		p.expr(e.I)
		p.w("]")
	case *Field:
		p.base(e.X, true)
		p.w(".")
		p.ident(e.Name)
	case *Row:
		p.w("(")
		p.exprs(e.Items)
		p.w(")")
	default:
		p.predicate(e)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// predicate prints what is true or false, and goes on to the arguments.
func (p *printer) predicate(e Expr) {
	switch e := e.(type) {
	case *Between:
		p.w("(")
		p.expr(e.X)
		p.w(not(e.Not), " BETWEEN ")
		p.expr(e.Lo)
		p.w(" AND ")
		p.expr(e.Hi)
		p.w(")")
	case *In:
		p.w("(")
		p.expr(e.X)
		p.w(not(e.Not), " IN (")
		if e.Query != nil {
			p.query(e.Query)
		} else {
			p.exprs(e.List)
		}
		p.w("))")
	case *Like:
		p.like(e)
	case *Is:
		p.w("(")
		p.expr(e.X)
		p.w(" IS", not(e.Not), " ", e.What, ")")
	case *IsDistinct:
		p.w("(")
		p.expr(e.L)
		p.w(" IS", not(e.Not), " DISTINCT FROM ")
		p.expr(e.R)
		p.w(")")
	case *Subquery:
		p.w("(")
		p.query(e.Query)
		p.w(")")
	case *Exists:
		p.w("EXISTS (")
		p.query(e.Query)
		p.w(")")
	case *Quantified:
		p.w("(")
		p.expr(e.L)
		p.w(" ", e.Op, " ", e.Quantifier, " (")
		p.query(e.Query)
		p.w("))")
	default:
		p.argument(e)
	}
}

// argument prints what stands only inside the parentheses of a call.
func (p *printer) argument(e Expr) {
	switch e := e.(type) {
	case *NamedArg:
		p.ident(e.Name)
		p.w(" => ")
		p.expr(e.X)
	case *AliasArg:
		p.expr(e.X)
		p.w(" AS ")
		p.ident(e.Name)
	case *Trim:
		p.w("TRIM(", e.Where, " ")
		if e.Chars != nil {
			p.expr(e.Chars)
			p.w(" ")
		}
		p.w("FROM ")
		p.expr(e.X)
		p.w(")")
	case *Lambda:
		if len(e.Params) == 1 {
			p.ident(e.Params[0])
		} else {
			p.w("(")
			p.idents(e.Params)
			p.w(")")
		}
		p.w(" -> ")
		p.expr(e.Body)
	case *TableArg:
		p.tableArg(e)
	case *Descriptor:
		p.w("DESCRIPTOR(")
		p.idents(e.Columns)
		p.w(")")
	}
}

func (p *printer) tableArg(e *TableArg) {
	p.w("TABLE ")
	if e.Query != nil {
		p.w("(")
		p.query(e.Query)
		p.w(")")
	} else {
		p.name(e.Table)
	}
	if e.PartitionBy != nil {
		p.w(" PARTITION BY (")
		p.exprs(e.PartitionBy)
		p.w(")")
	}
	if e.OrderBy != nil {
		p.w(" ORDER BY ")
		p.orderItems(e.OrderBy)
	}
}

// binary prints a chain in a loop, since it may be long.
func (p *printer) binary(e *Binary) {
	links := []*Binary{e}
	for {
		l, ok := links[len(links)-1].L.(*Binary)
		if !ok || chain[l.Op] != chain[e.Op] {
			break
		}
		links = append(links, l)
	}
	p.w("(")
	p.expr(links[len(links)-1].L)
	for i := len(links) - 1; i >= 0; i-- {
		p.w(" ", links[i].Op, " ")
		p.expr(links[i].R)
	}
	p.w(")")
}

func (p *printer) star(e *Star) {
	for _, q := range e.Qualifier {
		p.ident(q)
		p.w(".")
	}
	p.w("*")
	if e.Except != nil || e.Fields != nil {
		p.w(" EXCEPT (")
		p.idents(e.Except)
		for i, n := range e.Fields {
			if i > 0 || e.Except != nil {
				p.w(", ")
			}
			p.name(n)
		}
		p.w(")")
	}
	if e.Replace != nil {
		p.w(" REPLACE (")
		p.selectItems(e.Replace)
		p.w(")")
	}
	for i, r := range e.Rename {
		p.w([]string{" RENAME (", ", "}[min(i, 1)])
		p.ident(r.From)
		p.w(" AS ")
		p.ident(r.To)
	}
	if e.Rename != nil {
		p.w(")")
	}
}

func (p *printer) like(e *Like) {
	p.w("(")
	p.expr(e.X)
	p.w(not(e.Not), " ", e.Op, " ")
	if e.Quantifier != "" {
		p.w(e.Quantifier, " (")
		p.exprs(e.List)
		p.w("))")
		return
	}
	p.expr(e.Pattern)
	if e.Escape != nil {
		p.w(" ESCAPE ")
		p.expr(e.Escape)
	}
	p.w(")")
}

func (p *printer) caseExpr(e *Case) {
	p.w("CASE")
	if e.Operand != nil {
		p.w(" ")
		p.expr(e.Operand)
	}
	for _, w := range e.Whens {
		p.w(" WHEN ")
		p.expr(w.Cond)
		p.w(" THEN ")
		p.expr(w.Then)
	}
	if e.Else != nil {
		p.w(" ELSE ")
		p.expr(e.Else)
	}
	p.w(" END")
}

// base prints what [..] or .f hangs on, in parentheses where it would be read
// as something else without.
func (p *printer) base(e Expr, field bool) {
	bare := false
	switch e := e.(type) {
	case *Index, *Field, *Cast:
		bare = true
	case *Call:
		bare = e.Over == nil && e.Filter == nil && e.WithinGroup == nil && e.Nulls == ""
	case *Column:
		bare = !field && !(len(e.Parts) == 1 && (strings.EqualFold(e.Parts[0].Name, "ARRAY") || strings.EqualFold(e.Parts[0].Name, "MAP")))
	}
	if bare {
		p.expr(e)
		return
	}
	p.w("(")
	p.expr(e)
	p.w(")")
}

func (p *printer) call(c *Call) {
	p.name(c.Name)
	p.w("(")
	if c.Distinct {
		p.w("DISTINCT ")
	}
	p.exprs(c.Args)
	if c.OrderBy != nil {
		p.w(" ORDER BY ")
		p.orderItems(c.OrderBy)
	}
	p.w(")")
	if c.WithinGroup != nil {
		p.w(" WITHIN GROUP (ORDER BY ")
		p.orderItems(c.WithinGroup)
		p.w(")")
	}
	if c.Filter != nil {
		p.w(" FILTER (WHERE ")
		p.expr(c.Filter)
		p.w(")")
	}
	if c.Nulls != "" {
		p.w(" ", c.Nulls, " NULLS")
	}
	if c.Over != nil {
		p.w(" OVER ")
		p.window(c.Over)
	}
}

func (p *printer) window(w *WindowSpec) {
	if w.Bare {
		p.ident(*w.Ref)
		return
	}
	p.w("(")
	sep := ""
	if w.Ref != nil {
		p.ident(*w.Ref)
		sep = " "
	}
	if w.PartitionBy != nil {
		p.w(sep, "PARTITION BY ")
		p.exprs(w.PartitionBy)
		sep = " "
	}
	if w.OrderBy != nil {
		p.w(sep, "ORDER BY ")
		p.orderItems(w.OrderBy)
		sep = " "
	}
	if w.Frame != nil {
		p.w(sep, w.Frame.Unit, " BETWEEN ")
		p.bound(w.Frame.Start)
		p.w(" AND ")
		p.bound(w.Frame.End)
		if w.Frame.Exclude != "" {
			p.w(" EXCLUDE ", w.Frame.Exclude)
		}
	}
	p.w(")")
}

func (p *printer) bound(b Bound) {
	switch b.Kind {
	case UnboundedPreceding:
		p.w("UNBOUNDED PRECEDING")
	case CurrentRow:
		p.w("CURRENT ROW")
	case UnboundedFollowing:
		p.w("UNBOUNDED FOLLOWING")
	case Preceding:
		p.expr(b.Offset)
		p.w(" PRECEDING")
	case Following:
		p.expr(b.Offset)
		p.w(" FOLLOWING")
	}
}
