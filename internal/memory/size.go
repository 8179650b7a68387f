package memory

import (
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
