package filelog

import (
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// The refusals of a log. Each is wrapped with what was found and what to do.
var (
	// ErrInUse: another process has the checkpoint open.
	ErrInUse = errors.New("the checkpoint is in use")
	// ErrForeign: the checkpoint belongs to another query.
	ErrForeign = errors.New("the checkpoint belongs to another query")
	// ErrNoMetadata: there are records and nothing that says whose they are.
	ErrNoMetadata = errors.New("the checkpoint has lost its metadata")
	// ErrNoLog: there is metadata and no log.
	ErrNoLog = errors.New("the checkpoint has lost its batch log")
	// ErrDamaged: bytes that were durable have changed.
	ErrDamaged = errors.New("the checkpoint is damaged")
	// ErrPoisoned: an earlier write failed, so that it is not known what the disk holds.
	ErrPoisoned = errors.New("the batch log is closed after a failed write")
	// ErrNotFound: there is no checkpoint.
	ErrNotFound = errors.New("there is no checkpoint")
)

// inUse is ErrInUse with the folder and who has it.
type inUse struct{ dir, who string }

func (e inUse) Error() string { return fmt.Sprintf("checkpoint %s is in use by %s", e.dir, e.who) }

func (e inUse) Is(target error) bool { return target == ErrInUse }

func refuse(err error) error { return &batch.Error{Kind: batch.User, Err: err} }

func damagef(file string, at int64, format string, args ...any) error {
	return refuse(fmt.Errorf("%s, byte %d: %w: %s", file, at, ErrDamaged, fmt.Sprintf(format, args...)))
}

// explain adds to a failed file operation what the user can do about it.
func explain(err error) error { return vfsx.Explain(err, "checkpoint", "query") }
