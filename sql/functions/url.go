package functions

import (
	"net/url"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func urlEncode(dst []byte, s string) ([]byte, error) { return append(dst, url.QueryEscape(s)...), nil }

func urlDecode(dst []byte, s string) ([]byte, error) {
	out, err := url.QueryUnescape(s)
	if err != nil {
		return nil, batch.UserErrorf("[CANNOT_DECODE_URL] '%s': %w", s, err)
	}
	return append(dst, out...), nil
}

// parseURL returns a part of a URL, NULL if the URL has none or is none.
func parseURL(s, part, key string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", vec.ErrNull
	}
	var out string
	switch part {
	case "HOST":
		out = u.Hostname()
	case "PATH":
		out = u.EscapedPath()
		return out, nil
	case "QUERY":
		if key != "" {
			return queryValue(u.RawQuery, key)
		}
		out = u.RawQuery
	case "REF":
		out = u.EscapedFragment()
	case "PROTOCOL":
		out = u.Scheme
	case "FILE":
		out = u.EscapedPath()
		if u.RawQuery != "" {
			out += "?" + u.RawQuery
		}
		return out, nil
	case "AUTHORITY":
		out = u.Host
		if u.User != nil {
			out = u.User.String() + "@" + u.Host
		}
	case "USERINFO":
		if u.User != nil {
			out = u.User.String()
		}
	}
	if out == "" {
		return "", vec.ErrNull
	}
	return out, nil
}

func queryValue(query, key string) (string, error) {
	for part := range strings.SplitSeq(query, "&") {
		if k, v, ok := strings.Cut(part, "="); ok && k == key {
			return v, nil
		}
	}
	return "", vec.ErrNull
}
