package memory

import (
	"math"
	"runtime/debug"
	"sync"
)

// The collector lets garbage grow to the size of what lives, which would take a
// process to twice its limit. It knows a limit of its own (debug.SetMemoryLimit),
// which belongs to the process while budgets belong to sessions: so the budgets
// that are governed are kept here, and the collector's limit is their sum and
// some room for what no budget counts.
var governed struct {
	sync.Mutex
	budgets map[*Budget]struct{}
	before  int64 // the collector's limit before the first budget
}

// slackBytes is the room beyond the budgets for the program itself: its code,
// stacks, plans, connectors. slackPart of the budgets is that for what the
// collector has not found yet, and for what is not counted while it is decoded.
const (
	slackBytes = 40 << 20
	slackPart  = 16
)

// Govern makes Go's collector keep the process near b's limit, until release is
// called. A limit that was set from outside (GOMEMLIMIT) is never raised.
func (b *Budget) Govern() (release func()) {
	governed.Lock()
	defer governed.Unlock()
	if len(governed.budgets) == 0 {
		governed.budgets = map[*Budget]struct{}{}
		governed.before = debug.SetMemoryLimit(-1)
	}
	governed.budgets[b] = struct{}{}
	governLocked()
	return func() {
		governed.Lock()
		defer governed.Unlock()
		if _, ok := governed.budgets[b]; !ok {
			return
		}
		delete(governed.budgets, b)
		if len(governed.budgets) == 0 {
			debug.SetMemoryLimit(governed.before)
			return
		}
		governLocked()
	}
}

// governLocked gives the collector the sum of the limits. One budget without a
// limit leaves it as it was.
func governLocked() {
	sum := int64(0)
	for b := range governed.budgets {
		limit := b.limit.Load()
		if limit <= 0 || sum > math.MaxInt64-limit {
			sum = math.MaxInt64
			break
		}
		sum += limit
	}
	if slack := sum/slackPart + slackBytes; sum <= math.MaxInt64-slack {
		sum += slack
	}
	debug.SetMemoryLimit(min(sum, governed.before))
}

// SetLimit changes the limit. What is in use above a lowered limit stays, and
// nothing more is granted until it is gone.
func (b *Budget) SetLimit(limitBytes int64) {
	b.limit.Store(max(limitBytes, 0))
	governed.Lock()
	defer governed.Unlock()
	if _, ok := governed.budgets[b]; ok {
		governLocked()
	}
}
