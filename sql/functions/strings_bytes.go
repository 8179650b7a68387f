package functions

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// byteStrings lists functions over bytes: their validity as UTF-8, and their
// other forms as text.
func byteStrings() []*Entry {
	either := func(k expr.Kernel) []Sig { return []Sig{sig("binary -> string", k), sig("string -> string", k)} }
	validate := func(try bool) expr.Kernel {
		return s1(func(dst []byte, s string) ([]byte, error) {
			switch {
			case utf8.ValidString(s):
				return append(dst, s...), nil
			case try:
				return nil, vec.ErrNull
			}
			return nil, batch.UserErrorf("[INVALID_UTF8_STRING] the bytes %X are no valid UTF-8; use try_validate_utf8 for NULL instead", s)
		})
	}
	toBinary := func(try bool) func(*Types) expr.Kernel {
		return func(*Types) expr.Kernel {
			k := s2(toBinary)
			if try {
				return tryKernel(k)
			}
			return k
		}
	}
	return []*Entry{
		fn("is_valid_utf8", "Whether the bytes are valid UTF-8.", "is_valid_utf8(X'61C262')", "false",
			sig("binary -> boolean", k1(func(b []byte) (bool, error) { return utf8.Valid(b), nil })), sig("string -> boolean", p1(utf8.ValidString))).safe().tight(),
		fn("make_valid_utf8", "The bytes as a string, with what is no UTF-8 replaced by U+FFFD.", "make_valid_utf8(X'61C262')", "a\uFFFDb",
			either(s1(makeValid))...).safe().tight(),
		fn("validate_utf8", "The bytes as a string if they are valid UTF-8, else an error.", "validate_utf8(X'6162')", "ab", either(validate(false))...),
		fn("try_validate_utf8", "The bytes as a string if they are valid UTF-8, else NULL.", "try_validate_utf8(X'80')", "NULL", either(validate(true))...),
		fn("to_base32", "Bytes in base 32.", "to_base32('foobar')", "MZXW6YTBOI======", sig("binary -> string", s1(func(dst []byte, s string) ([]byte, error) {
			return base32.StdEncoding.AppendEncode(dst, []byte(s)), nil
		}))).safe().tight(),
		fn("from_base32", "The bytes that base 32 text stands for.", "CAST(from_base32('MZXW6YTBOI======') AS STRING)", "foobar", sig("string -> binary", s1(func(dst []byte, s string) ([]byte, error) {
			out, err := base32.StdEncoding.AppendDecode(dst, []byte(strings.ToUpper(s)))
			if err != nil {
				return nil, batch.UserErrorf("[CONVERSION_INVALID_INPUT] '%s' is not base 32", s)
			}
			return out, nil
		}))),
		fn("to_binary", "The bytes of a text in the form hex, base64 or utf-8.", "hex(to_binary('abc', 'utf-8'))", "616263", sig("string, string = 'hex' -> binary", toBinary(false))),
		fn("try_to_binary", "Like to_binary, but NULL where the text has not the form.", "try_to_binary('a!', 'base64')", "NULL", sig("string, string = 'hex' -> binary", toBinary(true))),
		fn("hmac", "The keyed digest of a message: with SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512.", "hex(hmac('key', 'message', 'SHA-1'))", "2088DF74D5F2146B48146CAF4965377E9D0BE3A4",
			sig("binary, binary, string = 'SHA-256' -> binary", s3(keyedDigest))),
	}
}

func makeValid(dst []byte, s string) ([]byte, error) {
	for len(s) > 0 {
		r, w := utf8.DecodeRuneInString(s)
		dst = utf8.AppendRune(dst, r)
		s = s[w:]
	}
	return dst, nil
}

func toBinary(dst []byte, s, form string) ([]byte, error) {
	var err error
	switch strings.ToLower(form) {
	case "hex":
		if len(s)%2 == 1 {
			s = "0" + s
		}
		dst, err = hex.AppendDecode(dst, []byte(s))
	case "base64":
		dst, err = base64.StdEncoding.AppendDecode(dst, []byte(strings.Map(noSpace, s)))
	case "utf-8", "utf8":
		return append(dst, s...), nil
	default:
		return nil, batch.UserErrorf("[INVALID_FORMAT] '%s' is not 'hex', 'base64' or 'utf-8'", form)
	}
	if err != nil {
		return nil, batch.UserErrorf("[CONVERSION_INVALID_INPUT] '%s' is not %s; use try_to_binary for NULL instead", s, form)
	}
	return dst, nil
}

func noSpace(r rune) rune {
	if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
		return -1
	}
	return r
}

func keyedDigest(dst []byte, key, msg, name string) ([]byte, error) {
	sum := map[string]func() hash.Hash{"SHA-1": sha1.New, "SHA1": sha1.New, "SHA-224": sha256.New224, "SHA-256": sha256.New, "SHA256": sha256.New,
		"SHA-384": sha512.New384, "SHA-512": sha512.New, "SHA512": sha512.New}[strings.ToUpper(name)]
	if sum == nil {
		return nil, batch.UserErrorf("unknown digest '%s'; there are SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512", name)
	}
	m := hmac.New(sum, []byte(key))
	m.Write([]byte(msg))
	return m.Sum(dst), nil
}

// padBytes pads bytes, with zeros if no pattern is given.
func padBytes(left bool) expr.Kernel {
	return s3(func(dst []byte, s string, n int32, p string) ([]byte, error) {
		switch {
		case int(n) <= len(s) || p == "":
			return append(dst, s[:min(max(int(n), 0), len(s))]...), nil
		case int(n) > resultMax:
			return nil, errTooLong
		}
		fill := int(n) - len(s)
		if !left {
			dst = append(dst, s...)
		}
		for k := range fill {
			dst = append(dst, p[k%len(p)])
		}
		if left {
			dst = append(dst, s...)
		}
		return dst, nil
	})
}

func overlayBytes(dst []byte, s, by string, pos, n int32) ([]byte, error) {
	if n < 0 {
		n = int32(len(by))
	}
	i := min(max(int(pos)-1, 0), len(s))
	j := min(max(int(pos)-1+int(n), 0), len(s))
	return append(append(append(dst, s[:i]...), by...), s[max(i, j):]...), nil
}

func reverseBytes(dst []byte, s string) ([]byte, error) {
	at := len(dst)
	dst = append(dst, s...)
	slices.Reverse(dst[at:])
	return dst, nil
}
