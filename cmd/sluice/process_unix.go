//go:build unix

package main

import (
	"fmt"
	"strconv"
	"syscall"
)

// confine keeps others from what the process leaves behind: its files are made with the
// mask, and no image of its memory is written when it crashes, for there are keys and
// tokens in it.
func confine(umask string) error {
	mask, err := strconv.ParseUint(umask, 8, 32)
	if err != nil || mask > 0o777 {
		return usageError{fmt.Errorf("--umask %s: want three octal digits such as 077", umask)}
	}
	if mask&0o700 != 0 {
		return usageError{fmt.Errorf("--umask %s: the process itself could not use its files", umask)}
	}
	syscall.Umask(int(mask))
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("turn core dumps off: %w", err)
	}
	return nil
}
