package functions

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// formats lists functions between text and other representations.
func formats() []*Entry {
	return []*Entry{
		special("format_string|printf", "format_string(string, any...) -> string", "Arguments put into a pattern: %s, %d, %x, %f, %e, %c, %b, %%, with flags, width and precision.",
			"format_string('%s has %05d, %.2f', 'x', 42, 1.5e0)", "x has 00042, 1.50", bindFormat),
		fn("format_number", "A number with thousands separated by commas and a number of fraction digits, or under a pattern of # 0 . and commas.", "format_number(12332.123456, 4)", "12,332.1235",
			sig("double, int -> string", s2(formatNumber)), sig("double, string -> string", s2(formatPattern))),
		fn("hex", "A number, string or binary in hexadecimal digits.", "hex(255)", "FF",
			sig("bigint -> string", s1(func(dst []byte, v int64) ([]byte, error) {
				return append(dst, strings.ToUpper(strconv.FormatUint(uint64(v), 16))...), nil
			})),
			sig("string -> string", s1(hexBytes)), sig("binary -> string", s1(hexBytes))).safe().tight(),
		fn("unhex", "The bytes that hexadecimal digits stand for; NULL if they are none.", "CAST(unhex('537061726B') AS STRING)", "Spark",
			sig("string -> binary", s1(func(dst []byte, s string) ([]byte, error) {
				if len(s)%2 == 1 {
					s = "0" + s
				}
				out, err := hex.AppendDecode(dst, []byte(s))
				if err != nil {
					return nil, vec.ErrNull
				}
				return out, nil
			}))).safe(),
		fn("base64", "Bytes in base 64.", "base64('Spark SQL')", "U3BhcmsgU1FM", sig("binary -> string", s1(func(dst []byte, s string) ([]byte, error) {
			return base64.StdEncoding.AppendEncode(dst, []byte(s)), nil
		}))).safe().tight(),
		fn("unbase64", "The bytes that base 64 text stands for.", "CAST(unbase64('U3BhcmsgU1FM') AS STRING)", "Spark SQL",
			sig("string -> binary", s1(func(dst []byte, s string) ([]byte, error) {
				out, err := base64.StdEncoding.AppendDecode(dst, []byte(s))
				if err != nil {
					return nil, batch.UserErrorf("[CONVERSION_INVALID_INPUT] '%s' is not base 64", s)
				}
				return out, nil
			}))),
		fn("encode", "A string's bytes in a character set: UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16BE or UTF-16LE.", "hex(encode('é', 'ISO-8859-1'))", "E9",
			sig("string, string -> binary", s2(encode))),
		decodeEntry(),
		fn("quote", "A string in single quotes, with those inside escaped.", "quote('don''t')", "'don\\'t'", sig("string -> string", s1(func(dst []byte, s string) ([]byte, error) {
			return append(append(append(dst, '\''), strings.ReplaceAll(s, "'", "\\'")...), '\''), nil
		}))).safe().tight(),
		fn("url_encode", "A string escaped for a URL's query.", "url_encode('a b&c')", "a+b%26c", sig("string -> string", s1(urlEncode))).safe().tight(),
		fn("url_decode", "A URL's query text without its escapes.", "url_decode('a+b%26c')", "a b&c", sig("string -> string", s1(urlDecode))),
		fn("parse_url", "A part of a URL: HOST, PATH, QUERY, REF, PROTOCOL, FILE, AUTHORITY, USERINFO, or the value of a key of the query.",
			"parse_url('http://spark.apache.org/path?query=1', 'QUERY', 'query')", "1",
			sig("string, string -> string", k2(func(u, part string) (string, error) { return parseURL(u, part, "") })),
			sig("string, string, string -> string", k3(parseURL))),
	}
}

func hexBytes(dst []byte, s string) ([]byte, error) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		dst = append(dst, digits[s[i]>>4], digits[s[i]&15])
	}
	return dst, nil
}

// asStrings casts arguments to STRING or ARRAY<STRING>.
func asStrings(kc *expr.KernelContext, args []expr.Vec) ([]arrow.Array, error) {
	out := make([]arrow.Array, 0, len(args))
	for _, a := range args {
		to := arrow.DataType(expr.TypeString)
		if l, ok := a.Arr.DataType().(*arrow.ListType); ok && l != nil {
			to = arrow.ListOf(expr.TypeString)
		}
		s, err := cast.Array(kc, a.Arr, to, false)
		if err != nil {
			vec.ReleaseAll(out)
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// bindFormat checks the kinds of arguments when it runs: a pattern may be a column.
func bindFormat(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) == 0 {
		return nil, e.mismatch(args)
	}
	out := []expr.Expr{coerce(args[0], expr.TypeString)}
	for _, a := range args[1:] {
		switch dt := a.Type(); {
		case isInt(dt):
			a = coerce(a, expr.TypeInt64)
		case isNumeric(dt):
			a = coerce(a, expr.TypeDouble)
		case dt.ID() == arrow.BOOL:
		default:
			a = coerce(a, expr.TypeString)
		}
		out = append(out, a)
	}
	n := *e
	n.nonStrict = true
	return n.newCall(formatKernel, out, expr.TypeString), nil
}

func formatKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args[:1], n)
	o := vec.NewStrOut(kc.Alloc, n)
	vals := make([]any, len(args)-1)
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		pattern := vec.StringsOf(args[0].Arr).Str(row(args[0], i))
		for k, a := range args[1:] {
			v, err := cast.Value(a.Arr, row(a, i))
			if err != nil {
				m.Release()
				o.Release()
				return nil, err
			}
			vals[k] = v
			if v == nil {
				vals[k] = nullArg{}
			}
		}
		s := fmt.Sprintf(pattern, vals...)
		if strings.Contains(s, "%!") {
			m.Release()
			o.Release()
			return nil, batch.UserErrorf("the pattern '%s' does not fit its arguments", pattern)
		}
		o.Append(s)
	}
	return o.Array(kc.Result, m)
}

// nullArg prints null under any verb.
type nullArg struct{}

// Format writes null, padded to the width.
func (nullArg) Format(f fmt.State, _ rune) {
	w, _ := f.Width()
	fmt.Fprintf(f, "%*s", w, "null")
}

func formatNumber(dst []byte, x float64, d int32) ([]byte, error) {
	if d < 0 || d > 100 {
		return nil, vec.ErrNull
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return cast.AppendFloat(dst, x, 64), nil
	}
	s := strconv.FormatFloat(math.Abs(x), 'f', int(d), 64)
	whole, frac, has := strings.Cut(s, ".")
	if x < 0 {
		dst = append(dst, '-')
	}
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, whole[i])
	}
	if has {
		dst = append(append(dst, '.'), frac...)
	}
	return dst, nil
}

func encode(dst []byte, s, set string) ([]byte, error) {
	switch strings.ToUpper(set) {
	case "UTF-8", "UTF8":
		return append(dst, s...), nil
	case "US-ASCII", "ISO-8859-1":
		limit := rune(0xFF)
		if strings.EqualFold(set, "US-ASCII") {
			limit = 0x7F
		}
		for _, r := range s {
			if r > limit {
				r = '?'
			}
			dst = append(dst, byte(r))
		}
		return dst, nil
	case "UTF-16", "UTF-16BE", "UTF-16LE":
		if strings.EqualFold(set, "UTF-16") {
			dst = append(dst, 0xFE, 0xFF)
		}
		for _, u := range utf16.Encode([]rune(s)) {
			if strings.EqualFold(set, "UTF-16LE") {
				dst = append(dst, byte(u), byte(u>>8))
			} else {
				dst = append(dst, byte(u>>8), byte(u))
			}
		}
		return dst, nil
	}
	return nil, batch.UserErrorf("unknown character set '%s'", set)
}

func decode(dst []byte, s, set string) ([]byte, error) {
	switch strings.ToUpper(set) {
	case "UTF-8", "UTF8":
		return append(dst, strings.ToValidUTF8(s, "\uFFFD")...), nil
	case "US-ASCII", "ISO-8859-1":
		ascii := strings.EqualFold(set, "US-ASCII")
		for i := 0; i < len(s); i++ {
			if ascii && s[i] >= utf8.RuneSelf {
				dst = utf8.AppendRune(dst, utf8.RuneError)
				continue
			}
			dst = utf8.AppendRune(dst, rune(s[i]))
		}
		return dst, nil
	case "UTF-16", "UTF-16BE", "UTF-16LE":
		little := strings.EqualFold(set, "UTF-16LE")
		if strings.EqualFold(set, "UTF-16") && len(s) >= 2 {
			little = s[0] == 0xFF && s[1] == 0xFE
			if little || s[0] == 0xFE && s[1] == 0xFF {
				s = s[2:]
			}
		}
		units := make([]uint16, 0, len(s)/2)
		for i := 0; i+1 < len(s); i += 2 {
			u := uint16(s[i])<<8 | uint16(s[i+1])
			if little {
				u = u>>8 | u<<8
			}
			units = append(units, u)
		}
		return append(dst, string(utf16.Decode(units))...), nil
	}
	return nil, batch.UserErrorf("unknown character set '%s'", set)
}

func decodeEntry() *Entry {
	e := fn("decode", "The string that bytes stand for in a character set; or, with more arguments, the result that stands behind the first value equal to the first argument, or the last one.",
		"decode(X'E9', 'ISO-8859-1')", "é", sig("binary, string -> string", s2(decode)))
	e.Usage = append(e.Usage, "decode(T, T, U, ...[, U]) -> U")
	e.bind = bindDecode
	return e
}

// formatPattern writes a number under a pattern such as #,##0.00.
func formatPattern(dst []byte, x float64, pattern string) ([]byte, error) {
	whole, frac, _ := strings.Cut(pattern, ".")
	if strings.Trim(whole, "#0,") != "" || strings.Trim(frac, "#0") != "" {
		return nil, batch.UserErrorf("the pattern '%s' may have only # 0 . and commas", pattern)
	}
	least := strings.Count(frac, "0")
	s := strconv.FormatFloat(roundFloat(math.Abs(x), int32(len(frac)), true), 'f', -1, 64)
	w, f, _ := strings.Cut(s, ".")
	w = strings.TrimLeft(w, "0")
	for len(w) < strings.Count(whole, "0") {
		w = "0" + w
	}
	for len(f) < least {
		f += "0"
	}
	if x < 0 {
		dst = append(dst, '-')
	}
	group := 0
	if i := strings.LastIndexByte(whole, ','); i >= 0 {
		group = len(whole) - i - 1
	}
	for i := range len(w) {
		if group > 0 && i > 0 && (len(w)-i)%group == 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, w[i])
	}
	if f != "" {
		dst = append(append(dst, '.'), f...)
	}
	return dst, nil
}

func bindReverse(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 1 {
		return nil, e.mismatch(args)
	}
	switch args[0].Type().ID() {
	case arrow.LIST:
		return e.newCall(reverseArrays, args, args[0].Type()), nil
	case arrow.BINARY:
		return e.newCall(s1(reverseBytes), args, expr.TypeBinary), nil
	}
	if isNested(args[0].Type()) {
		return nil, e.mismatch(args)
	}
	k := s1(func(dst []byte, s string) ([]byte, error) {
		for len(s) > 0 {
			_, w := utf8.DecodeLastRuneInString(s)
			dst = append(dst, s[len(s)-w:]...)
			s = s[:len(s)-w]
		}
		return dst, nil
	})
	return e.newCall(k, []expr.Expr{coerce(args[0], expr.TypeString)}, expr.TypeString), nil
}

func levenshtein(a, b string) int32 {
	x, y := []rune(a), []rune(b)
	prev := make([]int32, len(y)+1)
	for j := range prev {
		prev[j] = int32(j)
	}
	for i, c := range x {
		diag := prev[0]
		prev[0] = int32(i + 1)
		for j, d := range y {
			cost := diag + int32(b2u(c != d))
			diag = prev[j+1]
			prev[j+1] = min(cost, prev[j]+1, prev[j+1]+1)
		}
	}
	return prev[len(y)]
}

// soundexCodes are the digits of A to Z; 7 stands for H and W, which do not part equal codes.
const soundexCodes = "01230127022455012623017202"

func soundex(dst []byte, s string) ([]byte, error) {
	if s == "" {
		return dst, nil
	}
	letter := func(c byte) (byte, bool) {
		c &^= 0x20
		return c, c >= 'A' && c <= 'Z'
	}
	first, ok := letter(s[0])
	if !ok {
		return append(dst, s...), nil
	}
	out := []byte{first}
	last := soundexCodes[first-'A']
	for i := 1; i < len(s) && len(out) < 4; i++ {
		c, ok := letter(s[i])
		if !ok {
			last = '0'
			continue
		}
		code := soundexCodes[c-'A']
		if code == '7' {
			continue
		}
		if code != '0' && code != last {
			out = append(out, code)
		}
		last = code
	}
	for len(out) < 4 {
		out = append(out, '0')
	}
	return append(dst, out...), nil
}
