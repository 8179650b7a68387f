package ast

import "strconv"

func (p *printer) pivot(t *Pivot) {
	p.input(t.Input)
	p.w(" PIVOT (")
	p.selectItems(t.Aggs)
	p.w(" FOR ")
	p.columns(t.For)
	p.w(" IN (")
	for i, v := range t.Values {
		if i > 0 {
			p.w(", ")
		}
		p.expr(v.Expr)
		p.alias(v.Alias)
	}
	p.w("))")
}

func (p *printer) unpivot(t *Unpivot) {
	p.input(t.Input)
	p.w(" UNPIVOT ")
	if t.IncludeNulls {
		p.w("INCLUDE NULLS ")
	}
	p.w("(")
	p.columns(t.Values)
	p.w(" FOR ")
	p.ident(t.Name)
	p.w(" IN (")
	for i, c := range t.Columns {
		if i > 0 {
			p.w(", ")
		}
		for j, n := range c.Columns {
			p.w([]string{"(", ", "}[min(j, 1)])
			p.name(n)
		}
		p.w(")")
		p.alias(c.Alias)
	}
	p.w("))")
}

func (p *printer) matchRecognize(t *MatchRecognize) {
	p.input(t.Input)
	p.w(" MATCH_RECOGNIZE (")
	if t.PartitionBy != nil {
		p.w("PARTITION BY ")
		p.exprs(t.PartitionBy)
		p.w(" ")
	}
	if t.OrderBy != nil {
		p.w("ORDER BY ")
		p.orderItems(t.OrderBy)
		p.w(" ")
	}
	if t.Measures != nil {
		p.w("MEASURES ")
		p.selectItems(t.Measures)
		p.w(" ")
	}
	switch t.RowsPer {
	case "ONE":
		p.w("ONE ROW PER MATCH ")
	case "ALL":
		p.w("ALL ROWS PER MATCH ", map[string]string{"SHOW": "SHOW EMPTY MATCHES ", "OMIT": "OMIT EMPTY MATCHES ", "UNMATCHED": "WITH UNMATCHED ROWS "}[t.Empty])
	}
	p.afterMatch(t)
	p.w("PATTERN (")
	p.pattern(t.Pattern)
	p.w(")")
	if t.Within != nil {
		p.w(" WITHIN ")
		p.expr(t.Within)
	}
	for i, s := range t.Subsets {
		p.w([]string{" SUBSET ", ", "}[min(i, 1)])
		p.ident(s.Name)
		p.w(" = ")
		p.columns(s.Of)
	}
	for i, d := range t.Define {
		p.w([]string{" DEFINE ", ", "}[min(i, 1)])
		p.ident(d.Name)
		p.w(" AS ")
		p.expr(d.Cond)
	}
	p.w(")")
}

func (p *printer) afterMatch(t *MatchRecognize) {
	switch t.AfterMatch {
	case "":
		return
	case "PAST LAST ROW":
		p.w("AFTER MATCH SKIP PAST LAST ROW ")
		return
	case "NEXT ROW":
		p.w("AFTER MATCH SKIP TO NEXT ROW ")
		return
	}
	p.w("AFTER MATCH SKIP TO ")
	if t.AfterMatch != "VAR" {
		p.w(t.AfterMatch, " ")
	}
	p.ident(*t.AfterVar)
	p.w(" ")
}

func (p *printer) pattern(x Pattern) {
	switch x := x.(type) {
	case *PatternVar:
		p.ident(x.Name)
	case *PatternAnchor:
		p.w(map[bool]string{false: "^", true: "$"}[x.End])
	case *PatternExclude:
		p.w("{- ")
		p.pattern(x.X)
		p.w(" -}")
	case *PatternRepeat:
		p.subpattern(x.X)
		p.w("{", strconv.Itoa(x.Min), ",")
		if x.Max >= 0 {
			p.w(strconv.Itoa(x.Max))
		}
		p.w("}")
		if x.Reluctant {
			p.w("?")
		}
	case *PatternSeq:
		if len(x.Items) == 0 {
			p.w("()")
		}
		sep := map[string]string{"": " ", "ALT": " | ", "PERMUTE": ", "}[x.Op]
		if x.Op == "PERMUTE" {
			p.w("PERMUTE(")
		}
		for i, it := range x.Items {
			if i > 0 {
				p.w(sep)
			}
			p.subpattern(it)
		}
		if x.Op == "PERMUTE" {
			p.w(")")
		}
	}
}

// subpattern prints a part of a pattern, in parentheses if it has parts.
func (p *printer) subpattern(x Pattern) {
	paren := false
	switch x := x.(type) {
	case *PatternSeq:
		paren = x.Op != "PERMUTE" && len(x.Items) > 0
	case *PatternRepeat:
		paren = true
	default: // a variable or what stands in brackets of its own
	}
	if paren {
		p.w("(")
	}
	p.pattern(x)
	if paren {
		p.w(")")
	}
}
