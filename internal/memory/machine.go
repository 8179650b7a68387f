package memory

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// unknownMachine is what a machine is taken to have that does not tell.
const unknownMachine = 4 << 30

// Machine returns the bytes of memory that this process may use: the
// machine's, or less where the process lives in a container (a control group)
// with a limit.
func Machine() int64 {
	if n := system(); n > 0 {
		return n
	}
	return unknownMachine
}

// system reads the kernel's files, and asks the kernel where there are none.
func system() int64 {
	if n := fromFiles(os.DirFS("/")); n > 0 {
		return n
	}
	return installed()
}

// fromFiles returns the least of Linux's total and the limits of the control
// groups that the process is in, 0 where the files are missing.
func fromFiles(root fs.FS) int64 {
	least := memTotal(readLines(root, "proc/meminfo"))
	if least == 0 {
		return 0
	}
	// The roots count even where the process cannot read which groups it is in.
	least = groupLimit(root, "sys/fs/cgroup", "/", "memory.max", least)
	least = groupLimit(root, "sys/fs/cgroup/memory", "/", "memory.limit_in_bytes", least)
	for _, line := range readLines(root, "proc/self/cgroup") {
		// hierarchy:controllers:path; version 2 has one line with no controllers.
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[1] == "":
			least = min(least, groupLimit(root, "sys/fs/cgroup", parts[2], "memory.max", least))
		case strings.Contains(","+parts[1]+",", ",memory,"):
			least = min(least, groupLimit(root, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes", least))
		}
	}
	return least
}

// groupLimit walks from a group up to the root of its hierarchy, for a limit
// holds for everything below it. A path that is not there is outside what the
// container sees; its parents may be.
func groupLimit(root fs.FS, base, group, file string, least int64) int64 {
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		for _, line := range readLines(root, path.Join(base, dir, file)) {
			// "max", or a number near 2^63 in version 1, stand for no limit.
			if n, err := strconv.ParseInt(line, 10, 64); err == nil && n > 0 {
				least = min(least, n)
			}
		}
		if dir == "/" {
			return least
		}
	}
}

// memTotal finds the line "MemTotal:  16303428 kB".
func memTotal(lines []string) int64 {
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "MemTotal:" {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// readLines returns no lines for a file that cannot be read: the caller asks
// several places and each may be missing.
func readLines(root fs.FS, name string) []string {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}
