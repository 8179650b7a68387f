package functions

import (
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// urlEncode escapes as a form does: a blank is a plus.
func urlEncode(dst []byte, s string) ([]byte, error) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0:
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst, nil
}

func urlDecode(dst []byte, s string) ([]byte, error) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			dst = append(dst, ' ')
		case '%':
			if i+2 >= len(s) || digitOf(s[i+1]) > 15 || digitOf(s[i+2]) > 15 {
				return nil, batch.UserErrorf("[CANNOT_DECODE_URL] '%s' has a %% without two hexadecimal digits", s)
			}
			dst = append(dst, byte(digitOf(s[i+1])<<4|digitOf(s[i+2])))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst, nil
}

// urlParts is a URL cut as RFC 3986, appendix B, does.
type urlParts struct {
	scheme, authority, path, query, ref string
	hasAuthority, hasQuery, hasRef      bool
}

func cutURL(s string) urlParts {
	var u urlParts
	s, u.ref, u.hasRef = strings.Cut(s, "#")
	s, u.query, u.hasQuery = strings.Cut(s, "?")
	if scheme, rest, ok := strings.Cut(s, ":"); ok && !strings.Contains(scheme, "/") {
		u.scheme, s = scheme, rest
	}
	if rest, ok := strings.CutPrefix(s, "//"); ok {
		u.hasAuthority = true
		u.authority, s = rest, ""
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			u.authority, s = rest[:i], rest[i:]
		}
	}
	u.path = s
	return u
}

// parseURL returns a part of a URL, NULL if the URL has none.
func parseURL(s, part, key string) (string, error) {
	if strings.ContainsAny(s, " <>\"{}|\\^`") {
		return "", batch.UserErrorf("[INVALID_URL] '%s' is no URL; use try_parse_url for NULL instead", s)
	}
	u := cutURL(s)
	user, host := "", u.authority
	hasUser := false
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		user, host, hasUser = host[:i], host[i+1:], true
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	pick := func(v string, ok bool) (string, error) {
		if !ok {
			return "", vec.ErrNull
		}
		return v, nil
	}
	switch part {
	case "HOST":
		return pick(host, host != "")
	case "PATH":
		return u.path, nil
	case "QUERY":
		if key != "" {
			return queryValue(u.query, key)
		}
		return pick(u.query, u.hasQuery)
	case "REF":
		return pick(u.ref, u.hasRef)
	case "PROTOCOL":
		return pick(u.scheme, u.scheme != "")
	case "FILE":
		if u.hasQuery {
			return u.path + "?" + u.query, nil
		}
		return u.path, nil
	case "AUTHORITY":
		return pick(u.authority, u.hasAuthority && u.authority != "")
	case "USERINFO":
		return pick(user, hasUser)
	}
	return "", vec.ErrNull
}

func queryValue(query, key string) (string, error) {
	for part := range strings.SplitSeq(query, "&") {
		if k, v, ok := strings.Cut(part, "="); ok && k == key {
			return v, nil
		}
	}
	return "", vec.ErrNull
}

// tryURLs lists the functions over URLs that are NULL where the others fail.
func tryURLs() []*Entry {
	two := k2(func(u, part string) (string, error) { return parseURL(u, part, "") })
	return []*Entry{
		fn("try_parse_url", "Like parse_url, but NULL where the text is no URL.", "try_parse_url('inva lid://spark.apache.org', 'HOST')", "NULL",
			sig("string, string -> string", tryKernel(two)), sig("string, string, string -> string", tryKernel(k3(parseURL)))),
		fn("try_url_decode", "Like url_decode, but NULL where the text has a broken escape.", "try_url_decode('a%2')", "NULL", sig("string -> string", tryKernel(s1(urlDecode)))),
	}
}
