package functions

import (
	"regexp"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// regexps lists what matches patterns. Patterns are Go's (RE2): linear in time,
// without backreferences and look-around; Java's possessive quantifiers are refused.
func regexps() []*Entry {
	return []*Entry{
		likeFn("like", "Whether a string matches a pattern of % (any characters) and _ (one character); \\ escapes.", "'Spark' LIKE 'S%k'", "true", false),
		likeFn("ilike", "LIKE without regard to case.", "'Spark' ILIKE 's%K'", "true", true),
		fn("rlike|regexp|regexp_like", "Whether a regular expression (RE2 syntax) matches a part of the string.", "'Spark 3' RLIKE '[0-9]'", "true",
			sig("string, string -> boolean", withRegexp2(func(re *regexp.Regexp, s string) (bool, error) { return re.MatchString(s), nil }))),
		fn("regexp_extract", "The group (1 if not given, 0 for all) of the first match, or the empty string.", "regexp_extract('100-200', '([0-9]+)-([0-9]+)', 2)", "200",
			sig("string, string, int = 1 -> string", vec.Map3(func(*expr.KernelContext) (vec.F3[string, string, int32, string], error) {
				var c guidedCache
				var room []int
				return func(s, p string, g int32) (string, error) {
					re, err := c.get(p)
					if err != nil {
						return "", err
					}
					if g < 0 || int(g) > re.NumSubexp() {
						return "", batch.UserErrorf("the pattern has %d groups, not %d", re.NumSubexp(), g)
					}
					m := re.find(s, room)
					if m == nil || m[2*g] < 0 {
						return "", nil
					}
					room = m
					return s[m[2*g]:m[2*g+1]], nil
				}, nil
			}))),
		fn("regexp_extract_all", "The group (1 if not given) of every match, as an array.", "regexp_extract_all('a1b22', '([0-9]+)')", "[1, 22]",
			sig("string, string, int = 1 -> array<string>", expr.Kernel(extractAll))),
		fn("regexp_replace", "Every match replaced; $1 stands for a group.", "regexp_replace('100-200', '([0-9]+)', '<$1>')", "<100>-<200>",
			sig("string, string, string -> string", vec.Str3(replaceMatches)), sig("string, string, string, int -> string", vec.Str4(replaceFrom))),
		fn("regexp_count", "How often a regular expression matches.", "regexp_count('a1b2', '[0-9]')", "2",
			sig("string, string -> int", withRegexp2(func(re *regexp.Regexp, s string) (int32, error) { return int32(len(matches(re, s))), nil }))),
		fn("regexp_instr", "The position of the first match from 1, or 0.", "regexp_instr('abc1', '[0-9]')", "4",
			sig("string, string -> int", withRegexp2(func(re *regexp.Regexp, s string) (int32, error) {
				m := re.FindStringIndex(s)
				if m == nil {
					return 0, nil
				}
				return int32(utf8.RuneCountInString(s[:m[0]])) + 1, nil
			}))),
		fn("regexp_substr", "The first match, or NULL.", "regexp_substr('abc12', '[0-9]+')", "12",
			sig("string, string -> string", withRegexp2(func(re *regexp.Regexp, s string) (string, error) {
				m := re.FindStringIndex(s)
				if m == nil || m[0] == m[1] {
					return "", vec.ErrNull
				}
				return s[m[0]:m[1]], nil
			}))),
		fn("split", "A string split at each match of a regular expression, into at most limit parts if that is positive.", "split('a,b;c', '[,;]')", "[a, b, c]",
			sig("string, string, int = -1 -> array<string>", expr.Kernel(splitKernel))),
	}
}

func replaceMatches(*expr.KernelContext) (vec.S3[string, string, string], error) {
	var c regexpCache
	return func(dst []byte, s, p, by string) ([]byte, error) {
		re, err := c.get(p)
		if err != nil {
			return nil, err
		}
		return replaceAll(dst, re, s, by), nil
	}, nil
}

// replaceFrom replaces from a position on, counted in characters from 1.
func replaceFrom(*expr.KernelContext) (vec.S4[string, string, string, int32], error) {
	var c regexpCache
	return func(dst []byte, s, p, by string, from int32) ([]byte, error) {
		re, err := c.get(p)
		if err != nil {
			return nil, err
		}
		if from < 1 {
			return nil, batch.UserErrorf("[INVALID_PARAMETER_VALUE] the position must be 1 or more, not %d", from)
		}
		at := 0
		for ; from > 1 && at < len(s); from-- {
			_, w := utf8.DecodeRuneInString(s[at:])
			at += w
		}
		dst = append(dst, s[:at]...)
		if from > 1 { // behind the end
			return dst, nil
		}
		return replaceAll(dst, re, s[at:], by), nil
	}, nil
}

// regexpCache keeps the last pattern compiled: patterns are nearly always constant.
type regexpCache struct {
	text string
	re   *regexp.Regexp
}

func (c *regexpCache) get(p string) (*regexp.Regexp, error) {
	if c.re != nil && c.text == p {
		return c.re, nil
	}
	re, err := regexp.Compile(p)
	if err != nil {
		return nil, batch.UserErrorf("[INVALID_PARAMETER_VALUE.PATTERN] '%s': %w", p, err)
	}
	c.text, c.re = strings.Clone(p), re
	return re, nil
}

// lastGuided is the pattern that was compiled last, for the next batch: compiling one
// takes longer than matching some rows. It is read only.
var lastGuided atomic.Pointer[guidedCache]

// guidedCache keeps the last pattern as regexpCache does.
type guidedCache struct {
	text string
	p    *guidedRegexp
}

func (c *guidedCache) get(text string) (*guidedRegexp, error) {
	if c.p != nil && c.text == text {
		return c.p, nil
	}
	if last := lastGuided.Load(); last != nil && last.text == text {
		c.text, c.p = last.text, last.p
		return c.p, nil
	}
	p, err := compileGuided(text)
	if err != nil {
		return nil, batch.UserErrorf("[INVALID_PARAMETER_VALUE.PATTERN] '%s': %w", text, err)
	}
	c.text, c.p = strings.Clone(text), p
	lastGuided.Store(&guidedCache{text: c.text, p: p})
	return p, nil
}

func withRegexp2[R vec.Value](f func(re *regexp.Regexp, s string) (R, error)) expr.Kernel {
	return vec.Map2(func(*expr.KernelContext) (vec.F2[string, string, R], error) {
		var c regexpCache
		return func(s, p string) (R, error) {
			re, err := c.get(p)
			if err != nil {
				var z R
				return z, err
			}
			return f(re, s)
		}, nil
	})
}

// matches finds all matches as Java does: unlike Go, an empty match may stand
// right behind another one.
func matches(re *regexp.Regexp, s string) [][]int {
	all := re.FindAllStringSubmatchIndex(s, -1)
	if !re.MatchString("") { // seldom: nothing else can be empty but what looks at its surroundings
		return all
	}
	out := make([][]int, 0, len(all)+1)
	for i, m := range all {
		out = append(out, m)
		if m[0] == m[1] || i+1 < len(all) && all[i+1][0] == m[1] {
			continue
		}
		if e := emptyAt(re, s, m[1]); e != nil {
			out = append(out, e)
		}
	}
	return out
}

// emptyAt returns the match that is empty at a place, right behind one that is not.
func emptyAt(re *regexp.Regexp, s string, at int) []int {
	m := re.FindStringSubmatchIndex(s[at:])
	if m == nil || m[0] != 0 || m[1] != 0 {
		return nil
	}
	for i := range m {
		if m[i] >= 0 {
			m[i] += at
		}
	}
	return m
}

// replaceAll follows Java's replacement syntax: $1 or ${name}, \ escapes.
func replaceAll(dst []byte, re *regexp.Regexp, s, by string) []byte {
	at := 0
	for _, m := range matches(re, s) {
		dst = append(dst, s[at:m[0]]...)
		for i := 0; i < len(by); i++ {
			switch c := by[i]; {
			case c == '\\' && i+1 < len(by):
				i++
				dst = append(dst, by[i])
			case c == '$' && i+1 < len(by) && by[i+1] >= '0' && by[i+1] <= '9':
				g := int(by[i+1] - '0')
				i++
				for i+1 < len(by) && by[i+1] >= '0' && by[i+1] <= '9' && g*10+int(by[i+1]-'0') <= re.NumSubexp() {
					g = g*10 + int(by[i+1]-'0')
					i++
				}
				if 2*g+1 < len(m) && m[2*g] >= 0 {
					dst = append(dst, s[m[2*g]:m[2*g+1]]...)
				}
			default:
				dst = append(dst, c)
			}
		}
		at = m[1]
	}
	return append(dst, s[at:]...)
}

func likeFn(name, doc, ex, res string, fold bool) *Entry {
	k := vec.Map3(func(*expr.KernelContext) (vec.F3[string, string, string, bool], error) {
		var last, esc string
		var m *likePattern
		return func(s, p, e string) (bool, error) {
			if m == nil || p != last || e != esc {
				var err error
				if m, err = newLike(p, e, fold); err != nil {
					return false, err
				}
				last, esc = strings.Clone(p), strings.Clone(e)
			}
			return m.match(s), nil
		}, nil
	})
	e := fn(name, doc, ex, res, sig("string, string, string = '\\' -> boolean", constantLike(k, fold)))
	return e
}

// likePattern is a LIKE pattern cut at its percent signs.
type likePattern struct {
	parts      [][]rune // -1 is any one character
	literal    []string // the parts as text where they have no _
	start, end bool     // whether the pattern begins and ends with %
	fold       bool
}

func newLike(p, escape string, fold bool) (*likePattern, error) {
	esc, _ := utf8.DecodeRuneInString(escape)
	if escape == "" {
		esc = -2
	}
	if fold {
		p = strings.ToLower(p)
	}
	l := &likePattern{fold: fold}
	part, first := []rune{}, true
	rs := []rune(p)
	flush := func() {
		l.parts = append(l.parts, part)
		part = []rune{}
	}
	for i := 0; i < len(rs); i++ {
		switch c := rs[i]; {
		case c == esc:
			if i+1 >= len(rs) || rs[i+1] != '%' && rs[i+1] != '_' && rs[i+1] != esc {
				return nil, batch.UserErrorf("[INVALID_FORMAT] the escape in the pattern '%s' must stand before %%, _ or itself", p)
			}
			i++
			part = append(part, rs[i])
		case c == '%':
			if first && len(part) == 0 {
				l.start = true
			} else if len(part) > 0 {
				flush()
			}
			l.end = i == len(rs)-1
			first = false
			continue
		case c == '_':
			part = append(part, -1)
		default:
			part = append(part, c)
		}
		first = false
	}
	if len(part) > 0 || len(l.parts) == 0 && !l.start {
		flush()
	}
	for _, part := range l.parts {
		text := string(part)
		for _, r := range part {
			if r < 0 {
				text = ""
			}
		}
		l.literal = append(l.literal, text)
	}
	return l, nil
}

func (l *likePattern) match(s string) bool {
	if l.fold {
		s = strings.ToLower(s)
	}
	if len(l.parts) == 0 {
		return l.start || s == ""
	}
	last := len(l.parts) - 1
	for k := range l.parts {
		anchored := k == 0 && !l.start
		final := k == last && !l.end
		switch {
		case anchored && final:
			n, ok := l.prefix(k, s)
			return ok && n == len(s)
		case anchored:
			n, ok := l.prefix(k, s)
			if !ok {
				return false
			}
			s = s[n:]
		case final:
			return l.suffix(k, s)
		default:
			n, ok := l.find(k, s)
			if !ok {
				return false
			}
			s = s[n:]
		}
	}
	return true
}

// prefix matches part k at the start of s and returns its bytes.
func (l *likePattern) prefix(k int, s string) (int, bool) {
	if lit := l.literal[k]; lit != "" {
		return len(lit), strings.HasPrefix(s, lit)
	}
	n := 0
	for _, want := range l.parts[k] {
		if n >= len(s) {
			return 0, false
		}
		r, w := utf8.DecodeRuneInString(s[n:])
		if want >= 0 && r != want {
			return 0, false
		}
		n += w
	}
	return n, true
}

func (l *likePattern) suffix(k int, s string) bool {
	if lit := l.literal[k]; lit != "" {
		return strings.HasSuffix(s, lit)
	}
	part := l.parts[k]
	for i := len(part) - 1; i >= 0; i-- {
		if s == "" {
			return false
		}
		r, w := utf8.DecodeLastRuneInString(s)
		if part[i] >= 0 && r != part[i] {
			return false
		}
		s = s[:len(s)-w]
	}
	return true
}

// find returns the end of the first place where part k matches.
func (l *likePattern) find(k int, s string) (int, bool) {
	if lit := l.literal[k]; lit != "" {
		i := strings.Index(s, lit)
		return i + len(lit), i >= 0
	}
	for at := 0; at <= len(s); {
		if n, ok := l.prefix(k, s[at:]); ok {
			return at + n, true
		}
		if at == len(s) {
			break
		}
		_, w := utf8.DecodeRuneInString(s[at:])
		at += w
	}
	return 0, false
}

// stringLists builds an ARRAY<STRING> column row by row.
func stringLists(kc *expr.KernelContext, args []expr.Vec, n int, f func(i int, add func(string)) error) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	defer m.Release()
	b := array.NewListBuilder(kc.Alloc, expr.TypeString)
	defer b.Release()
	vb := b.ValueBuilder().(*array.StringBuilder)
	for i := range n {
		if m.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(true)
		if err := f(i, vb.Append); err != nil {
			return nil, err
		}
	}
	return b.NewListArray(), nil
}

func extractAll(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	var c regexpCache
	s, p, g := vec.Load[string](args[0]), vec.Load[string](args[1]), vec.Load[int32](args[2])
	defer s.Release()
	defer p.Release()
	return stringLists(kc, args, n, func(i int, add func(string)) error {
		re, err := c.get(p.At(i))
		if err != nil {
			return err
		}
		k := int(g.At(i))
		if k < 0 || k > re.NumSubexp() {
			return batch.UserErrorf("the pattern has %d groups, not %d", re.NumSubexp(), k)
		}
		text := s.At(i)
		for _, m := range matches(re, text) {
			if m[2*k] < 0 {
				add("")
				continue
			}
			add(text[m[2*k]:m[2*k+1]])
		}
		return nil
	})
}

func splitKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	var c regexpCache
	s, p, lim := vec.Load[string](args[0]), vec.Load[string](args[1]), vec.Load[int32](args[2])
	defer s.Release()
	defer p.Release()
	return stringLists(kc, args, n, func(i int, add func(string)) error {
		pat, limit := p.At(i), int(lim.At(i))
		if s.At(i) == "" {
			add("")
			return nil
		}
		if limit <= 0 {
			limit = -1
		}
		if pat != "" && regexp.QuoteMeta(pat) == pat {
			for _, part := range strings.SplitN(s.At(i), pat, limit) {
				add(part)
			}
			return nil
		}
		re, err := c.get(pat)
		if err != nil {
			return err
		}
		for _, part := range re.Split(s.At(i), limit) {
			add(part)
		}
		return nil
	})
}

// stringListsMasked builds an ARRAY<STRING> column; m says which rows are NULL.
func stringListsMasked(kc *expr.KernelContext, m *vec.Mask, vals [][]string) (arrow.Array, error) {
	b := array.NewListBuilder(kc.Alloc, expr.TypeString)
	defer b.Release()
	vb := b.ValueBuilder().(*array.StringBuilder)
	for i, v := range vals {
		if m.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(true)
		vb.AppendValues(v, nil)
	}
	return b.NewListArray(), nil
}
