package memory

import (
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// LimitOption is the option that sets the process's limit, as users write it, and
// QueryLimitOption that of a query.
const (
	LimitOption      = "memory_limit"
	QueryLimitOption = "query.memory-limit"
)

// LimitError is a request for memory that was refused. Its kind is batch.User:
// the limit, the query or the size of a batch has to change.
type LimitError struct {
	Asked int64  // bytes asked for
	InUse int64  // bytes in use under the limit
	Limit int64  // bytes allowed
	Scope string // path of the tracker whose limit it is
	By    string // path of the tracker that asked
}

// Error says whose limit was reached by whom, and what to do.
func (e *LimitError) Error() string {
	option := LimitOption
	if e.Scope != processName {
		option = QueryLimitOption
	}
	return fmt.Sprintf("memory limit %s of %s exceeded: %s asked for %s with %s in use; raise %s or lower the parallelism or the rows per batch",
		FormatBytes(e.Limit), e.Scope, e.By, FormatBytes(e.Asked), FormatBytes(e.InUse), option)
}

// As lets errors.As see the error as a *batch.Error of kind User wherever it
// turns up: libraries wrap what they recover from in errors of their own.
func (e *LimitError) As(target any) bool {
	p, ok := target.(**batch.Error)
	if ok {
		*p = &batch.Error{Kind: batch.User, Err: e}
	}
	return ok
}

// closedError is a request to a tracker after its Close: a task that outlived
// its query, which is a bug and not the user's.
type closedError struct{ path string }

func (e *closedError) Error() string {
	return fmt.Sprintf("memory asked for by %s after it was closed", e.path)
}
