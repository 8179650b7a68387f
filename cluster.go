package sluice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/wire"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner"
)

// DriverOptions say what the driver of a cluster is.
type DriverOptions struct {
	// ID names the driver.
	ID string
	// Data is the driver's folder: the pipelines that were submitted, and their checkpoints
	// if CheckpointDir is not set. Workers read and write the checkpoints too.
	Data string
	// Listen is where workers join, HOST:PORT. Advertise is how they reach it, if that is
	// another address.
	Listen, Advertise string
	// TLSDir is a folder with ca.crt, tls.crt and tls.key, by which the nodes of the cluster
	// know each other; "" is plain text, on loopback alone.
	TLSDir string
	// CheckpointDir is the base of checkpoints that are relative or not given; default a
	// folder in Data.
	CheckpointDir string
	// Lease is how long a worker counts as there without a word; default 3 s.
	Lease time.Duration
	// Settings are applied as by SET to every pipeline.
	Settings map[string]string
	// Stdout takes what console sinks print; default os.Stdout.
	Stdout io.Writer
	// Logger takes structured logs; default slog.Default().
	Logger *slog.Logger
}

// ClusterMember is a worker of a cluster.
type ClusterMember = driver.Member

// Driver runs pipelines on the workers that join it. Each pipeline is a script with a
// session of its own, and is started again when the driver is, until it is removed.
type Driver struct {
	opts    DriverOptions
	base    *Session // for HTTP and the process's memory; it runs nothing
	hub     *wire.Hub
	members *driver.Members
	ctx     context.Context
	cancel  context.CancelFunc
	watch   sync.WaitGroup

	// submits is held while a pipeline comes or goes.
	submits sync.Mutex
	mu      struct {
		sync.Mutex
		pipelines map[string]*pipeline
	}
}

// pipeline is a script that was submitted.
type pipeline struct {
	stored
	s   *Session // nil if it could not be started
	err error    // why
}

// stored is the durable form of a pipeline.
type stored struct {
	Name    string    `json:"name"`
	SQL     string    `json:"sql"`
	Created time.Time `json:"created"`
	Sum     uint64    `json:"sum"` // xxh3 of name and SQL
}

func (s stored) sum() uint64 { return xxh3.HashString(s.Name + "\x00" + s.SQL) }

// Pipeline describes a pipeline of a cluster.
type Pipeline struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Queries []string  `json:"queries"`
	SQL     string    `json:"sql,omitempty"`
	// Error is why the pipeline could not be started when its driver was.
	Error string `json:"error,omitempty"`
}

// StartDriver starts the driver of a cluster and the pipelines that its folder holds. A
// pipeline that cannot be started is kept, with the reason.
func StartDriver(ctx context.Context, opts DriverOptions) (_ *Driver, err error) {
	data, err := filepath.Abs(opts.Data)
	if err != nil {
		return nil, fmt.Errorf("the driver's folder: %w", err)
	}
	opts.Data = data
	if opts.CheckpointDir, err = filepath.Abs(cmp.Or(opts.CheckpointDir, filepath.Join(data, "checkpoints"))); err != nil {
		return nil, fmt.Errorf("the folder of checkpoints: %w", err)
	}
	d := &Driver{opts: opts, members: driver.NewMembers(nil)}
	d.mu.pipelines = map[string]*pipeline{}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.base, err = NewSession(Options{Settings: opts.Settings, Logger: opts.Logger, Stdout: opts.Stdout}); err != nil {
		return nil, err
	}
	d.opts.Logger = d.base.opts.Logger
	d.base.otherRoutes = d.routes
	if err := vfsx.MkdirAll(vfsx.Default, d.folder(), 0o700); err != nil {
		return nil, fmt.Errorf("the driver's folder: %w", err)
	}
	net := wire.Options{ID: transport.NodeID(opts.ID), Listen: opts.Listen, Advertise: opts.Advertise, Lease: opts.Lease, Logger: d.opts.Logger}
	if err := secure(&net, opts.TLSDir, d.opts.Logger); err != nil {
		return nil, err
	}
	if d.hub, err = wire.Listen(ctx, net); err != nil {
		return nil, err
	}
	d.watch.Go(func() { d.hub.Watch(d.ctx, d.changed) })
	return d, d.restore()
}

// Addr is where workers join.
func (d *Driver) Addr() string { return d.hub.Addr() }

// changed tells the queries who has come and gone.
func (d *Driver) changed(e wire.Event) {
	m := e.Member
	run := fmt.Sprint(m.Session)
	switch e.Change {
	case wire.Joined:
		d.members.Join(driver.Member{ID: m.ID, Run: run, Address: m.Addr, Slots: m.Resources.Slots, Memory: m.Resources.Memory, Version: m.Resources.Version})
	case wire.Draining:
		d.members.Drain(m.ID, run)
	case wire.Lost:
		d.members.Lose(m.ID, run)
	}
}

// Workers lists the workers, those that were lost not long ago included.
func (d *Driver) Workers() []ClusterMember { return d.members.List() }

// folder is where pipelines are kept.
func (d *Driver) folder() string { return filepath.Join(d.opts.Data, "pipelines") }

func (d *Driver) file(name string) string { return filepath.Join(d.folder(), name+".json") }

// pipelineMax bounds the text of a pipeline.
const pipelineMax = 4 << 20

// restore starts what the folder holds.
func (d *Driver) restore() error {
	names, err := os.ReadDir(d.folder())
	if err != nil {
		return fmt.Errorf("read the pipelines: %w", err)
	}
	for _, e := range names {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !pipelineName.MatchString(name) {
			continue
		}
		b, err := vfsx.ReadFile(vfsx.Default, d.file(name), 2*pipelineMax)
		if err != nil {
			return fmt.Errorf("read pipeline %s: %w", name, err)
		}
		p := &pipeline{}
		if err := json.Unmarshal(b, &p.stored); err != nil || p.Sum != p.sum() || p.Name != name {
			return fmt.Errorf("pipeline %s: the file %s is damaged", name, d.file(name))
		}
		if p.s, p.err = d.launch(p.SQL); p.err != nil {
			d.opts.Logger.Error("pipeline not started", "pipeline", name, "err", p.err)
		}
		d.mu.Lock()
		d.mu.pipelines[name] = p
		d.mu.Unlock()
	}
	return nil
}

var pipelineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

// Submit starts a pipeline and keeps it: whenever the driver is started it goes on from
// its checkpoints, until it is removed. The script declares tables, views and functions
// and has streaming queries; it is planned by each worker, so that what it names has to
// be the same for all of them.
func (d *Driver) Submit(ctx context.Context, name, script string) (Pipeline, error) {
	d.submits.Lock()
	defer d.submits.Unlock()
	if !pipelineName.MatchString(name) {
		return Pipeline{}, batch.UserErrorf("the name of a pipeline is of letters, digits, _ and -, not %q", name)
	}
	if len(script) > pipelineMax {
		return Pipeline{}, batch.UserErrorf("the pipeline has %d bytes, more than %d", len(script), pipelineMax)
	}
	d.mu.Lock()
	old := d.mu.pipelines[name]
	d.mu.Unlock()
	if old != nil {
		if old.SQL == script && old.err == nil {
			return old.describe(false), nil // it came twice
		}
		return Pipeline{}, batch.UserErrorf("there is a pipeline %s already: remove it first", name)
	}
	if err := d.check(ctx, script); err != nil {
		return Pipeline{}, err
	}
	p := &pipeline{stored: stored{Name: name, SQL: script, Created: time.Now().UTC()}}
	p.Sum = p.sum()
	b, err := json.Marshal(p.stored)
	if err != nil {
		return Pipeline{}, fmt.Errorf("keep pipeline %s: %w", name, err)
	}
	if err := vfsx.WriteFileAtomic(vfsx.Default, d.file(name), b); err != nil {
		return Pipeline{}, fmt.Errorf("keep pipeline %s: %w", name, err)
	}
	if p.s, err = d.launch(script); err != nil {
		return Pipeline{}, errors.Join(err, d.forget(name))
	}
	d.mu.Lock()
	d.mu.pipelines[name] = p
	d.mu.Unlock()
	return p.describe(false), nil
}

// forget removes a pipeline's file.
func (d *Driver) forget(name string) error {
	if err := os.Remove(d.file(name)); err != nil {
		return fmt.Errorf("forget pipeline %s: %w", name, err)
	}
	return vfsx.SyncDir(vfsx.Default, d.folder())
}

// check plans a script without running it.
func (d *Driver) check(ctx context.Context, script string) error {
	opts := d.options(script)
	opts.ExplainOnly, opts.workforce = true, nil
	s, err := NewSession(opts)
	if err != nil {
		return err
	}
	var names []string
	s.planned = func(q *queryDef, _ *planner.Query, _ []target) { names = append(names, q.name) }
	planned := 0
	err = s.Run(ctx, script, func(r *Result) error {
		if r.Plan != "" {
			planned++
		}
		if r.Rows != nil {
			return errors.Join(errNotPipeline, r.Rows.Close())
		}
		return nil
	})
	if err == nil && planned > len(names) {
		err = errNotPipeline
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	if len(names) == 0 {
		return batch.UserErrorf("the pipeline has no streaming query")
	}
	for _, q := range d.Queries() {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, q.Name()) }) {
			return batch.UserErrorf("there is a streaming query %s already, in another pipeline", q.Name())
		}
	}
	return nil
}

// errNotPipeline refuses statements that would be run anew at each start of the driver.
var errNotPipeline = batch.UserErrorf("a pipeline declares tables, views and functions and has streaming queries: a statement that reads or writes once is for sluice sql")

func (d *Driver) options(script string) Options {
	return Options{Settings: d.opts.Settings, CheckpointDir: d.opts.CheckpointDir, Pipeline: true, Stdout: d.opts.Stdout, Logger: d.opts.Logger,
		workforce: &workforce{members: d.members, script: script, join: func(id transport.NodeID) (transport.Transport, error) { return d.hub.Join(id) }}}
}

// launch runs a script.
func (d *Driver) launch(script string) (*Session, error) {
	s, err := NewSession(d.options(script))
	if err != nil {
		return nil, err
	}
	if err := s.Exec(d.ctx, script); err != nil {
		s.AbandonAll()
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (p *pipeline) describe(whole bool) Pipeline {
	out := Pipeline{Name: p.Name, Created: p.Created, Queries: []string{}}
	if p.s != nil {
		for _, q := range p.s.Queries() {
			out.Queries = append(out.Queries, q.Name())
		}
	}
	if p.err != nil {
		out.Error = p.err.Error()
	}
	if whole {
		out.SQL = p.SQL
	}
	return out
}

// list returns the pipelines by name.
func (d *Driver) list() []*pipeline {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*pipeline, 0, len(d.mu.pipelines))
	for _, p := range d.mu.pipelines {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *pipeline) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Pipelines lists the pipelines by name.
func (d *Driver) Pipelines() []Pipeline {
	out := []Pipeline{}
	for _, p := range d.list() {
		out = append(out, p.describe(false))
	}
	return out
}

// Queries lists the streaming queries of all pipelines.
func (d *Driver) Queries() []*Query {
	out := []*Query{}
	for _, p := range d.list() {
		if p.s != nil {
			out = append(out, p.s.Queries()...)
		}
	}
	return out
}

// Remove stops a pipeline's queries, each after its running batch, and forgets it. Its
// checkpoints stay: submitted again it goes on from them.
func (d *Driver) Remove(name string) error {
	d.submits.Lock()
	defer d.submits.Unlock()
	d.mu.Lock()
	p := d.mu.pipelines[name]
	d.mu.Unlock()
	if p == nil {
		return errNoPipeline
	}
	if err := d.forget(name); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.mu.pipelines, name)
	d.mu.Unlock()
	if p.s == nil {
		return nil
	}
	return p.s.Close()
}

var errNoPipeline = batch.UserErrorf("there is no such pipeline")

// Close stops the queries, each after its running batch, and ends the driver. The
// pipelines stay for its next start.
func (d *Driver) Close() error {
	d.submits.Lock()
	defer d.submits.Unlock()
	var errs []error
	list := d.list()
	for _, p := range list {
		if p.s != nil {
			p.s.StopAll() // all of them at the same time
		}
	}
	for _, p := range list {
		if p.s != nil {
			errs = append(errs, p.s.Close())
		}
	}
	d.cancel()
	if d.hub != nil {
		errs = append(errs, d.hub.Close())
	}
	d.watch.Wait()
	if d.base != nil {
		errs = append(errs, d.base.Close())
	}
	return errors.Join(errs...)
}
