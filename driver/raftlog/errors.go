package raftlog

import (
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// The refusals of a node.
var (
	// ErrNotLeader: another driver leads, or none. NotLeader says which.
	ErrNotLeader = errors.New("this driver does not lead")
	// ErrDamaged: bytes that were durable have changed.
	ErrDamaged = errors.New("the replicated log is damaged")
	// ErrPoisoned: an earlier write failed, so that it is not known what the disk holds.
	ErrPoisoned = errors.New("the replicated log is closed after a failed write")
	// ErrHung: the disk does not answer.
	ErrHung = errors.New("the disk does not answer")
	// ErrInUse: another process has the folder open.
	ErrInUse = errors.New("the driver's folder is in use")
	// ErrForeignDisk: the folder or the peer is another driver's.
	ErrForeignDisk = errors.New("the disk is another driver's")
	// ErrLostDisk: the driver belongs to a cluster that knows it by another disk.
	ErrLostDisk = errors.New("the cluster knows this driver by another disk")
	// ErrClosed: the node is closed.
	ErrClosed = errors.New("the driver's node is closed")
)

// NotLeader is ErrNotLeader with where to go.
type NotLeader struct {
	Leader Driver // zero: not known
}

// Error names the leader.
func (e *NotLeader) Error() string {
	if e.Leader.ID == "" {
		return "this driver does not lead, and which one does is not known: try again"
	}
	return fmt.Sprintf("this driver does not lead: driver %s does, at %s", e.Leader.ID, e.Leader.Client)
}

// Is makes it ErrNotLeader.
func (e *NotLeader) Is(target error) bool { return target == ErrNotLeader }

func refuse(err error) error { return &batch.Error{Kind: batch.User, Err: err} }

func damagef(file string, at int64, format string, args ...any) error {
	return refuse(fmt.Errorf("%s, byte %d: %w: %s", file, at, ErrDamaged, fmt.Sprintf(format, args...)))
}

// explain adds to a failed file operation what the user can do about it.
func explain(err error) error { return vfsx.Explain(err, "driver's folder", "driver") }
