package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/clock"
)

// fleet is drivers with workers of this process, which speak over the loopback. It runs
// one query at a time, so that all that its drivers print is that one's.
type fleet struct {
	id      string
	options map[string]sluice.DriverOptions // of the drivers, by ID
	up      map[string]*sluice.Driver       // those that run
	leader  string
	join    []string         // where workers look for drivers
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

func newFleet(t *testing.T, id string, drivers, workers int) *fleet {
	t.Helper()
	f := &fleet{id: id, options: map[string]sluice.DriverOptions{}, up: map[string]*sluice.Driver{}, printed: &printed{}}
	peers := map[string]string{}
	for i := range drivers {
		peers[fmt.Sprintf("d%s-%d", id, i)] = freeAddress(t)
	}
	t.Cleanup(func() {
		for _, w := range f.workers {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		for _, d := range f.up {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	checkpoints := folder(t)
	for id, at := range peers {
		o := sluice.DriverOptions{ID: id, Data: folder(t), CheckpointDir: checkpoints, Listen: at, Stdout: f.printed, Logger: slog.New(slog.DiscardHandler)}
		if drivers > 1 {
			o.Peers = peers
		}
		f.options[id], f.join = o, append(f.join, at)
		if err := f.start(id); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), clusterPatience)
	defer cancel()
	d, err := f.driver(ctx)
	for range workers {
		err = errors.Join(err, f.come(ctx))
	}
	for err == nil && len(d.Workers()) < workers {
		err = clock.Wait(ctx, clock.System(), clusterLook)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// freeAddress is where nobody listens: the drivers of a group know each other's address
// before the first one begins.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// clusterLook is how often something is looked for that will be there.
const clusterLook = 5 * time.Millisecond

func (f *fleet) start(id string) error {
	d, err := sluice.StartDriver(context.Background(), f.options[id])
	if err == nil {
		f.up[id] = d
	}
	return err
}

// driver waits for the driver that leads.
func (f *fleet) driver(ctx context.Context) (*sluice.Driver, error) {
	for {
		for id, d := range f.up {
			if d.Leads() {
				f.leader = id
				return d, nil
			}
		}
		if err := clock.Wait(ctx, clock.System(), clusterLook); err != nil {
			return nil, fmt.Errorf("wait for a driver that leads: %w", context.Cause(ctx))
		}
	}
}

// ask asks the driver that leads, and if that is another one by then, that one.
func (f *fleet) ask(ctx context.Context, what func(d *sluice.Driver) error) error {
	for {
		d, err := f.driver(ctx)
		if err == nil {
			err = what(d)
		}
		if ctx.Err() != nil || err == nil || len(f.options) == 1 || !errors.Is(err, raftlog.ErrNotLeader) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
}

// come lets a worker come.
func (f *fleet) come(ctx context.Context) error {
	w, err := sluice.JoinCluster(ctx, sluice.WorkerOptions{ID: fmt.Sprintf("w%s-%d", f.id, f.joined), Join: f.join, Slots: 2, Logger: slog.New(slog.DiscardHandler)})
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
	return errors.Join(w.Close(), f.come(ctx))
}

// restart ends the driver that leads and starts it again, when another one leads if there
// is one.
func (f *fleet) restart(ctx context.Context) error {
	id := f.leader
	err := f.up[id].Close()
	delete(f.up, id)
	if len(f.up) > 0 && err == nil {
		_, err = f.driver(ctx)
	}
	return errors.Join(err, f.start(id))
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
