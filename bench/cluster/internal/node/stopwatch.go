package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Stopwatch is the log of a driver: it takes the time of each batch of a query, by its
// first line and its last.
type Stopwatch struct {
	Query string     // whose batches are timed
	Level slog.Level // other lines are printed on standard error from here on

	mu struct {
		sync.Mutex
		begun map[int64]time.Time
		took  []time.Duration
	}
}

// ofQuery are the lines about the query.
type ofQuery struct{ *Stopwatch }

// Enabled implements slog.Handler.
func (w *Stopwatch) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (w *Stopwatch) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= w.Level {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool {
			text += " " + a.String()
			return true
		})
		fmt.Fprintln(os.Stderr, text)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (w *Stopwatch) WithAttrs(as []slog.Attr) slog.Handler {
	for _, a := range as {
		if a.Key == "query" && a.Value.String() == w.Query {
			return ofQuery{w}
		}
	}
	return w
}

// WithGroup implements slog.Handler.
func (w *Stopwatch) WithGroup(string) slog.Handler { return w }

// WithAttrs implements slog.Handler: a line of the query stays one.
func (s ofQuery) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup implements slog.Handler.
func (s ofQuery) WithGroup(string) slog.Handler { return s }

// Handle reads what driver.LogTo writes.
func (s ofQuery) Handle(ctx context.Context, r slog.Record) error {
	now := time.Now()
	id := int64(-1)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "batch" {
			id = a.Value.Int64()
		}
		return id < 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Message {
	case "batch started":
		if s.mu.begun == nil {
			s.mu.begun = map[int64]time.Time{}
		}
		s.mu.begun[id] = now
	case "batch done":
		if at, ok := s.mu.begun[id]; ok {
			s.mu.took = append(s.mu.took, now.Sub(at))
			delete(s.mu.begun, id)
		}
	default:
		return s.Stopwatch.Handle(ctx, r)
	}
	return nil
}

// Clear forgets what was measured so far.
func (w *Stopwatch) Clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.took = nil
}

// Took is what batches took that have ended, one after the other, and what those have
// taken so far that run still.
func (w *Stopwatch) Took() (ended, running []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.mu.begun {
		running = append(running, time.Since(at))
	}
	return slices.Clone(w.mu.took), running
}

// Quantile is one of sorted times.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Milliseconds are those of a time, with three digits.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
