package functions

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// directRegexp matches patterns such as (&|^)key=([^&]*) without trying anything
// twice: at most one character or the beginning, a text to look for, and behind it
// runs of characters each of which ends where the next part can begin. That is what
// values are mostly taken out of texts with.
type directRegexp struct {
	before  byteSet // the character in front
	sets    bool    // there may be one
	bare    bool    // there may be none
	start   bool    // there may be none at the beginning
	front   int     // the group of what is in front, 0 for none
	text    string
	group   int // of the text
	parts   []directPart
	results int // 2 for the match and for each group
}

// directPart is what follows: a text, or at least low characters of a set.
type directPart struct {
	text  string
	set   byteSet
	low   int
	many  bool
	end   bool // the end of the text
	group int
}

// byteSet is a set of characters: single ones of ASCII, and all others or none.
type byteSet struct {
	ascii [128]bool
	other bool
}

func (s *byteSet) has(b byte) bool {
	if b < 128 {
		return s.ascii[b]
	}
	return s.other
}

// newDirect returns nil for a pattern of another form.
func newDirect(pattern string) *directRegexp {
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || strings.ContainsRune(pattern, utf8.RuneError) {
		return nil
	}
	subs := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		subs = tree.Sub
	}
	d := &directRegexp{bare: true, results: 2 * (tree.MaxCap() + 1)}
	at := 0
	if _, _, ok := literal(subs[0]); !ok {
		if !d.prefix(subs[0]) {
			return nil
		}
		at = 1
	}
	if at == len(subs) {
		return nil
	}
	var ok bool
	if d.text, d.group, ok = literal(subs[at]); !ok {
		return nil
	}
	for _, sub := range subs[at+1:] {
		p, ok := newPart(sub)
		if !ok {
			return nil
		}
		d.parts = append(d.parts, p)
	}
	for i := range d.parts {
		if i+1 < len(d.parts) && !d.parts[i].stopsAt(&d.parts[i+1]) {
			return nil
		}
	}
	return d
}

// literal is a text of more than one character, or a group of one.
func literal(t *syntax.Regexp) (text string, group int, ok bool) {
	t, group = inGroup(t)
	if t.Op != syntax.OpLiteral || t.Flags&syntax.FoldCase != 0 || len(t.Rune) < 2 {
		return "", 0, false
	}
	return string(t.Rune), group, true
}

func inGroup(t *syntax.Regexp) (*syntax.Regexp, int) {
	if t.Op == syntax.OpCapture {
		return t.Sub[0], t.Cap
	}
	return t, 0
}

// prefix takes what may be in front: the beginning, a character, or either.
func (d *directRegexp) prefix(t *syntax.Regexp) bool {
	t, d.front = inGroup(t)
	choices := []*syntax.Regexp{t}
	if t.Op == syntax.OpAlternate {
		choices = t.Sub
	}
	d.bare = false
	for _, c := range choices {
		switch c.Op {
		case syntax.OpBeginText:
			d.start = true
		case syntax.OpEmptyMatch:
			d.bare = true
		default:
			set, ok := setOf(c)
			if !ok || set.other {
				return false
			}
			d.sets = true
			for i, in := range set.ascii {
				d.before.ascii[i] = d.before.ascii[i] || in
			}
		}
	}
	return true
}

func newPart(t *syntax.Regexp) (p directPart, ok bool) {
	t, p.group = inGroup(t)
	switch t.Op {
	case syntax.OpLiteral:
		p.text = string(t.Rune)
		return p, t.Flags&syntax.FoldCase == 0
	case syntax.OpEndText:
		p.end = true
		return p, t.Flags&syntax.WasDollar == 0 || p.group == 0
	case syntax.OpStar, syntax.OpPlus:
		if t.Flags&syntax.NonGreedy != 0 {
			return p, false
		}
		if p.many = true; t.Op == syntax.OpPlus {
			p.low = 1
		}
		p.set, ok = setOf(t.Sub[0])
		return p, ok
	default:
		p.low = 1
		p.set, ok = setOf(t)
		return p, ok && !p.set.other
	}
}

// stopsAt reports whether a part that takes what it can leaves the next what that
// needs.
func (p *directPart) stopsAt(next *directPart) bool {
	if !p.many || next.end {
		return true
	}
	if next.text != "" {
		return !p.set.has(next.text[0])
	}
	if next.low == 0 || p.set.other && next.set.other {
		return false
	}
	for i := range p.set.ascii {
		if p.set.ascii[i] && next.set.ascii[i] {
			return false
		}
	}
	return true
}

// setOf reads a set that has all characters beyond ASCII or none.
func setOf(t *syntax.Regexp) (s byteSet, ok bool) {
	switch t.Op {
	case syntax.OpLiteral:
		if len(t.Rune) != 1 || t.Rune[0] >= utf8.RuneSelf || t.Flags&syntax.FoldCase != 0 {
			return s, false
		}
		s.ascii[t.Rune[0]] = true
		return s, true
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		for i := range s.ascii {
			s.ascii[i] = i != '\n' || t.Op == syntax.OpAnyChar
		}
		s.other = true
		return s, true
	case syntax.OpCharClass:
		for i := 0; i < len(t.Rune); i += 2 {
			lo, hi := t.Rune[i], t.Rune[i+1]
			for r := lo; r <= min(hi, utf8.RuneSelf-1); r++ {
				s.ascii[r] = true
			}
			if hi >= utf8.RuneSelf {
				if lo > utf8.RuneSelf || hi != utf8.MaxRune {
					return s, false
				}
				s.other = true
			}
		}
		return s, true
	}
	return s, false
}

// find puts the places of the first match and its groups into m, which is returned,
// or returns nil.
func (d *directRegexp) find(s string, m []int) []int {
	m = m[:0]
	for range d.results {
		m = append(m, -1)
	}
	for from := 0; ; {
		i := strings.Index(s[from:], d.text)
		if i < 0 {
			return nil
		}
		i += from
		front := i - 1
		if !d.sets || i == 0 || !d.before.has(s[i-1]) {
			front = i
		}
		if front < i || d.bare || d.start && i == 0 {
			if end := d.follow(s, i+len(d.text), m); end >= 0 {
				m[0], m[1] = front, end
				if d.front > 0 {
					m[2*d.front], m[2*d.front+1] = front, i
				}
				if d.group > 0 {
					m[2*d.group], m[2*d.group+1] = i, i+len(d.text)
				}
				return m
			}
		}
		from = i + 1
	}
}

// follow matches the parts behind the text and returns where they end, or -1.
func (d *directRegexp) follow(s string, at int, m []int) int {
	for k := range d.parts {
		p := &d.parts[k]
		from := at
		switch {
		case p.end:
			if at < len(s) {
				return -1
			}
		case p.text != "":
			if !strings.HasPrefix(s[at:], p.text) {
				return -1
			}
			at += len(p.text)
		case p.many:
			for at < len(s) && p.set.has(s[at]) {
				at++
			}
			if at-from < p.low {
				return -1
			}
		default:
			if at == len(s) || !p.set.has(s[at]) {
				return -1
			}
			at++
		}
		if p.group > 0 {
			m[2*p.group], m[2*p.group+1] = from, at
		}
	}
	return at
}
