package parser

import "github.com/sluice-stream/sluice/sql/ast"

// Binding powers of infix operators, loosest first. Predicates (IS, IN,
// BETWEEN, LIKE) bind looser than comparisons, as in Spark: a = b IS NULL asks
// whether the comparison is NULL.
const (
	precOr = iota + 1
	precAnd
	precNot
	precPredicate
	precCompare
	precBitOr
	precBitXor
	precBitAnd
	precShift
	precAdd
	precMul
	precUnary
)

var binaryPrec = map[string]int{
	"=": precCompare, "<>": precCompare, "<": precCompare, "<=": precCompare, ">": precCompare,
	">=": precCompare, "<=>": precCompare,
	"|": precBitOr, "^": precBitXor, "&": precBitAnd,
	"<<": precShift, ">>": precShift, ">>>": precShift,
	"+": precAdd, "-": precAdd, "||": precAdd,
	"*": precMul, "/": precMul, "%": precMul, "DIV": precMul,
}

// expr reads any expression, lambdas excepted.
func (p *parser) expr() ast.Expr { return p.exprAt(precOr) }

// exprAt reads an expression whose operators bind at least as tightly as min.
func (p *parser) exprAt(minPrec int) ast.Expr {
	p.enter()
	defer p.leave()
	left := p.prefix(minPrec)
	for links := 0; ; p.link(&links) {
		next := p.infix(left, minPrec)
		if next == nil {
			return left
		}
		left = next
	}
}

// prefix reads NOT, signs and what they stand before.
func (p *parser) prefix(minPrec int) ast.Expr {
	t := p.tok()
	switch {
	case t.is("NOT") && minPrec <= precNot, t.is("!"):
		p.advance()
		prec := precNot
		if minPrec > precNot {
			prec = precUnary
		}
		return &ast.Unary{Pos: t.pos, Op: "NOT", X: p.exprAt(prec)}
	case t.is("-"), t.is("+"), t.is("~"):
		p.advance()
		x := p.exprAt(precUnary)
		if lit, ok := x.(*ast.Literal); ok && t.text == "-" && isNumber(lit.Kind) && lit.Text[0] != '-' {
			return &ast.Literal{Pos: t.pos, Kind: lit.Kind, Text: "-" + lit.Text}
		}
		return &ast.Unary{Pos: t.pos, Op: t.text, X: x}
	}
	return p.postfix(p.primary())
}

func isNumber(k ast.LitKind) bool { return k >= ast.LitInt && k <= ast.LitBigDecimal }

// infix reads one operator behind left, or returns nil.
func (p *parser) infix(left ast.Expr, minPrec int) ast.Expr {
	t := p.tok()
	if t.kind != tokOp && t.kind != tokWord {
		return nil
	}
	op := t.text
	if t.kind == tokWord {
		op = t.word
	}
	if prec, ok := binaryPrec[op]; ok {
		if prec < minPrec {
			return nil
		}
		p.advance()
		if prec == precCompare {
			if q := p.quantified(left, op); q != nil {
				return q
			}
		}
		return &ast.Binary{Pos: t.pos, Op: op, L: left, R: p.exprAt(prec + 1)}
	}
	if t.kind != tokWord && op != "!" {
		return nil
	}
	switch {
	case op == "OR" && minPrec <= precOr:
		return p.logic(left, "OR", precAnd)
	case op == "AND" && minPrec <= precAnd:
		return p.logic(left, "AND", precNot)
	case minPrec <= precPredicate:
		return p.predicate(left)
	}
	return nil
}

// logic reads a whole chain of ANDs or ORs in one loop (A4).
func (p *parser) logic(left ast.Expr, op string, prec int) ast.Expr {
	n := &ast.Logic{Pos: left.Position(), Op: op, Args: []ast.Expr{left}}
	if l, ok := left.(*ast.Logic); ok && l.Op == op {
		n.Args = l.Args
	}
	for p.accept(op) {
		x := p.exprAt(prec)
		if l, ok := x.(*ast.Logic); ok && l.Op == op {
			n.Args = append(n.Args, l.Args...)
		} else {
			n.Args = append(n.Args, x)
		}
	}
	return n
}

// quantified reads ANY|SOME|ALL (query) behind a comparison.
func (p *parser) quantified(left ast.Expr, op string) ast.Expr {
	t := p.tok()
	if !(t.is("ANY") || t.is("SOME") || t.is("ALL")) || !p.peek(1).is("(") || !startsQuery(p.peek(2)) {
		return nil
	}
	q := &ast.Quantified{Pos: left.Position(), Op: op, L: left, Quantifier: "ANY"}
	if t.is("ALL") {
		q.Quantifier = "ALL"
	}
	p.advance()
	p.expect("(")
	q.Query = p.query()
	p.expect(")")
	return q
}

func startsQuery(t *token) bool {
	return t.is("SELECT") || t.is("WITH") || t.is("VALUES") || t.is("TABLE") || t.is("FROM")
}

// predicate reads [NOT] IN, BETWEEN, LIKE, .. or IS behind left, or nil.
func (p *parser) predicate(left ast.Expr) ast.Expr {
	pos := left.Position()
	if p.accept("IS") {
		return p.is(left)
	}
	not := false
	if p.tok().is("NOT") || p.tok().is("!") {
		switch nx := p.peek(1); nx.word {
		case "IN", "BETWEEN", "LIKE", "ILIKE", "RLIKE", "REGEXP":
			p.advance()
			not = true
		default:
			return nil
		}
	}
	switch p.acceptOne("IN", "BETWEEN", "LIKE", "ILIKE", "RLIKE", "REGEXP") {
	case "IN":
		return p.in(left, not)
	case "BETWEEN":
		b := &ast.Between{Pos: pos, Not: not, X: left}
		if !p.accept("SYMMETRIC") {
			p.accept("ASYMMETRIC")
		} else {
			p.failf(pos, "BETWEEN SYMMETRIC is not part of the dialect; write x BETWEEN least(a, b) AND greatest(a, b)")
		}
		b.Lo = p.exprAt(precCompare)
		p.expect("AND")
		b.Hi = p.exprAt(precCompare)
		return b
	case "LIKE":
		return p.like(left, not, "LIKE")
	case "ILIKE":
		return p.like(left, not, "ILIKE")
	case "RLIKE", "REGEXP":
		return p.like(left, not, "RLIKE")
	}
	return nil
}

func (p *parser) is(left ast.Expr) ast.Expr {
	pos := left.Position()
	not := p.accept("NOT") || p.accept("!")
	what := p.expectOne("NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT")
	if what == "DISTINCT" {
		p.expect("FROM")
		return &ast.IsDistinct{Pos: pos, Not: not, L: left, R: p.exprAt(precCompare + 1)}
	}
	return &ast.Is{Pos: pos, Not: not, X: left, What: what}
}

func (p *parser) in(left ast.Expr, not bool) ast.Expr {
	n := &ast.In{Pos: left.Position(), Not: not, X: left}
	p.expect("(")
	if startsQuery(p.tok()) {
		n.Query = p.query()
	} else {
		n.List = p.exprList()
	}
	p.expect(")")
	return n
}

func (p *parser) like(left ast.Expr, not bool, op string) ast.Expr {
	n := &ast.Like{Pos: left.Position(), Not: not, Op: op, X: left}
	if t := p.tok(); (t.is("ANY") || t.is("SOME") || t.is("ALL")) && p.peek(1).is("(") {
		n.Quantifier = "ANY"
		if t.is("ALL") {
			n.Quantifier = "ALL"
		}
		p.advance()
		p.expect("(")
		n.List = p.exprList()
		p.expect(")")
		return n
	}
	n.Pattern = p.exprAt(precCompare)
	if op != "RLIKE" && p.accept("ESCAPE") {
		n.Escape = p.exprAt(precUnary)
	}
	return n
}

// exprList reads one or more expressions with commas between.
func (p *parser) exprList() []ast.Expr {
	out := []ast.Expr{p.expr()}
	for p.accept(",") {
		out = append(out, p.expr())
	}
	return out
}

// postfix reads x[i], x.f and x::t.
func (p *parser) postfix(x ast.Expr) ast.Expr {
	for links := 0; ; p.link(&links) {
		switch pos := p.pos(); {
		case p.accept("["):
			x = &ast.Index{Pos: pos, X: x, I: p.expr()}
			p.expect("]")
		case p.accept("::"):
			x = &ast.Cast{Pos: pos, X: x, Type: p.typ()}
		case p.tok().is(".") && !p.peek(1).is("*"):
			p.advance()
			name := p.anyIdent("a field name")
			x = &ast.Field{Pos: name.Pos, X: x, Name: name}
		default:
			return x
		}
	}
}
