package parser

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// fail reports that the current token is wrong. The wants are named first;
// whatever else the grammar tried at this token serves for the suggestion.
func (p *parser) fail(wants ...string) {
	t := p.tok()
	if len(wants) == 0 {
		wants = p.expected
	}
	err := ast.Errorf(t.pos, "expected %s, found %s", orList(wants), describe(t))
	if hint := p.suggest(t, wants); hint != "" {
		err.WithHint("%s", hint)
	}
	panic(bail{err})
}

// failf reports something of its own at a place.
func (p *parser) failf(pos ast.Pos, format string, args ...any) {
	panic(bail{ast.Errorf(pos, format, args...)})
}

// describe names a token as the user sees it.
func describe(t *token) string {
	text := t.text
	if len(text) > 40 {
		text = text[:37] + "..."
	}
	switch t.kind {
	case tokEOF:
		return "the end of the text"
	case tokWord, tokOp:
		return fmt.Sprintf("%q", text)
	case tokQuoted:
		return fmt.Sprintf("the name %q", text)
	case tokString:
		return fmt.Sprintf("the string '%s'", text)
	case tokNumber:
		return "the number " + text
	case tokBinary:
		return "a binary string"
	case tokParam:
		return "the parameter :" + text
	default:
		return text
	}
}

// orList joins what was expected, without repeats and at most eight of it.
func orList(words []string) string {
	var out []string
	for _, w := range words {
		if w == strings.ToUpper(w) && w != strings.ToLower(w) {
			// keywords stand as they are
		} else if len(w) <= 3 && w != strings.ToUpper(w) || isPunct(w) {
			w = fmt.Sprintf("%q", w)
		}
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	if len(out) > 8 {
		out = append(out[:8], "..")
	}
	if len(out) < 2 {
		return strings.Join(out, "")
	}
	return strings.Join(out[:len(out)-1], ", ") + " or " + out[len(out)-1]
}

func isPunct(w string) bool {
	return strings.Trim(w, "()[]{},;.+-*/%=<>!&|^~?:$") == ""
}

// suggest finds a keyword that the token may be a mistyping of.
func (p *parser) suggest(t *token, wants []string) string {
	if t.kind != tokWord {
		return ""
	}
	var words []string
	for _, w := range append(slices.Clone(wants), p.expected...) {
		if first, _, _ := strings.Cut(w, " "); first == strings.ToUpper(first) {
			words = append(words, first)
		}
	}
	if near := ast.Nearest(t.text, words); near != "" && !strings.EqualFold(near, t.text) {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if reserved[t.word] && slices.ContainsFunc(wants, wantsName) {
		return fmt.Sprintf("%s is a keyword; as a name it needs quotes: `%s`", t.word, t.text)
	}
	// The word before may be the one that is wrong: SELECT a FORM t reads FORM
	// as an alias and stumbles over t.
	if p.i > 0 {
		prev := &p.toks[p.i-1]
		if prev.kind == tokWord && !reserved[prev.word] && !slices.Contains(statementWords, prev.word) {
			if near := ast.Nearest(prev.text, clauseWords); near != "" && near != prev.word {
				return fmt.Sprintf("did you mean %s instead of %q at %s?", near, prev.text, prev.pos.LineCol())
			}
		}
	}
	return ""
}

// wantsName says whether what was expected could be a name.
func wantsName(w string) bool {
	return strings.HasPrefix(w, "a ") || strings.HasPrefix(w, "an ") || strings.HasPrefix(w, "the name")
}

// clauseWords are what a stray word in a query is compared with.
var clauseWords = []string{
	"FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "UNION", "JOIN", "LEFT", "RIGHT",
	"INNER", "CROSS", "QUALIFY", "WINDOW", "EXCEPT", "INTERSECT", "SELECT", "AND", "BETWEEN",
}
