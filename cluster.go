package sluice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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
	// Peers are the drivers of a group that keeps pipelines and batch logs together, HOST:PORT
	// by ID, this one included: each is where workers and other drivers reach the driver.
	// They count when the group is founded; later its members say who is one. With any,
	// CheckpointDir has to be set, to a bucket or a folder that all drivers and workers share.
	Peers map[string]string
	// Fatal is called when the driver of a group can go on no more, as with a failed disk:
	// the process should end, with an exit code that is not 0. It must not wait for the
	// driver. Default: the error is logged.
	Fatal func(error)
	// AuditLog is the file to which is appended which connections of nodes were refused.
	AuditLog string
	// Build is the version of the program, which the group's drivers show; default Version.
	Build string
	// CheckpointDir is the base of checkpoints that are relative or not given, a folder or
	// s3://bucket/prefix; default a folder in Data.
	CheckpointDir string
	// Lease is how long a worker counts as there without a word; default 3 s.
	Lease time.Duration
	// Settings are applied as by SET to every pipeline.
	Settings map[string]string
	// Stdout takes what console sinks print; default os.Stdout.
	Stdout io.Writer
	// Logger takes structured logs; default slog.Default().
	Logger *slog.Logger

	listener net.Listener // in place of Listen, for tests of drivers that know each other's port
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
	group   *group // of drivers; nil: there is this one alone

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
	if len(opts.Peers) > 0 && opts.CheckpointDir == "" {
		return nil, batch.UserErrorf("several drivers need --checkpoint-dir, s3://bucket/prefix or a folder that all of them share with the workers: --data is this one's alone")
	}
	if opts.CheckpointDir = cmp.Or(opts.CheckpointDir, filepath.Join(data, "checkpoints")); !isBucket(opts.CheckpointDir) {
		if opts.CheckpointDir, err = filepath.Abs(opts.CheckpointDir); err != nil {
			return nil, fmt.Errorf("the folder of checkpoints: %w", err)
		}
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
	link := wire.Options{ID: transport.NodeID(opts.ID), Listen: opts.Listen, Advertise: opts.Advertise, Lease: opts.Lease, Logger: d.opts.Logger}
	if err := secure(&link, opts.TLSDir, opts.AuditLog, d.opts.Logger); err != nil {
		return nil, err
	}
	if len(opts.Peers) > 0 {
		return d, d.joinGroup(ctx, link)
	}
	if err := vfsx.MkdirAll(vfsx.Default, d.folder(), 0o700); err != nil {
		return nil, fmt.Errorf("the driver's folder: %w", err)
	}
	if d.hub, err = wire.Listen(ctx, link); err != nil {
		return nil, err
	}
	d.watch.Go(func() { d.hub.Watch(d.ctx, d.changed) })
	d.watch.Go(d.tend)
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
		d.begin(d.ctx, p)
	}
	return nil
}

// begin starts a pipeline that is kept.
func (d *Driver) begin(ctx context.Context, p *pipeline) {
	if p.s, p.err = d.launch(ctx, p.SQL); p.err != nil {
		d.opts.Logger.Error("pipeline not started", "pipeline", p.Name, "err", p.err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.pipelines[p.Name] = p
}

var pipelineName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)

// Submit starts a pipeline and keeps it: whenever the driver is started it goes on from
// its checkpoints, until it is removed. The script declares tables, views and functions
// and has streaming queries; it is planned by each worker, so that what it names has to
// be the same for all of them.
func (d *Driver) Submit(ctx context.Context, name, script string) (Pipeline, error) {
	running, err := d.leading(ctx)
	if err != nil {
		return Pipeline{}, err
	}
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
	if err := d.keep(ctx, p.stored); err != nil {
		return Pipeline{}, fmt.Errorf("keep pipeline %s: %w", name, err)
	}
	if p.s, err = d.launch(running, script); err != nil {
		if running.Err() != nil { // another driver starts it
			return Pipeline{}, fmt.Errorf("start pipeline %s: %w", name, err)
		}
		return Pipeline{}, errors.Join(err, d.forget(ctx, name))
	}
	d.mu.Lock()
	d.mu.pipelines[name] = p
	d.mu.Unlock()
	return p.describe(false), nil
}

// keep makes a pipeline durable.
func (d *Driver) keep(ctx context.Context, p stored) error {
	if d.group != nil {
		return d.group.keep(ctx, p)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return vfsx.WriteFileAtomic(vfsx.Default, d.file(p.Name), b)
}

// forget removes a pipeline from what is kept.
func (d *Driver) forget(ctx context.Context, name string) error {
	if d.group != nil {
		return d.group.withdraw(ctx, name)
	}
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
	w := &workforce{members: d.members, script: script, join: func(id transport.NodeID) (transport.Transport, error) { return d.hub.Join(id) }}
	if d.group != nil {
		w.logs, w.taken = d.group.logs, d.group.taken
	}
	return Options{Settings: d.opts.Settings, CheckpointDir: d.opts.CheckpointDir, Pipeline: true, Stdout: d.opts.Stdout, Logger: d.opts.Logger, workforce: w}
}

// launch runs a script. Its queries are abandoned when ctx ends.
func (d *Driver) launch(ctx context.Context, script string) (*Session, error) {
	s, err := NewSession(d.options(script))
	if err != nil {
		return nil, err
	}
	if err := s.Exec(ctx, script); err != nil {
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
func (d *Driver) Remove(ctx context.Context, name string) error {
	if _, err := d.leading(ctx); err != nil {
		return err
	}
	d.submits.Lock()
	defer d.submits.Unlock()
	d.mu.Lock()
	p := d.mu.pipelines[name]
	d.mu.Unlock()
	if p == nil {
		return errNoPipeline
	}
	if err := d.forget(ctx, name); err != nil {
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
// pipelines stay for its next start. The leader of a group hands them over to another
// driver instead, if there is one.
func (d *Driver) Close() error {
	var errs []error
	if d.group != nil {
		d.group.handOver()
	}
	errs = append(errs, d.stopAll())
	if d.group != nil {
		errs = append(errs, d.group.close())
	}
	d.cancel()
	if d.hub != nil {
		errs = append(errs, d.hub.Close())
	}
	d.watch.Wait()
	if d.group != nil {
		errs = append(errs, d.group.release())
	}
	if d.base != nil {
		errs = append(errs, d.base.Close())
	}
	return errors.Join(errs...)
}

// stopAll stops what runs, each query after its running batch.
func (d *Driver) stopAll() error {
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
	d.mu.Lock()
	d.mu.pipelines = map[string]*pipeline{}
	d.mu.Unlock()
	return errors.Join(errs...)
}
