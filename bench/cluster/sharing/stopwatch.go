package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// stopwatch is the log of a driver: it takes the time of each batch of the small query, by
// its first line and its last.
type stopwatch struct {
	mu struct {
		sync.Mutex
		begun map[int64]time.Time
		took  []time.Duration
	}
}

// ofSmall are the lines about the small query.
type ofSmall struct{ *stopwatch }

// Enabled implements slog.Handler.
func (w *stopwatch) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler: of other queries only what goes wrong is told.
func (w *stopwatch) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
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
func (w *stopwatch) WithAttrs(as []slog.Attr) slog.Handler {
	for _, a := range as {
		if a.Key == "query" && a.Value.String() == "small" {
			return ofSmall{w}
		}
	}
	return w
}

// WithGroup implements slog.Handler.
func (w *stopwatch) WithGroup(string) slog.Handler { return w }

// Handle reads what driver.LogTo writes.
func (s ofSmall) Handle(ctx context.Context, r slog.Record) error {
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
		return s.stopwatch.Handle(ctx, r)
	}
	return nil
}

// clear forgets what was measured so far.
func (w *stopwatch) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.took = nil
}
