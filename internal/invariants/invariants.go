package invariants

import (
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
)

// Violation is a broken invariant: the value that Assert and Unreachable panic
// with, and the error that Check returns.
type Violation struct {
	Message string
	Where   string // file:line of the assertion
}

// Error names the invariant and where it was stated.
func (v *Violation) Error() string {
	return fmt.Sprintf("broken invariant (%s): %s; this is a bug in Sluice, please report it", v.Where, v.Message)
}

var (
	violations atomic.Int64
	reporter   atomic.Pointer[func(*Violation)]
)

// Violations counts the broken invariants of this process, for metrics.
func Violations() int64 { return violations.Load() }

// OnViolation replaces what happens with a breach that Assert goes on from:
// by default it is logged as an error. It returns a function that puts the
// reporter of before back.
func OnViolation(report func(*Violation)) (restore func()) {
	old := reporter.Swap(&report)
	return func() { reporter.Store(old) }
}

// Assert states that cond holds. A breach panics under the tag `invariants`
// and is counted and reported otherwise.
func Assert(cond bool, format string, args ...any) {
	if cond {
		return
	}
	v := breach(format, args)
	if Enabled {
		panic(v)
	}
	if r := reporter.Load(); r != nil {
		(*r)(v)
		return
	}
	slog.Error("broken invariant", "where", v.Where, "message", v.Message)
}

// Check states that cond holds. A breach panics under the tag `invariants` and
// is returned as a *Violation otherwise, which stops the query: its kind is
// batch.Internal and it is never retried.
func Check(cond bool, format string, args ...any) error {
	if cond {
		return nil
	}
	v := breach(format, args)
	if Enabled {
		panic(v)
	}
	return v
}

// Unreachable panics in every build: it stands where a switch over a sealed
// interface has met a type that it does not know.
func Unreachable(format string, args ...any) {
	panic(breach(format, args))
}

// breach counts a broken invariant and notes the caller of the exported function.
func breach(format string, args []any) *Violation {
	violations.Add(1)
	v := &Violation{Message: fmt.Sprintf(format, args...), Where: "unknown"}
	if _, file, line, ok := runtime.Caller(2); ok {
		v.Where = fmt.Sprintf("%s:%d", shortPath(file), line)
	}
	return v
}

// shortPath keeps the last two parts of a path: enough to find the file, and
// nothing of the machine that built it.
func shortPath(file string) string {
	slashes := 0
	for i := len(file) - 1; i >= 0; i-- {
		if file[i] == '/' {
			if slashes++; slashes == 2 {
				return file[i+1:]
			}
		}
	}
	return file
}
