package parser

import (
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// matchRecognize reads the row-pattern clause.
func (p *parser) matchRecognize(in ast.Table) ast.Table {
	n := &ast.MatchRecognize{Pos: p.expect("MATCH_RECOGNIZE"), Input: in}
	p.matches++
	defer func() { p.matches-- }()
	p.expect("(")
	if p.accept("PARTITION", "BY") {
		n.PartitionBy = p.exprList()
	}
	if p.accept("ORDER", "BY") {
		n.OrderBy = p.orderItems()
	}
	if p.accept("MEASURES") {
		n.Measures = p.selectItems()
	}
	switch {
	case p.accept("ONE", "ROW", "PER", "MATCH"):
		n.RowsPer = "ONE"
	case p.accept("ALL", "ROWS", "PER", "MATCH"):
		n.RowsPer = "ALL"
		switch {
		case p.accept("SHOW", "EMPTY", "MATCHES"):
			n.Empty = "SHOW"
		case p.accept("OMIT", "EMPTY", "MATCHES"):
			n.Empty = "OMIT"
		case p.accept("WITH", "UNMATCHED", "ROWS"):
			n.Empty = "UNMATCHED"
		}
	}
	if p.accept("AFTER", "MATCH") {
		p.afterMatch(n)
	}
	p.expect("PATTERN")
	p.expect("(")
	n.Pattern = p.patternAlt()
	p.expect(")")
	if p.accept("WITHIN") {
		n.Within = p.expr()
	}
	if p.accept("SUBSET") {
		for {
			s := ast.Subset{Name: p.ident("a pattern variable")}
			p.expect("=")
			p.expect("(")
			s.Of = p.identList("a pattern variable")
			p.expect(")")
			n.Subsets = append(n.Subsets, s)
			if !p.accept(",") {
				break
			}
		}
	}
	p.expect("DEFINE")
	for {
		d := ast.Definition{Name: p.ident("a pattern variable")}
		p.expect("AS")
		d.Cond = p.expr()
		n.Define = append(n.Define, d)
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return n
}

func (p *parser) afterMatch(n *ast.MatchRecognize) {
	p.expect("SKIP")
	if p.accept("PAST", "LAST", "ROW") {
		n.AfterMatch = "PAST LAST ROW"
		return
	}
	p.expect("TO")
	if p.accept("NEXT", "ROW") {
		n.AfterMatch = "NEXT ROW"
		return
	}
	n.AfterMatch = "VAR"
	if p.at("FIRST", "LAST") && p.peek(1).kind == tokWord {
		n.AfterMatch = p.advance().word
	}
	id := p.ident("a pattern variable")
	n.AfterVar = &id
}

// patternAlt reads a | b; | binds looser than a sequence.
func (p *parser) patternAlt() ast.Pattern {
	p.enter()
	defer p.leave()
	pos := p.pos()
	items := []ast.Pattern{p.patternSeq()}
	for p.accept("|") {
		items = append(items, p.patternSeq())
	}
	if len(items) == 1 {
		return items[0]
	}
	return &ast.PatternSeq{Pos: pos, Op: "ALT", Items: items}
}

func (p *parser) patternSeq() ast.Pattern {
	pos := p.pos()
	items := []ast.Pattern{p.patternTerm()}
	for p.at("(", "{-", "^", "$") || p.tok().kind == tokWord || p.tok().kind == tokQuoted {
		items = append(items, p.patternTerm())
	}
	if len(items) == 1 {
		return items[0]
	}
	return &ast.PatternSeq{Pos: pos, Items: items}
}

// patternTerm reads one element and its quantifier.
func (p *parser) patternTerm() ast.Pattern {
	var x ast.Pattern
	switch pos := p.pos(); {
	case p.accept("^"):
		return &ast.PatternAnchor{Pos: pos}
	case p.accept("$"):
		return &ast.PatternAnchor{Pos: pos, End: true}
	case p.accept("("):
		if p.accept(")") {
			x = &ast.PatternSeq{Pos: pos}
			break
		}
		x = p.patternAlt()
		p.expect(")")
	case p.accept("{-"):
		x = &ast.PatternExclude{Pos: pos, X: p.patternAlt()}
		p.expect("-}")
	case p.tok().is("PERMUTE") && p.peek(1).is("("):
		p.advance()
		p.expect("(")
		seq := &ast.PatternSeq{Pos: pos, Op: "PERMUTE", Items: []ast.Pattern{p.patternAlt()}}
		for p.accept(",") {
			seq.Items = append(seq.Items, p.patternAlt())
		}
		p.expect(")")
		x = seq
	default:
		x = &ast.PatternVar{Pos: pos, Name: p.ident("a pattern variable")}
	}
	r := &ast.PatternRepeat{Pos: p.pos(), X: x, Max: -1}
	switch p.acceptOne("*", "+", "?", "{") {
	case "*":
	case "+":
		r.Min = 1
	case "?":
		r.Max = 1
	case "{":
		p.patternRange(r)
	default:
		return x
	}
	r.Reluctant = p.accept("?")
	return r
}

// patternRange reads n}, n,}, ,m} and n,m}.
func (p *parser) patternRange(r *ast.PatternRepeat) {
	if !p.at(",") {
		r.Min = p.number("a whole number")
		r.Max = r.Min
	}
	if p.accept(",") {
		r.Max = -1
		if !p.at("}") {
			r.Max = p.number("a whole number")
		}
	}
	p.expect("}")
	if r.Max >= 0 && r.Max < r.Min || r.Max == 0 {
		p.failf(r.Pos, "a pattern cannot repeat from %d to %d times", r.Min, r.Max)
	}
}

// semantics reads FINAL or RUNNING before a call, which becomes its argument.
func (p *parser) semantics(name ast.Ident) ast.Expr {
	t := p.tok()
	if p.matches == 0 || t.kind != tokWord || !p.peek(1).is("(") || !wordIs(name, "FINAL", "RUNNING") {
		return nil
	}
	switch t.word {
	case "IN", "AND", "OR", "NOT", "AS", "IS", "LIKE", "BETWEEN", "DEFINE", "PATTERN", "SUBSET":
		return nil
	}
	return &ast.Call{Pos: name.Pos, Name: ast.Name{Pos: name.Pos, Parts: []ast.Ident{name}}, Args: []ast.Expr{p.nameOrCall()}}
}

func wordIs(id ast.Ident, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(id.Name, w) {
			return true
		}
	}
	return false
}
