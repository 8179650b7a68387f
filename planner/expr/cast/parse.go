package cast

import (
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func showString(s string) string { return s }

func (c conv) fromString() expr.Kernel {
	switch c.to.ID() {
	case arrow.BOOL:
		return plain(c, showString, parseBool)
	case arrow.INT8:
		return plain(c, showString, parseInt[int8](8))
	case arrow.INT16:
		return plain(c, showString, parseInt[int16](16))
	case arrow.INT32:
		return plain(c, showString, parseInt[int32](32))
	case arrow.INT64:
		return plain(c, showString, parseInt[int64](64))
	case arrow.FLOAT32:
		return plain(c, showString, func(s string) (float32, code) {
			f, why := ParseFloat(s, 32)
			return float32(f), why
		})
	case arrow.FLOAT64:
		return plain(c, showString, func(s string) (float64, code) { return ParseFloat(s, 64) })
	case arrow.DECIMAL128:
		t, _ := dec.Of(c.to)
		return plain(c, showString, func(s string) (dec.Num, code) {
			v, bad, over := dec.Parse(strings.TrimSpace(s), t)
			if bad {
				return v, malformed
			}
			return v, overIf(over)
		})
	case arrow.BINARY:
		return vec.Reinterpret
	}
	return c.stringToTime()
}

func (c conv) stringToTime() expr.Kernel {
	switch c.to.ID() {
	case arrow.DATE32:
		return plain(c, showString, func(s string) (int32, code) {
			d, good := civil.ParseDate(s)
			return int32(d), badIf(!good)
		})
	case arrow.TIMESTAMP:
		local := c.to.(*arrow.TimestampType).TimeZone == ""
		return rows(c, showString, func(kc *expr.KernelContext) (func(string) (int64, code), error) {
			session, err := civil.Load(kc.Zone)
			return func(s string) (int64, code) {
				st, good := civil.ParseStamp(s)
				switch {
				case !good:
					return 0, malformed
				case local:
					return st.Local, ok
				case st.Zone != nil:
					return st.Zone.Instant(st.Local), ok
				default:
					return session.Instant(st.Local), ok
				}
			}, err
		})
	case arrow.INTERVAL_MONTHS:
		return plain(c, showString, func(s string) (int32, code) {
			m, good := civil.ParseMonths(s)
			return int32(m), badIf(!good || bareNumber(s))
		})
	case arrow.DURATION:
		return plain(c, showString, func(s string) (int64, code) {
			d, good := civil.ParseDuration(s)
			return d, badIf(!good || bareNumber(s))
		})
	case arrow.TIME64:
		return plain(c, showString, func(s string) (int64, code) {
			st, good := civil.ParseStamp("1970-01-01 " + strings.TrimSpace(s))
			return st.Local, badIf(!good || st.Zone != nil)
		})
	}
	return nil
}

func badIf(b bool) code {
	if b {
		return malformed
	}
	return ok
}

func parseBool(s string) (bool, code) {
	s = strings.TrimSpace(s)
	switch len(s) {
	case 1:
		switch s[0] {
		case 't', 'T', 'y', 'Y', '1':
			return true, ok
		case 'f', 'F', 'n', 'N', '0':
			return false, ok
		}
	default:
		switch {
		case strings.EqualFold(s, "true"), strings.EqualFold(s, "yes"):
			return true, ok
		case strings.EqualFold(s, "false"), strings.EqualFold(s, "no"):
			return false, ok
		}
	}
	return false, malformed
}

func parseInt[R integer](size int) func(string) (R, code) {
	lo, hi := int64(-1)<<(size-1), int64(1)<<(size-1)-1
	return func(s string) (R, code) {
		s = strings.TrimSpace(s)
		neg, i := false, 0
		if s != "" && (s[0] == '-' || s[0] == '+') {
			neg, i = s[0] == '-', 1
		}
		if i == len(s) {
			return 0, malformed
		}
		var v int64 // negative, because there is one more of those
		over := false
		for ; i < len(s); i++ {
			d := int64(s[i]) - '0'
			if d < 0 || d > 9 {
				return 0, malformed
			}
			if v < math.MinInt64/10 || v*10 < math.MinInt64+d {
				over = true
				continue
			}
			v = v*10 - d
		}
		if !neg {
			if v == math.MinInt64 {
				over = true
			}
			v = -v
		}
		// A number too great is malformed input to Spark too, not an overflow.
		if over || v < lo || v > hi {
			return 0, malformed
		}
		return R(v), ok
	}
}

// ParseFloat reads a number as Spark's cast does.
func ParseFloat(s string, size int) (float64, code) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, malformed
	}
	switch c := s[len(s)-1]; {
	case c >= '0' && c <= '9' || c == '.':
		if strings.ContainsAny(s, "xXpP_") {
			return 0, malformed
		}
		f, err := strconv.ParseFloat(s, size)
		if err != nil && !math.IsInf(f, 0) {
			return 0, malformed
		}
		return f, ok
	}
	switch strings.ToLower(s) {
	case "nan":
		return math.NaN(), ok
	case "inf", "+inf", "infinity", "+infinity":
		return math.Inf(1), ok
	case "-inf", "-infinity":
		return math.Inf(-1), ok
	}
	// A trailing d or f is a Java literal's suffix.
	if c := s[len(s)-1] | 0x20; (c == 'd' || c == 'f') && len(s) > 1 && (s[len(s)-2] >= '0' && s[len(s)-2] <= '9' || s[len(s)-2] == '.') {
		return ParseFloat(s[:len(s)-1], size)
	}
	return 0, malformed
}

func (c conv) fromBinary() expr.Kernel {
	if c.to.ID() == arrow.STRING {
		return vec.Str1(func(*expr.KernelContext) (vec.S1[string], error) {
			return func(dst []byte, a string) ([]byte, error) {
				return append(dst, strings.ToValidUTF8(a, "\uFFFD")...), nil
			}, nil
		})
	}
	return nil
}
