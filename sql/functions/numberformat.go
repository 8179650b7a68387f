package functions

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// numberFormats lists functions between numbers and text under a pattern of
// 9 and 0 (digits), . or D, a comma or G, $, S, MI and PR.
func numberFormats() []*Entry {
	return []*Entry{
		special("to_char|to_varchar", "to_char(any[, string]) -> string", "A number under a pattern such as '$99G999D00S', a date or timestamp under one such as 'yyyy-MM-dd', or a binary as 'hex', 'base64' or 'utf-8'.",
			"to_char(12454, '99G999')", "12,454", bindToChar),
		special("to_number", "to_number(string, string) -> decimal", "The number that a text is under a pattern such as '$99G999D99S'.", "to_number('12,454.8', '99,999.9')", "12454.8", bindToNumber(false)),
		special("try_to_number", "try_to_number(string, string) -> decimal", "Like to_number, but NULL where the text does not fit the pattern.", "try_to_number('x', '999')", "NULL", bindToNumber(true)),
	}
}

// numberFormat is a compiled pattern.
type numberFormat struct {
	text           string
	groups         []digitGroup // of the whole part, from the left
	fraction       digitGroup
	point, dollar  bool
	front, back    string // S, MI or PR in front (PR only at the back)
	whole, decimal int    // digits
}

// digitGroup is a run of 9s and 0s.
type digitGroup string

func compileNumber(text string) (*numberFormat, error) {
	bad := func() (*numberFormat, error) {
		return nil, batch.UserErrorf("[INVALID_FORMAT] '%s' is no pattern of a number: it has 9 or 0 for digits, . or D, a comma or G, and at its ends $, S, MI or PR", text)
	}
	f := &numberFormat{text: text}
	s := strings.ToUpper(text)
	for _, sign := range []string{"S", "MI"} {
		if rest, ok := strings.CutPrefix(s, sign); ok && f.front == "" {
			f.front, s = sign, rest
		}
	}
	for _, sign := range []string{"S", "MI", "PR"} {
		if rest, ok := strings.CutSuffix(s, sign); ok && f.front == "" && f.back == "" {
			f.back, s = sign, rest
		}
	}
	s, f.dollar = strings.CutPrefix(s, "$")
	whole, frac := s, ""
	if i := strings.IndexAny(s, ".D"); i >= 0 {
		whole, frac, f.point = s[:i], s[i+1:], true
	}
	if whole != "" {
		for _, g := range strings.Split(strings.ReplaceAll(whole, "G", ","), ",") {
			if g == "" || strings.Trim(g, "09") != "" {
				return bad()
			}
			f.groups = append(f.groups, digitGroup(g))
			f.whole += len(g)
		}
	}
	f.fraction, f.decimal = digitGroup(frac), len(frac)
	if strings.Trim(frac, "09") != "" || f.whole+f.decimal == 0 || f.whole+f.decimal > 38 {
		return bad()
	}
	return f, nil
}

// typ is the type of the numbers that the pattern reads.
func (f *numberFormat) typ() dec.Type {
	return dec.Type{P: int32(f.whole + f.decimal), S: int32(f.decimal)}
}

// parse reads a text; false if it does not fit.
func (f *numberFormat) parse(s string) (dec.Num, bool) {
	var zero dec.Num
	neg, s, ok := f.sign(strings.TrimSpace(s))
	if !ok {
		return zero, false
	}
	if f.dollar {
		if s, ok = strings.CutPrefix(s, "$"); !ok {
			return zero, false
		}
	}
	whole, frac, _ := strings.Cut(s, ".")
	if !f.point && strings.Contains(s, ".") || len(frac) > f.decimal || strings.Trim(frac, "0123456789") != "" {
		return zero, false
	}
	digits, ok := f.wholeDigits(whole)
	if !ok || digits == "" && frac == "" {
		return zero, false
	}
	if neg {
		digits = "-" + digits
	}
	v, bad, over := dec.Parse(digits+"."+frac+"0", f.typ())
	return v, !bad && !over
}

// sign takes the sign off, wherever the pattern has it.
func (f *numberFormat) sign(s string) (neg bool, rest string, ok bool) {
	switch {
	case f.back == "PR":
		if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") && len(s) > 2 {
			return true, s[1 : len(s)-1], true
		}
	case f.front != "" && s != "" && (s[0] == '-' || s[0] == '+' && f.front == "S"):
		return s[0] == '-', s[1:], true
	case f.back != "" && s != "" && (s[len(s)-1] == '-' || s[len(s)-1] == '+' && f.back == "S"):
		return s[len(s)-1] == '-', s[:len(s)-1], true
	}
	return false, s, true
}

// wholeDigits checks the groups before the point from the right; a group of 9s
// may lack digits on its left.
func (f *numberFormat) wholeDigits(s string) (string, bool) {
	if len(f.groups) == 0 {
		return "", s == ""
	}
	given := strings.Split(s, ",")
	if len(given) > len(f.groups) {
		return "", false
	}
	for i := range f.groups {
		want := string(f.groups[len(f.groups)-1-i])
		if i >= len(given) {
			if strings.Contains(want, "0") && want[0] == '0' {
				return "", false
			}
			continue
		}
		have := given[len(given)-1-i]
		if strings.Trim(have, "0123456789") != "" || len(have) > len(want) || i < len(given)-1 && len(have) != len(want) {
			return "", false
		}
		if len(have) < len(want) && want[0] == '0' {
			return "", false
		}
	}
	return strings.Join(given, ""), true
}

// append writes a number whose text is given; what has more digits than the pattern is ###.
func (f *numberFormat) append(dst []byte, num string) []byte {
	neg := strings.HasPrefix(num, "-")
	whole, frac, _ := strings.Cut(strings.TrimPrefix(num, "-"), ".")
	whole = strings.TrimLeft(whole, "0")
	over := len(whole) > f.whole || len(strings.TrimRight(frac, "0")) > f.decimal
	var body []byte
	if f.dollar {
		body = append(body, '$')
	}
	pad := strings.Repeat(" ", max(f.whole-len(whole), 0)) + whole
	at, started := 0, false
	for i, g := range f.groups {
		if i > 0 {
			body = append(body, groupMark(started && !over))
		}
		for _, c := range []byte(g) {
			d := byte('#')
			if !over {
				d = pad[at]
			}
			if d == ' ' && (c == '0' || started || at == f.whole-1) {
				d = '0'
			}
			if d != ' ' {
				started = true
			}
			body = append(body, d)
			at++
		}
	}
	switch {
	case f.point && f.decimal == 0:
		body = append(body, ' ')
	case f.point:
		body = append(body, '.')
		frac += strings.Repeat("0", max(f.decimal-len(frac), 0))
		for i := range f.decimal {
			if over {
				body = append(body, '#')
			} else {
				body = append(body, frac[i])
			}
		}
	}
	return f.signed(dst, body, neg)
}

func groupMark(shown bool) byte {
	if shown {
		return ','
	}
	return ' '
}

// signed puts the sign where it belongs: in front of the first character that is no blank, or behind.
func (f *numberFormat) signed(dst, body []byte, neg bool) []byte {
	mark := map[bool]map[string]byte{true: {"S": '-', "MI": '-'}, false: {"S": '+', "MI": ' '}}[neg]
	switch {
	case f.back == "PR" && neg:
		return append(leading(dst, body, '<'), '>')
	case f.back == "PR":
		return append(append(dst, body...), "  "...)
	case f.front != "":
		return leading(dst, body, mark[f.front])
	case f.back != "":
		return append(append(dst, body...), mark[f.back])
	}
	return append(dst, body...) // as in Spark, a pattern without a place for the sign shows none
}

// leading writes body with a mark right before its first character that is no blank.
func leading(dst, body []byte, mark byte) []byte {
	n := 0
	for n < len(body) && body[n] == ' ' {
		n++
	}
	dst = append(dst, body[:n]...)
	return append(append(dst, mark), body[n:]...)
}

func bindToChar(e *Entry, args []expr.Expr) (expr.Expr, error) {
	switch {
	case len(args) == 1 && !isNested(args[0].Type()):
		return coerce(args[0], expr.TypeString), nil
	case len(args) != 2:
		return nil, e.mismatch(args)
	}
	switch id := args[0].Type().ID(); {
	case id == arrow.DATE32 || id == arrow.TIMESTAMP:
		return Scalar("date_format", args)
	case id == arrow.BINARY:
		return binaryText(e, args)
	case id == arrow.STRING || isFloat(args[0].Type()):
		args = []expr.Expr{coerce(args[0], expr.Decimal(38, 18)), args[1]}
	case !isNumeric(args[0].Type()) && id != arrow.NULL:
		return nil, e.mismatch(args)
	}
	text, ok := constantText(args[1])
	if !ok {
		return nil, batch.UserErrorf("%s: the pattern must be a constant text", e.Name())
	}
	f, err := compileNumber(text)
	if err != nil {
		return nil, err
	}
	k := s1(func(dst []byte, s string) ([]byte, error) { return f.append(dst, s), nil })
	return e.newCall(func(kc *expr.KernelContext, in []expr.Vec, n int) (arrow.Array, error) {
		txt, err := castArray(kc, in[0].Arr, expr.TypeString)
		if err != nil {
			return nil, err
		}
		defer txt.Release()
		return alone(k)(kc, append([]expr.Vec{{Arr: txt, Const: in[0].Const}}, in[1:]...), n)
	}, args, expr.TypeString), nil
}

// binaryText writes bytes in the form that a constant names.
func binaryText(e *Entry, args []expr.Expr) (expr.Expr, error) {
	form, ok := constantText(args[1])
	if !ok {
		return nil, batch.UserErrorf("%s: the form must be a constant text", e.Name())
	}
	switch strings.ToLower(form) {
	case "hex", "base64":
		return Scalar(strings.ToLower(form), args[:1])
	case "utf-8", "utf8":
		return Scalar("decode", []expr.Expr{args[0], expr.Text("UTF-8")})
	}
	return nil, batch.UserErrorf("[INVALID_FORMAT] %s: '%s' is not 'hex', 'base64' or 'utf-8'", e.Name(), form)
}

func bindToNumber(try bool) func(e *Entry, args []expr.Expr) (expr.Expr, error) {
	return func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) != 2 || castCost(args[0], expr.TypeString) >= never {
			return nil, e.mismatch(args)
		}
		text, ok := constantText(args[1])
		if !ok {
			return nil, batch.UserErrorf("%s: the pattern must be a constant text", e.Name())
		}
		f, err := compileNumber(text)
		if err != nil {
			return nil, err
		}
		k := k1(func(s string) (dec.Num, error) {
			v, ok := f.parse(s)
			switch {
			case ok:
				return v, nil
			case try:
				return v, vec.ErrNull
			}
			return v, batch.UserErrorf("[INVALID_FORMAT.MISMATCH_INPUT] '%s' does not fit the pattern '%s'; use try_to_number for NULL instead", s, text)
		})
		return e.newCall(alone(k), []expr.Expr{coerce(args[0], expr.TypeString), args[1]}, f.typ().Arrow()), nil
	}
}

// alone makes a kernel of the first argument serve a call whose others were
// constants when it was bound.
func alone(k expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		out, err := k(kc, args[:1], n)
		if err != nil || out.Len() == vec.Rows(args, n) {
			return out, err
		}
		defer out.Release()
		return vec.Expand(kc.Alloc, out, n)
	}
}
