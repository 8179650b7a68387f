//go:build invariants && linux

package clock

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// SkewVariable names a file of eight bytes, in the order of the machine: how many seconds
// the wall clock of this process is ahead of the machine's. Whoever writes to it makes the
// clock jump at that moment. A program that is linked statically has no other way to be
// given a wrong clock alone, and the shipped one does not look.
const SkewVariable = "SLUICE_CLOCK_SKEW"

// skewed are the seconds of that file, shared with who writes it; nil without one.
var skewed = openSkew(os.Getenv(SkewVariable))

func openSkew(name string) *int64 {
	if name == "" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		//sluice:allow calls a test whose clock is right would test nothing; the shipped program has no such file
		panic(fmt.Sprintf("%s: %v", SkewVariable, err))
	}
	defer f.Close()
	b, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		//sluice:allow calls as above
		panic(fmt.Sprintf("%s: map %s: %v", SkewVariable, name, err))
	}
	return (*int64)(unsafe.Pointer(&b[0]))
}

// now is the time of a clock that somebody has set wrong.
func now() time.Time {
	t := time.Now()
	if skewed != nil {
		t = step(t, atomic.LoadInt64(skewed))
	}
	return t
}

// step moves the wall clock's reading alone, as a real step does. Add would move the
// monotonic one too. With both, a time holds the seconds since 1885 in 33 bits above the
// nanoseconds' 30 of its first word.
func step(t time.Time, seconds int64) time.Time {
	const nanosecondBits = 30
	*(*uint64)(unsafe.Pointer(&t)) += uint64(seconds) << nanosecondBits
	return t
}
