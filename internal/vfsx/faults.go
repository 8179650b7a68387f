package vfsx

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Op is a file system operation that an Injector may fail.
type Op = errorfs.Op

// OpLock is the Kind of an Op that takes a lock.
const OpLock = errorfs.OpLock

// Injector decides which operations fail.
type Injector = errorfs.Injector

// InjectorFunc makes an Injector of a function.
type InjectorFunc = errorfs.InjectorFunc

// Predicate selects operations.
type Predicate = errorfs.Predicate

// ErrInjected is what every injected fault wraps. It is a sentinel of our own,
// because errorfs returns values that errors.Is does not recognise.
var ErrInjected = errors.New("injected fault")

// Wrap returns fs with faults: an operation fails with the error that inj
// returns for it.
func Wrap(fs FS, inj Injector) FS { return errorfs.Wrap(fs, inj) }

// Writes selects operations that change something.
var Writes = errorfs.Writes

// Randomly selects operations with probability p. For each path the choice is
// a function of the seed and of the operations on that path before, so that
// faults repeat with the seed however the work on different files interleaves.
//
// It is not errorfs.Randomly (Pebble 2.1.7), whose choice hangs on a hash that
// is seeded anew in every process, so that a failing seed could not be replayed.
func Randomly(p float64, seed int64) Predicate {
	return &randomly{p: p, seed: seed, perPath: map[string]*rand.Rand{}}
}

type randomly struct {
	p    float64
	seed int64

	mu      sync.Mutex // guards perPath
	perPath map[string]*rand.Rand
}

func (r *randomly) String() string { return fmt.Sprintf("(Randomly %.2f %d)", r.p, r.seed) }

func (r *randomly) Evaluate(op Op) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	prng, ok := r.perPath[op.Path]
	if !ok {
		h := fnv.New64a()
		_, _ = io.WriteString(h, op.Path) // a hash never fails to write
		prng = rand.New(rand.NewPCG(uint64(r.seed), h.Sum64()))
		r.perPath[op.Path] = prng
	}
	return prng.Float64() < r.p
}

// FailWhen returns an Injector that fails every operation that all of preds select.
func FailWhen(preds ...Predicate) Injector {
	all := errorfs.And(preds...)
	return InjectorFunc(func(op Op) error {
		if !all.Evaluate(op) {
			return nil
		}
		return fault(op)
	})
}

// FailOnce returns an Injector that fails one operation: the nth, counted from
// 0, of those that all of preds select. Run a scenario with n = 0, 1, 2, ...
// until nothing fails any more, and every fault point has been tried.
func FailOnce(n int64, preds ...Predicate) *Once {
	return &Once{n: n, all: errorfs.And(preds...)}
}

// Once is the Injector of FailOnce.
type Once struct {
	n      int64
	all    Predicate
	seen   atomic.Int64
	failed atomic.Bool
}

// MaybeError implements Injector.
func (o *Once) MaybeError(op Op) error {
	if !o.all.Evaluate(op) || o.seen.Add(1)-1 != o.n {
		return nil
	}
	o.failed.Store(true)
	return fault(op)
}

// Failed reports whether the operation has come, and failed.
func (o *Once) Failed() bool { return o.failed.Load() }

// String implements Injector.
func (o *Once) String() string { return fmt.Sprintf("(fail operation %d)", o.n) }

// FullDisk returns an Injector that refuses every write with err (for instance
// syscall.ENOSPC) while full is set. Removing files works, as it does on a real
// full disk.
func FullDisk(full *atomic.Bool, err error) Injector {
	return InjectorFunc(func(op Op) error {
		if !full.Load() || !Writes.Evaluate(op) || op.Kind == errorfs.OpRemove {
			return nil
		}
		return fmt.Errorf("%s: %w: %w", op.Path, ErrInjected, err)
	})
}

func fault(op Op) error {
	return fmt.Errorf("%s (operation %d): %w", op.Path, op.Kind, ErrInjected)
}
