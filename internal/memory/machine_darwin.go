package memory

import "golang.org/x/sys/unix"

// installed asks the kernel, since macOS has no file that says it.
func installed() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}
