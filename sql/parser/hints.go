package parser

import (
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// hintStart opens a comment that may hold hints, right behind SELECT.
const hintStart = "/*+"

// stateTTL is the only hint that means something here. Others are comments: hints of
// Spark and Flink say how to run a query, and a query may be written for them as well.
const stateTTL = "STATE_TTL"

// stateTTLs reads STATE_TTL('alias' = '1 day', ..) from a comment behind the token
// that was read last.
func (p *parser) stateTTLs(pos ast.Pos) (out []ast.StateTTL) {
	if p.i == 0 {
		return nil
	}
	text := strings.TrimLeft(p.text[p.toks[p.i-1].end:], " \t\r\n\f\v")
	body, ok := strings.CutPrefix(text, hintStart)
	end := strings.Index(body, "*/")
	if !ok || end < 0 {
		return nil
	}
	toks := tokenize(body[:end], false)
	for i := 0; i < len(toks); i++ {
		if !toks[i].is(stateTTL) {
			continue
		}
		i++
		for sep := "("; ; sep = "," {
			if toks[i].is(")") && sep == "," {
				break
			}
			if !toks[i].is(sep) || i+3 >= len(toks) || toks[i+1].kind != tokString || !toks[i+2].is("=") || toks[i+3].kind != tokString {
				p.failf(pos, "the hint %s is written STATE_TTL('table or alias' = '1 day', ..)", stateTTL)
			}
			out = append(out, ast.StateTTL{Pos: pos, Table: toks[i+1].text, Time: toks[i+3].text})
			i += 4
		}
	}
	return out
}
