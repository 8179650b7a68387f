//go:build !linux

package pgclient

import "time"

func setUserTimeout(uintptr, time.Duration) error { return nil }
