package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/clock"
)

// fleet is a driver with workers of this process, which speak over the loopback. It runs
// one query at a time, so that all that it prints is that one's.
type fleet struct {
	id      string
	options sluice.DriverOptions
	driver  *sluice.Driver
	workers []*sluice.Worker // those that have been there longest first
	joined  int              // workers so far
	printed *printed
	queries int
}

// printed is what the driver prints.
type printed struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.Write(b)
}

// take returns what has been printed since.
func (p *printed) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.buf.String()
	p.buf.Reset()
	return s
}

func newFleet(t *testing.T, id string, workers int) *fleet {
	t.Helper()
	f := &fleet{id: id, printed: &printed{}}
	f.options = sluice.DriverOptions{ID: "d" + id, Data: folder(t), Listen: "127.0.0.1:0", Stdout: f.printed, Logger: slog.New(slog.DiscardHandler)}
	var err error
	if f.driver, err = sluice.StartDriver(t.Context(), f.options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.driver.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		for _, w := range f.workers {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for range workers {
		if err := f.join(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), clusterPatience)
	defer cancel()
	for len(f.driver.Workers()) < workers {
		if err := clock.Wait(ctx, clock.System(), 5*time.Millisecond); err != nil {
			t.Fatalf("waiting for %d workers: %v", workers, err)
		}
	}
	return f
}

func (f *fleet) join(ctx context.Context) error {
	w, err := sluice.JoinCluster(ctx, sluice.WorkerOptions{ID: fmt.Sprintf("w%s-%d", f.id, f.joined), Join: []string{f.driver.Addr()}, Slots: 2, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		f.joined++
		f.workers = append(f.workers, w)
	}
	return err
}

// replace lets a worker go and another one come at once. Every other one says that it goes.
func (f *fleet) replace(ctx context.Context) error {
	w := f.workers[0]
	if f.joined%2 == 0 {
		if err := w.Drain(ctx); err != nil {
			return err
		}
	}
	f.workers = f.workers[1:]
	return errors.Join(w.Close(), f.join(ctx))
}

// restart ends the driver and starts it again where workers look for it.
func (f *fleet) restart(ctx context.Context) error {
	f.options.Listen = f.driver.Addr()
	if err := f.driver.Close(); err != nil {
		return err
	}
	d, err := sluice.StartDriver(ctx, f.options)
	if err == nil {
		f.driver = d
	}
	return err
}

// csvRows are the rows of CSV with their headers, their fields as they stand there: NULL is
// empty, and the empty string has quotes.
func csvRows(text string) (rows [][]string) {
	var row []string
	from, quoted := 0, false
	for i, c := range []byte(text) {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',', c == '\n':
			row = append(row, text[from:i])
			from = i + 1
		}
		if c == '\n' && !quoted {
			rows, row = append(rows, row), nil
		}
	}
	return rows
}

// isHeader reports whether a row names the columns.
func isHeader(row []string) bool { return row[0] == "batch" }
