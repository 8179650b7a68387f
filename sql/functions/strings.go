package functions

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func strs() []*Entry {
	es := []*Entry{
		special("concat", "concat(string...) -> string; concat(array<T>...) -> array<T>; concat(binary...) -> binary",
			"The arguments joined; NULL if one is.", "'a' || 'b' || 1", "ab1", bindConcat).op("||"),
		fn("concat_ws", "Strings (and arrays of strings) joined with a separator, leaving out NULLs.", "concat_ws(', ', 'a', NULL, 'b')", "a, b",
			sig("string, any... -> string", concatWS)).lax(),
		fn("length|char_length|character_length|len", "How many characters a string has, or bytes a binary.", "length('naïve')", "5",
			sig("string -> int", lengthColumn(p1(func(s string) int32 { return int32(utf8.RuneCountInString(s)) }))),
			sig("binary -> int", p1(func(b []byte) int32 { return int32(len(b)) }))).safe().tight(),
		fn("octet_length", "How many bytes a string has.", "octet_length('naïve')", "6", sig("string -> int", p1(func(s string) int32 { return int32(len(s)) }))).safe().tight(),
		fn("bit_length", "How many bits a string has.", "bit_length('ab')", "16", sig("string -> int", p1(func(s string) int32 { return int32(len(s)) * 8 }))).safe().tight(),
		caseFn("upper|ucase", "In upper case.", "upper('abc')", "ABC", unicode.ToUpper, 'a', 'z'),
		caseFn("lower|lcase", "In lower case.", "lower('ABC')", "abc", unicode.ToLower, 'A', 'Z'),
		fn("initcap", "Each word's first letter in upper case, the others in lower.", "initcap('hello wORLD')", "Hello World", sig("string -> string", s1(initcap))).safe().tight(),
		trim("trim", "Without blanks (or the given characters) at both ends.", "trim('  x ')", "x", true, true),
		trim("ltrim", "Without blanks (or the given characters) at the start.", "ltrim('  x')", "x", true, false),
		trim("rtrim", "Without blanks (or the given characters) at the end.", "rtrim('x  ')", "x", false, true),
		fn("btrim", "Without the given characters (or blanks) at both ends.", "btrim('xxhixx', 'x')", "hi",
			sig("string, string = ' ' -> string", p2(func(s, set string) string { return strings.Trim(s, set) }))).safe().tight(),
		fn("substring|substr|mid", "A part of a string: from a position (counted from 1, or from the end if negative), of a length.",
			"substring('Spark SQL', 5, 1)", "k",
			sig("string, int, int = 2147483647 -> string", k3(func(s string, pos, n int32) (string, error) { return substring(s, pos, n), nil })),
			sig("binary, int, int = 2147483647 -> binary", k3(func(s []byte, pos, n int32) ([]byte, error) {
				i, j := cut(len(s), pos, n)
				return s[i:j], nil
			}))).safe().tight(),
		fn("substring_index", "What comes before the n-th delimiter, or after it counted from the end.", "substring_index('www.apache.org', '.', 2)", "www.apache",
			sig("string, string, int -> string", k3(func(s, d string, n int32) (string, error) { return substringIndex(s, d, n), nil }))).safe().tight(),
		fn("left", "The first n characters.", "left('Spark', 2)", "Sp", sig("string, int -> string", p2(func(s string, n int32) string { return substring(s, 1, max(n, 0)) })),
			sig("binary, int -> binary", k2(func(b []byte, n int32) ([]byte, error) { return b[:min(max(int(n), 0), len(b))], nil }))).safe().tight(),
		fn("right", "The last n characters.", "right('Spark', 2)", "rk", sig("string, int -> string", p2(func(s string, n int32) string {
			if n <= 0 {
				return ""
			}
			return substring(s, -n, n)
		}))).safe().tight(),
		pad("lpad", "Padded on the left to a length, or cut to it.", "lpad('hi', 5, '?')", "???hi", true),
		pad("rpad", "Padded on the right to a length, or cut to it.", "rpad('hi', 5, '?')", "hi???", false),
		fn("replace", "Every occurrence of a string replaced by another.", "replace('abcabc', 'b', 'x')", "axcaxc",
			sig("string, string, string = '' -> string", withoutColumn(s3(replace)))).safe().tight(),
		fn("translate", "Each character found in the second argument replaced by the one at its place in the third.", "translate('AaBbCc', 'abc', '123')", "A1B2C3",
			sig("string, string, string -> string", s3(translate))).safe().tight(),
		fn("overlay", "A part of a string, from a position and of a length, replaced by another string.", "overlay('Spark SQL', '_', 6)", "Spark_SQL",
			sig("string, string, int, int = -1 -> string", s4(overlay)),
			sig("binary, binary, int, int = -1 -> binary", s4(overlayBytes))).safe().tight(),
	}
	es[0].Names = []string{"||", "concat"}
	return slices.Concat(es, searches(), formats(), numberFormats(), byteStrings(), texts(), tryURLs())
}

// searches lists functions that look for one string in another or repeat one.
func searches() []*Entry {
	return []*Entry{
		special("reverse", "reverse(string) -> string; reverse(array<T>) -> array<T>", "A string or array back to front.", "reverse('abc')", "cba", bindReverse),
		fn("repeat", "A string n times.", "repeat('ab', 3)", "ababab", sig("string, int -> string", s2(repeat))),
		fn("space", "n blanks.", "length(space(3))", "3", sig("int -> string", s1(func(dst []byte, n int32) ([]byte, error) { return repeat(dst, " ", n) }))),
		fn("instr", "The position of a string in another from 1, or 0.", "instr('SparkSQL', 'SQL')", "6", sig("string, string -> int", p2(func(s, sub string) int32 { return locate(sub, s, 1) })),
			sig("string, string, int, int = 1 -> int", k4(instrFrom))).tight(),
		fn("locate|position|charindex", "The position of the first argument in the second from 1 (or from a start), or 0.", "locate('bar', 'foobarbar', 5)", "7",
			sig("string, string, int = 1 -> int", k3(func(sub, s string, at int32) (int32, error) { return locate(sub, s, at), nil }))).safe().tight(),
		fn("split_part|split_index", "The n-th part of a string split at a delimiter, from 1 (from the end if negative), or empty.", "split_part('a,b,c', ',', 2)", "b",
			sig("string, string, int -> string", splitColumn(k3(splitPart)))),
		fn("startswith", "Whether a string begins with another.", "startswith('Spark', 'Sp')", "true", sig("string, string -> boolean", p2(strings.HasPrefix))).safe().tight(),
		fn("endswith", "Whether a string ends with another.", "endswith('Spark', 'rk')", "true", sig("string, string -> boolean", p2(strings.HasSuffix))).safe().tight(),
		fn("contains", "Whether a string holds another.", "contains('Spark', 'ar')", "true", sig("string, string -> boolean", p2(strings.Contains))).safe().tight(),
		fn("ascii", "The code of the first character, or 0.", "ascii('A')", "65", sig("string -> int", p1(func(s string) int32 {
			if s == "" {
				return 0
			}
			r, _ := utf8.DecodeRuneInString(s)
			return r
		}))).safe().tight(),
		fn("chr|char", "The character with a code (modulo 256).", "chr(65)", "A", sig("bigint -> string", s1(func(dst []byte, n int64) ([]byte, error) {
			if n < 0 {
				return dst, nil
			}
			return utf8.AppendRune(dst, rune(n&0xFF)), nil
		}))).safe().tight(),
		fn("levenshtein", "How many characters must be put in, taken out or changed to turn one string into the other.", "levenshtein('kitten', 'sitting')", "3",
			sig("string, string -> int", k2(func(a, b string) (int32, error) { return levenshtein(a, b), nil })),
			sig("string, string, int -> int", k3(func(a, b string, most int32) (int32, error) {
				if d := levenshtein(a, b); d <= most {
					return d, nil
				}
				return -1, nil
			}))).safe().tight(),
		fn("soundex", "The Soundex code.", "soundex('Miller')", "M460", sig("string -> string", s1(soundex))).safe().tight(),
		fn("find_in_set", "The place of a string in a comma-separated list from 1, or 0.", "find_in_set('b', 'a,b,c')", "2",
			sig("string, string -> int", p2(findInSet))).safe().tight(),
		fn("strpos", "The position of the second argument in the first from 1, or 0.", "strpos('abc', 'c')", "3", sig("string, string -> int", p2(func(s, sub string) int32 { return locate(sub, s, 1) }))).safe().tight(),
	}
}

// bindConcat casts everything to STRING unless all are binary or arrays.
func bindConcat(e *Entry, args []expr.Expr) (expr.Expr, error) {
	kind := arrow.NULL
	for _, a := range args {
		switch id := a.Type().ID(); {
		case id == arrow.LIST:
			kind = id
		case id == arrow.BINARY && kind != arrow.LIST && kind != arrow.STRING:
			kind = id
		case id != arrow.NULL && kind != arrow.LIST && id != arrow.BINARY:
			kind = arrow.STRING
		}
	}
	if kind == arrow.LIST {
		out, dt, err := Coerce(e.Name(), args)
		if err != nil {
			return nil, err
		}
		return e.newCall(concatArrays, out, dt), nil
	}
	dt := arrow.DataType(expr.TypeString)
	if kind == arrow.BINARY {
		dt = expr.TypeBinary
	}
	// a || b || c is one call of three arguments.
	var out []expr.Expr
	for _, a := range args {
		if isNested(a.Type()) {
			return nil, e.mismatch(args)
		}
		if c, ok := a.(*expr.Call); ok && c.Func.Name == "||" && arrow.TypeEqual(c.DT, dt) {
			out = append(out, c.Args...)
			continue
		}
		out = append(out, coerce(a, dt))
	}
	if len(out) == 0 {
		return expr.Text(""), nil
	}
	c := e.newCall(concatKernel, out, dt)
	c.Func.Total, c.Null = true, false
	for _, a := range out {
		c.Null = c.Null || a.Nullable()
	}
	return c, nil
}

func concatKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	o := vec.NewStrOut(kc.Alloc, n)
	views := make([]vec.Strings, len(args))
	for k, a := range args {
		if a.Arr.DataType().ID() != arrow.NULL {
			views[k] = vec.StringsOf(a.Arr)
		}
	}
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		dst := o.Begin()
		for k, v := range views {
			dst = append(dst, v.At(row(args[k], i))...)
		}
		o.End(dst)
	}
	return o.Array(kc.Result, m)
}

func concatWS(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args[:1], n)
	if args[0].Const && m.AllNull() {
		m.Release()
		return vec.NullArray(kc.Alloc, kc.Result, n), nil
	}
	cols, err := asStrings(kc, args[1:])
	if err != nil {
		m.Release()
		return nil, err
	}
	defer vec.ReleaseAll(cols)
	seps := vec.StringsOf(args[0].Arr)
	o := vec.NewStrOut(kc.Alloc, n)
	for i := range n {
		dst := o.Begin()
		sep, first := seps.At(row(args[0], i)), true
		put := func(col vec.Strings, arr arrow.Array, r int) {
			if vec.IsNull(arr, r) {
				return
			}
			if !first {
				dst = append(dst, sep...)
			}
			first = false
			dst = append(dst, col.At(r)...)
		}
		for k, c := range cols {
			r := row(args[k+1], i)
			if c.DataType().ID() != arrow.LIST {
				put(vec.StringsOf(c), c, r)
				continue
			}
			if v := vec.ListOf(c); c.IsValid(r) {
				for j := v.Start(r); j < v.End(r); j++ {
					put(vec.StringsOf(v.Elems), v.Elems, j)
				}
			}
		}
		o.End(dst)
	}
	return o.Array(kc.Result, m)
}

// caseFn maps letters. ASCII goes byte by byte.
func caseFn(names, doc, ex, res string, f func(rune) rune, lo, hi byte) *Entry {
	return fn(names, doc, ex, res, sig("string -> string", caseColumn(lo, hi, s1(func(dst []byte, s string) ([]byte, error) {
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c >= utf8.RuneSelf {
				for _, r := range s[i:] {
					dst = utf8.AppendRune(dst, f(r))
				}
				return dst, nil
			}
			if c >= lo && c <= hi {
				c ^= 0x20
			}
			dst = append(dst, c)
		}
		return dst, nil
	})))).safe().tight()
}

func initcap(dst []byte, s string) ([]byte, error) {
	start := true
	for _, r := range s {
		if start {
			dst = utf8.AppendRune(dst, unicode.ToTitle(r))
		} else {
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
		start = r == ' '
	}
	return dst, nil
}

// trim takes the string, or as Spark has it for two arguments the characters and the string.
func trim(name, doc, ex, res string, left, right bool) *Entry {
	f := func(s, set string) string {
		if left {
			s = strings.TrimLeft(s, set)
		}
		if right {
			s = strings.TrimRight(s, set)
		}
		return s
	}
	return fn(name, doc, ex, res,
		sig("string -> string", p1(func(s string) string { return f(s, " ") })),
		sig("string, string -> string", p2(func(set, s string) string { return f(s, set) }))).safe().tight()
}

// cut returns the bounds of a part of size elements, position from 1.
func cut(size int, pos, n int32) (int, int) {
	start := int(pos)
	if start > 0 {
		start--
	} else if start < 0 {
		start += size
	}
	end := start + int(n)
	return min(max(start, 0), size), max(min(end, size), min(max(start, 0), size))
}

func substring(s string, pos, n int32) string {
	if isASCII(s) {
		i, j := cut(len(s), pos, n)
		return s[i:j]
	}
	i, j := cut(utf8.RuneCountInString(s), pos, n)
	return s[byteAt(s, i):byteAt(s, j)]
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// byteAt returns where the character with index n begins.
func byteAt(s string, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, w := utf8.DecodeRuneInString(s[at:])
		at += w
	}
	return at
}

func substringIndex(s, d string, n int32) string {
	if d == "" || n == 0 {
		return ""
	}
	if n > 0 {
		at := 0
		for ; n > 0; n-- {
			i := strings.Index(s[at:], d)
			if i < 0 {
				return s
			}
			at += i + len(d)
		}
		return s[:at-len(d)]
	}
	end := len(s)
	for ; n < 0; n++ {
		i := strings.LastIndex(s[:end], d)
		if i < 0 {
			return s
		}
		end = i
	}
	return s[end+len(d):]
}

// resultMax bounds what one row of a string function may give.
const resultMax = 1 << 28

func pad(name, doc, ex, res string, left bool) *Entry {
	return fn(name, doc, ex, res, sig("string, int, string = ' ' -> string", s3(func(dst []byte, s string, n int32, p string) ([]byte, error) {
		have := utf8.RuneCountInString(s)
		if int(n) <= have || p == "" {
			return append(dst, substring(s, 1, max(n, 0))...), nil
		}
		if int(n) > resultMax {
			return nil, errTooLong
		}
		if !left {
			dst = append(dst, s...)
		}
		for k := int(n) - have; k > 0; {
			for _, r := range p {
				if k == 0 {
					break
				}
				dst = utf8.AppendRune(dst, r)
				k--
			}
		}
		if left {
			dst = append(dst, s...)
		}
		return dst, nil
	})), sig("binary, int -> binary", func(*Types) expr.Kernel { return padZeros(left) }), sig("binary, int, binary -> binary", padBytes(left)))
}

// padZeros pads bytes with zeros.
func padZeros(left bool) expr.Kernel {
	k := padBytes(left)
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		zero, err := (&expr.Literal{Value: []byte{0}, DT: expr.TypeBinary}).Array(kc.Alloc)
		if err != nil {
			return nil, err
		}
		defer zero.Release()
		return k(kc, append(args[:2:2], expr.Vec{Arr: zero, Const: true}), n)
	}
}

var errTooLong = batch.UserErrorf("the string would have more than %d bytes", resultMax)

func replace(dst []byte, s, old, by string) ([]byte, error) {
	if old == "" {
		return append(dst, s...), nil
	}
	for {
		i := strings.Index(s, old)
		if i < 0 {
			return append(dst, s...), nil
		}
		dst = append(append(dst, s[:i]...), by...)
		s = s[i+len(old):]
	}
}

func translate(dst []byte, s, from, to string) ([]byte, error) {
	for _, r := range s {
		i := strings.IndexRune(from, r)
		if i < 0 {
			dst = utf8.AppendRune(dst, r)
			continue
		}
		k := utf8.RuneCountInString(from[:i])
		if at := byteAt(to, k); at < len(to) {
			c, _ := utf8.DecodeRuneInString(to[at:])
			dst = utf8.AppendRune(dst, c)
		}
	}
	return dst, nil
}

func overlay(dst []byte, s, by string, pos, n int32) ([]byte, error) {
	if n < 0 {
		n = int32(utf8.RuneCountInString(by))
	}
	size := utf8.RuneCountInString(s)
	i := min(max(int(pos)-1, 0), size)
	j := min(max(int(pos)-1+int(n), 0), size)
	dst = append(dst, s[:byteAt(s, i)]...)
	return append(append(dst, by...), s[byteAt(s, j):]...), nil
}

func repeat(dst []byte, s string, n int32) ([]byte, error) {
	if len(s)*int(max(n, 0)) > resultMax {
		return nil, errTooLong
	}
	for range max(n, 0) {
		dst = append(dst, s...)
	}
	return dst, nil
}

func locate(sub, s string, at int32) int32 {
	if at < 1 {
		return 0
	}
	start := byteAt(s, int(at)-1)
	if sub == "" {
		return at
	}
	i := strings.Index(s[start:], sub)
	if i < 0 {
		return 0
	}
	return int32(utf8.RuneCountInString(s[:start+i])) + 1
}

func splitPart(s, d string, n int32) (string, error) {
	if n == 0 {
		return "", batch.UserErrorf("[INVALID_INDEX_OF_ZERO] parts are counted from 1")
	}
	if d == "" {
		if n == 1 || n == -1 {
			return s, nil
		}
		return "", nil
	}
	if n < 0 {
		for {
			i := strings.LastIndex(s, d)
			if n == -1 {
				return s[max(i+len(d), 0)*int(b2u(i >= 0)):], nil
			}
			if i < 0 {
				return "", nil
			}
			s = s[:i]
			n++
		}
	}
	for ; n > 1; n-- {
		i := strings.Index(s, d)
		if i < 0 {
			return "", nil
		}
		s = s[i+len(d):]
	}
	if i := strings.Index(s, d); i >= 0 {
		s = s[:i]
	}
	return s, nil
}

func findInSet(s, list string) int32 {
	if strings.Contains(s, ",") {
		return 0
	}
	for n := int32(1); ; n++ {
		head, rest, more := strings.Cut(list, ",")
		if head == s {
			return n
		}
		if !more {
			return 0
		}
		list = rest
	}
}
