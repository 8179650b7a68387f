package options

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ParseDuration reads Go's form ("1h30m", "100ms") and SQL's ("1 second", "5 minutes 30 seconds").
func ParseDuration(s string) (time.Duration, error) {
	t := strings.TrimSpace(strings.ToLower(s))
	if d, err := time.ParseDuration(strings.ReplaceAll(t, " ", "")); err == nil {
		return d, nil
	}
	f := strings.FieldsFunc(t, unicode.IsSpace)
	if len(f) == 0 || len(f)%2 != 0 {
		return 0, fmt.Errorf("cannot read duration %q", s)
	}
	var sum time.Duration
	for i := 0; i < len(f); i += 2 {
		n, err := strconv.ParseFloat(f[i], 64)
		unit, ok := durationUnits[strings.TrimSuffix(f[i+1], "s")]
		if err != nil || !ok {
			return 0, fmt.Errorf("cannot read duration %q", s)
		}
		sum += time.Duration(n * float64(unit))
	}
	return sum, nil
}

var durationUnits = map[string]time.Duration{
	"nanosecond": time.Nanosecond, "n": time.Nanosecond,
	"microsecond": time.Microsecond, "u": time.Microsecond,
	"millisecond": time.Millisecond, "milli": time.Millisecond, "m": time.Millisecond, // "ms" less its s
	"second": time.Second, "sec": time.Second, "": time.Second,
	"minute": time.Minute, "min": time.Minute,
	"hour": time.Hour, "h": time.Hour, "day": 24 * time.Hour, "d": 24 * time.Hour, "week": 7 * 24 * time.Hour,
}

// ParseBytes reads a number of bytes with an optional unit: kB, MB, GB, TB are
// powers of 1000 and KiB, MiB, GiB, TiB of 1024; a bare K, M, G or T means the latter.
func ParseBytes(s string) (int64, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	i := strings.LastIndexAny(t, "0123456789.") + 1
	n, err := strconv.ParseFloat(strings.ReplaceAll(t[:i], "_", ""), 64)
	mul, ok := byteUnits[strings.TrimSpace(t[i:])]
	if err != nil || !ok || n < 0 || n*mul > 1<<62 {
		return 0, fmt.Errorf("cannot read size %q", s)
	}
	return int64(n * mul), nil
}

var byteUnits = map[string]float64{
	"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}
