package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Entry is a line of the audit log.
type Entry struct {
	At      time.Time `json:"at"`
	Who     string    `json:"who,omitempty"` // the token's name; none: nobody known
	Role    string    `json:"role,omitempty"`
	Remote  string    `json:"remote"`
	Action  string    `json:"action"`           // the route, or the method of a call
	Target  string    `json:"target,omitempty"` // the path, without what follows a question mark
	Outcome string    `json:"outcome"`          // begin, done, failed, unauthenticated or forbidden
	Status  int       `json:"status,omitempty"` // HTTP's
	// Missed counts refusals that were not written since the last line, because there were too many.
	Missed int `json:"missed,omitempty"`
}

// The outcomes.
const (
	Begin           = "begin"
	Done            = "done"
	Failed          = "failed"
	Unauthenticated = "unauthenticated"
	Forbidden       = "forbidden"
)

// Refusals are what anybody can cause, so only so many a second are written: the disk
// is not theirs to fill.
const refusalsPerSecond = 10

// targetMax bounds what a path adds to the log.
const targetMax = 512

// Audit is a log that is only appended to, a JSON object a line. It may be used by
// several goroutines, and a file that is moved away is begun anew.
type Audit struct {
	name string
	now  func() time.Time
	mu   struct {
		sync.Mutex
		second  time.Time // in which refusals are counted
		written int
		missed  int
	}
}

// NewAudit writes to the file name.
func NewAudit(name string) *Audit { return &Audit{name: name, now: time.Now} }

// Write appends an entry. A nil Audit keeps none.
func (a *Audit) Write(e Entry) error {
	if a == nil {
		return nil
	}
	e.At = a.now().UTC()
	if len(e.Target) > targetMax {
		e.Target = e.Target[:targetMax] + ".."
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Outcome == Unauthenticated || e.Outcome == Forbidden {
		if s := e.At.Truncate(time.Second); !s.Equal(a.mu.second) {
			a.mu.second, a.mu.written = s, 0
		}
		if a.mu.written == refusalsPerSecond {
			a.mu.missed++
			return nil
		}
		a.mu.written++
	}
	e.Missed = a.mu.missed
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	f, err := os.OpenFile(a.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	_, err = f.Write(append(b, '\n')) // one write, so that lines of two processes do not mix
	if e.Outcome == Begin {
		err = errors.Join(err, f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	a.mu.missed = 0
	return nil
}
