//go:build !invariants || !linux

package clock

import "time"

func now() time.Time { return time.Now() }
