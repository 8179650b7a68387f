package functions

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// guidedRegexp is a compiled regular expression that may know a text which all its
// matches have near their beginning. Looking for that is many times faster than
// trying a match at each place.
type guidedRegexp struct {
	*regexp.Regexp
	text     string // empty if none is known
	min, max int    // bytes of a match before text
	start    *regexp.Regexp
	later    *regexp.Regexp // at any place but the start
	direct   *directRegexp  // matches the whole pattern, if it can be
}

func compileGuided(p string) (*guidedRegexp, error) {
	re, err := regexp.Compile(p)
	if err != nil {
		return nil, err
	}
	out := &guidedRegexp{Regexp: re}
	if out.direct = newDirect(p); out.direct == nil {
		out.guide(p)
	}
	return out, nil
}

// guide looks for the text. It must follow beginnings whose lengths differ by no
// more than one: else the match that begins first need not have the first text.
func (p *guidedRegexp) guide(text string) {
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat || looksAround(tree) || strings.ContainsRune(text, utf8.RuneError) {
		return
	}
	low, high := 0, 0
	for _, sub := range tree.Sub {
		if sub.Op == syntax.OpLiteral && sub.Flags&syntax.FoldCase == 0 && len(sub.Rune) > 1 {
			p.text = string(sub.Rune)
			break
		}
		l, h, ok := width(sub)
		if !ok {
			return
		}
		low, high = low+l, high+h
	}
	if p.text == "" || high-low > 1 {
		p.text = ""
		return
	}
	p.min, p.max = low, high
	// At a later place the character before is taken in, so that what asks for the
	// beginning of the text does not find one.
	p.start, err = regexp.Compile(`\A(?:` + text + `)`)
	if err == nil {
		p.later, err = regexp.Compile(`\A(?s:.)(?:` + text + `)`)
	}
	if err != nil {
		p.text = ""
	}
}

// looksAround reports whether a part looks at what is before it otherwise than for
// the beginning of the text.
func looksAround(t *syntax.Regexp) bool {
	switch t.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return true
	default:
	}
	for _, sub := range t.Sub {
		if looksAround(sub) {
			return true
		}
	}
	return false
}

// width is how many bytes a part matches, at least and at most.
func width(t *syntax.Regexp) (low, high int, ok bool) {
	switch t.Op {
	case syntax.OpBeginText, syntax.OpEmptyMatch:
		return 0, 0, true
	case syntax.OpLiteral:
		n := len(string(t.Rune))
		return n, n, t.Flags&syntax.FoldCase == 0
	case syntax.OpCharClass:
		last := len(t.Rune) - 1
		return 1, 1, last > 0 && t.Rune[last] < 0x80
	case syntax.OpCapture:
		return width(t.Sub[0])
	case syntax.OpQuest:
		_, high, ok = width(t.Sub[0])
		return 0, high, ok
	case syntax.OpConcat, syntax.OpAlternate:
		for i, sub := range t.Sub {
			l, h, ok := width(sub)
			switch {
			case !ok:
				return 0, 0, false
			case t.Op == syntax.OpConcat:
				low, high = low+l, high+h
			case i == 0:
				low, high = l, h
			default:
				low, high = min(low, l), max(high, h)
			}
		}
		return low, high, true
	default:
		return 0, 0, false
	}
}

// find is FindStringSubmatchIndex; it may use room for what it returns.
func (p *guidedRegexp) find(s string, room []int) []int {
	if p.direct != nil {
		return p.direct.find(s, room)
	}
	return p.FindStringSubmatchIndex(s)
}

// FindStringSubmatchIndex is that of the regular expression.
func (p *guidedRegexp) FindStringSubmatchIndex(s string) []int {
	if p.direct != nil {
		return p.direct.find(s, nil)
	}
	if p.text == "" {
		return p.Regexp.FindStringSubmatchIndex(s)
	}
	for from := 0; ; {
		i := strings.Index(s[from:], p.text)
		if i < 0 {
			return nil
		}
		i += from
		for at := max(0, i-p.max); at <= i-p.min; at++ {
			if !utf8.RuneStart(s[at]) {
				continue // no match begins within a character
			}
			re, back := p.later, 1
			if at == 0 {
				re, back = p.start, 0
			}
			if m := re.FindStringSubmatchIndex(s[at-back:]); m != nil {
				for k := range m {
					if m[k] >= 0 {
						m[k] += at - back
					}
				}
				m[0] = at
				return m
			}
		}
		from = i + 1
	}
}
