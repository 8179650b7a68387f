package memory

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units in falling order, binary as in the machine's own accounts.
var units = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1},
}

// FormatBytes prints a size for people: 1.5 GiB.
func FormatBytes(n int64) string {
	for _, u := range units {
		if n >= u.bytes && u.bytes > 1 {
			s := strconv.FormatFloat(float64(n)/float64(u.bytes), 'f', 1, 64)
			return strings.TrimSuffix(s, ".0") + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

// ParseBytes reads a size as users write it: 1073741824, 512MB, 1.5 GiB, 4g. All
// units are binary, whichever way they are spelled.
func ParseBytes(s string) (int64, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz ")
	suffix := strings.TrimSpace(text[len(digits):])
	factor := int64(0)
	for _, u := range units {
		name := strings.ToLower(u.name)
		short := name[:1]
		if suffix == name || suffix == short || suffix == short+"b" && name != "b" {
			factor = u.bytes
		}
	}
	if suffix == "" {
		factor = 1
	}
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || factor == 0 || v < 0 || math.IsNaN(v) || v*float64(factor) >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q: want a number with an optional unit, such as 512MB or 4GiB", s)
	}
	return int64(v * float64(factor)), nil
}
