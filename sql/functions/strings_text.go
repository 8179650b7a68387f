package functions

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// texts lists functions over text as people write it.
func texts() []*Entry {
	return []*Entry{
		special("elt", "elt(int, string...) -> string", "The n-th of the other arguments, from 1; an error outside of them.", "elt(2, 'scala', 'java')", "java", bindElt),
		fn("mask", "A text with upper case letters, lower case letters, digits and the rest replaced by one character each; NULL keeps them.",
			"mask('AbCD123-@$#')", "XxXXnnn-@$#", sig("string, string = 'X', string = 'x', string = 'n', string = NULL -> string", expr.Kernel(maskKernel))).lax(),
		fn("luhn_check", "Whether a text of digits ends with its own Luhn check digit.", "luhn_check('79927398713')", "true", sig("string -> boolean", p1(luhn))).safe().tight(),
		fn("sentences", "The words of each sentence of a text, without punctuation.", "sentences('Hi there! Good morning.')", "[[Hi, there], [Good, morning]]",
			sig("string, string = '', string = '' -> array<array<string>>", expr.Kernel(sentences))),
		fn("jaro_winkler_similarity", "How alike two texts are, from 0 to 1, with more weight on what they begin with.", "jaro_winkler_similarity('MARTHA', 'MARHTA')", "0.9611111111111111",
			sig("string, string -> double", k2(func(a, b string) (float64, error) { return jaroWinkler([]rune(a), []rune(b)), nil }))).safe().tight(),
		fn("randstr", "A random text of letters and digits of a length, the same when a batch runs again.", "length(randstr(5, 1))", "5",
			sig("int, bigint = 0 -> string", expr.Kernel(randomText))).perRow(),
		special("collation", "collation(string) -> string", "The name of the order of strings: that of their bytes.", "collation('x')", "SYSTEM.BUILTIN.UTF8_BINARY", func(e *Entry, args []expr.Expr) (expr.Expr, error) {
			if len(args) != 1 || castCost(args[0], expr.TypeString) >= never {
				return nil, e.mismatch(args)
			}
			return expr.Text("SYSTEM.BUILTIN.UTF8_BINARY"), nil
		}),
	}
}

func bindElt(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 2 || castCost(args[0], expr.TypeInt32) >= never {
		return nil, e.mismatch(args)
	}
	out := []expr.Expr{coerce(args[0], expr.TypeInt32)}
	to := arrow.DataType(expr.TypeBinary)
	for _, a := range args[1:] {
		if a.Type().ID() != arrow.BINARY {
			to = expr.TypeString
		}
	}
	for _, a := range args[1:] {
		if castCost(a, to) >= never {
			return nil, e.mismatch(args)
		}
		out = append(out, coerce(a, to))
	}
	n := *e
	n.nonStrict = true
	return n.newCall(eltKernel, out, to), nil
}

func eltKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	at := vec.Load[int32](args[0])
	m := vec.StrictMask(kc.Alloc, args[:1], n)
	o := vec.NewStrOut(kc.Alloc, n)
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		k := int(at.At(i))
		if k < 1 || k >= len(args) {
			o.Release()
			m.Release()
			return nil, batch.UserErrorf("[INVALID_ARRAY_INDEX] there is no argument %d among %d", k, len(args)-1)
		}
		r := row(args[k], i)
		if vec.IsNull(args[k].Arr, r) {
			m.SetNull(i)
			o.Skip()
			continue
		}
		o.End(append(o.Begin(), vec.StringsOf(args[k].Arr).At(r)...))
	}
	return o.Array(kc.Result, m)
}

// maskKernel replaces characters by kind.
func maskKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args[:1], n)
	o := vec.NewStrOut(kc.Alloc, n)
	if m.AllNull() {
		o.Release()
		m.Release()
		return vec.NullArray(kc.Alloc, kc.Result, n), nil
	}
	in := vec.StringsOf(args[0].Arr)
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		var by [4]rune // of upper, lower, digit, other; -1 keeps
		for k := range by {
			by[k] = -1
			if r := row(args[k+1], i); !vec.IsNull(args[k+1].Arr, r) {
				c, size := utf8.DecodeRune(vec.StringsOf(args[k+1].Arr).At(r))
				if size == 0 || size != len(vec.StringsOf(args[k+1].Arr).At(r)) {
					o.Release()
					m.Release()
					return nil, batch.UserErrorf("[DATATYPE_MISMATCH.INPUT_SIZE_NOT_ONE] mask: a replacement must be one character")
				}
				by[k] = c
			}
		}
		dst := o.Begin()
		for _, c := range in.Str(row(args[0], i)) {
			kind := 3
			switch {
			case unicode.IsUpper(c):
				kind = 0
			case unicode.IsLower(c):
				kind = 1
			case unicode.IsDigit(c):
				kind = 2
			}
			if by[kind] >= 0 {
				c = by[kind]
			}
			dst = utf8.AppendRune(dst, c)
		}
		o.End(dst)
	}
	return o.Array(kc.Result, m)
}

func luhn(s string) bool {
	sum := 0
	for i := range len(s) {
		c := s[len(s)-1-i]
		if c < '0' || c > '9' {
			return false
		}
		d := int(c - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return s != "" && sum%10 == 0
}

// sentences ends a sentence at . ! and ? that a blank or the end follows, and a
// word at what is neither letter nor digit.
func sentences(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args[:1], n)
	defer m.Release()
	b := array.NewListBuilder(kc.Alloc, arrow.ListOf(expr.TypeString))
	defer b.Release()
	inner := b.ValueBuilder().(*array.ListBuilder)
	words := inner.ValueBuilder().(*array.StringBuilder)
	in := vec.Load[string](args[0])
	defer in.Release()
	for i := range n {
		if m.IsNull(i) {
			b.AppendNull()
			continue
		}
		b.Append(true)
		for _, s := range cutSentences(in.At(i)) {
			inner.Append(true)
			for _, w := range strings.FieldsFunc(s, notInWord) {
				if w = strings.Trim(w, "'’-"); w != "" {
					words.Append(w)
				}
			}
		}
	}
	return b.NewListArray(), nil
}

func notInWord(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\'' && r != '’' && r != '_'
}

func cutSentences(s string) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(".!?", s[i]) < 0 {
			continue
		}
		end := i + 1
		for end < len(s) && strings.IndexByte(".!?\"')", s[end]) >= 0 {
			end++
		}
		if end < len(s) && s[end] != ' ' && s[end] != '\n' && s[end] != '\t' {
			continue
		}
		out = append(out, s[start:end])
		start, i = end, end
	}
	if strings.TrimSpace(s[min(start, len(s)):]) != "" {
		out = append(out, s[start:])
	}
	return out
}

func jaroWinkler(a, b []rune) float64 {
	if len(a) == 0 && len(b) == 0 {
		return 1
	}
	if len(a) == 0 || len(b) == 0 {
		return 0
	}
	reach := max(max(len(a), len(b))/2-1, 0)
	taken := make([]bool, len(b))
	var same []rune
	for i, c := range a {
		for j := max(i-reach, 0); j < min(i+reach+1, len(b)); j++ {
			if !taken[j] && b[j] == c {
				taken[j] = true
				same = append(same, c)
				break
			}
		}
	}
	if len(same) == 0 {
		return 0
	}
	swapped, k := 0, 0
	for j, c := range b {
		if taken[j] {
			if c != same[k] {
				swapped++
			}
			k++
		}
	}
	m := float64(len(same))
	jaro := (m/float64(len(a)) + m/float64(len(b)) + (m-float64(swapped)/2)/m) / 3
	common := 0
	for common < min(4, len(a), len(b)) && a[common] == b[common] {
		common++
	}
	return jaro + float64(common)*0.1*(1-jaro)
}

func randomText(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	size, salt := vec.Load[int32](args[0]), vec.Load[int64](args[1])
	m := vec.StrictMask(kc.Alloc, args, n)
	o := vec.NewStrOut(kc.Alloc, n)
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		k := size.At(i)
		if k < 0 || int(k) > resultMax {
			m.Release()
			o.Release()
			return nil, batch.UserErrorf("randstr: the length must be within 0..%d, not %d", resultMax, k)
		}
		dst := o.Begin()
		seed := mix(kc.Seed^mix(uint64(salt.At(i)))) + uint64(kc.RowBase) + uint64(i)
		for range k {
			seed = mix(seed)
			dst = append(dst, letters[seed%uint64(len(letters))])
		}
		o.End(dst)
	}
	return o.Array(kc.Result, m)
}

// bindDecode is decode(bytes, charset), or with more arguments a CASE over
// pairs of a value and a result, in which NULL equals NULL.
func bindDecode(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) == 2 {
		return e.resolve(args)
	}
	if len(args) < 3 {
		return nil, e.mismatch(args)
	}
	var whens []expr.When
	rest := args[1:]
	for len(rest) >= 2 {
		eq, err := Scalar("<=>", []expr.Expr{args[0], rest[0]})
		if err != nil {
			return nil, err
		}
		whens = append(whens, expr.When{Cond: eq, Then: rest[1]})
		rest = rest[2:]
	}
	var els expr.Expr
	if len(rest) == 1 {
		els = rest[0]
	}
	return NewCase(whens, els)
}

// instrFrom finds the n-th occurrence from a position, backwards from the end if that is negative.
func instrFrom(s, sub string, at, nth int32) (int32, error) {
	if nth < 1 {
		return 0, batch.UserErrorf("instr: the occurrence must be 1 or more, not %d", nth)
	}
	runes := utf8.RuneCountInString(s)
	if at > 0 {
		pos := at - 1
		for ; ; nth-- {
			p := locate(sub, s, pos+1)
			if p == 0 || int(pos) > runes {
				return 0, nil
			}
			if nth == 1 {
				return p, nil
			}
			pos = p
		}
	}
	if at == 0 {
		return 0, nil
	}
	last := runes + int(at) + 1 // where an occurrence may begin, from 1
	for p := min(last, runes); p >= 1; p-- {
		if strings.HasPrefix(s[byteAt(s, p-1):], sub) {
			if nth--; nth == 0 {
				return int32(p), nil
			}
		}
	}
	return 0, nil
}
