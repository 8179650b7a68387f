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
	Outcome string    `json:"outcome"`          // begin, done, failed, unauthenticated, forbidden or limited
	Status  int       `json:"status,omitempty"` // HTTP's
	Reason  string    `json:"reason,omitempty"` // of a connection that was refused
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
	Limited         = "limited" // it asks too often
)

// Refusals are what anybody can cause, so only so many are written, at once and then a
// second: the disk is not theirs to fill.
const (
	refusalsBurst     = 200
	refusalsPerSecond = 10
)

// textMax bounds what a path or a reason adds to the log.
const textMax = 512

func shortened(s string) string {
	if len(s) > textMax {
		return s[:textMax] + ".."
	}
	return s
}

// Audit is a log that is only appended to, a JSON object a line. It may be used by
// several goroutines, and a file that is moved away is begun anew.
type Audit struct {
	name     string
	now      func() time.Time
	refusals *rates
	mu       struct {
		sync.Mutex
		missed int
	}
}

// NewAudit writes to the file name.
func NewAudit(name string) *Audit {
	return &Audit{name: name, now: time.Now, refusals: newRates(refusalsPerSecond, refusalsBurst)}
}

// Write appends an entry. A nil Audit keeps none.
func (a *Audit) Write(e Entry) error {
	if a == nil {
		return nil
	}
	e.At = a.now().UTC()
	e.Target, e.Reason = shortened(e.Target), shortened(e.Reason)
	a.mu.Lock()
	defer a.mu.Unlock()
	refused := e.Outcome == Unauthenticated || e.Outcome == Forbidden || e.Outcome == Limited
	if refused && !a.refusals.take("", e.At) {
		a.mu.missed++
		return nil
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

// Connection appends that a connection to a listener, named by its flag, was refused
// before anything was asked on it.
func (a *Audit) Connection(listener, remote string, reason error) error {
	return a.Write(Entry{Remote: remote, Action: "connect " + listener, Outcome: Unauthenticated, Reason: reason.Error()})
}
