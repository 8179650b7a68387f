//go:build synctests

package mutant

import (
	"os"
	"slices"
	"sync/atomic"
)

var on atomic.Int32

// A name that is no mutant's breaks nothing, so that whoever gave it finds it not caught.
func init() { on.Store(int32(max(0, slices.Index(names[:], os.Getenv(Variable))))) }

// On reports whether a rule is broken.
func On(m Mutant) bool { return Mutant(on.Load()) == m }

// Set breaks one rule in the whole process; None mends it.
func Set(m Mutant) { on.Store(int32(m)) }
