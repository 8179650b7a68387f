package memory

import (
	"os"
	"strconv"
	"strings"
)

// fallbackMachine is what is assumed where the system does not tell.
const fallbackMachine = 4 << 30

// Machine returns the bytes of memory that this process may use: the machine's,
// or less where its control group says so.
func Machine() int64 {
	total := int64(fallbackMachine)
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if kb, ok := field(string(text), "MemTotal:"); ok {
			total = kb << 10
		}
	}
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 {
			total = min(total, n)
		}
	}
	return total
}

// field returns the number behind a name at the start of a line.
func field(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
