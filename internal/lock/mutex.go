//go:build !synctests

package lock

import "sync"

// Mutex is a mutex that may be held while its holder waits.
type Mutex = sync.Mutex
