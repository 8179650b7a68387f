package sluice

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	memorysource "github.com/sluice-stream/sluice/sources/memory"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/tiered"
	"github.com/sluice-stream/sluice/worker"
)

// resources are the connectors of one running query, both halves.
type resources struct {
	query   batch.QueryID
	sources map[string]sources.Source
	openers map[string]sources.Opener
	lookers map[string]sources.Looker // those of the openers that look rows up
	sinks   map[string]sinks.Sink
	writers map[string]sinks.WriterFactory
	// volatile sinks lose prepared output with the process.
	volatile map[string]bool
	// transactional sinks keep the batch's ID and digest with its rows.
	transactional map[string]bool
	// snapshots hold the rows of tables in memory that the query reads.
	snapshots []*memorysource.Stream
}

// target is a sink table of a query.
type target struct {
	name  string // within the plan
	table *sql.TableDef
	// connector is that of the table, looked up when the query was planned.
	connector sinks.Connector
	mode      sinks.Mode
	schema    *arrow.Schema // of bad rows; nil for a result, whose query tells
}

// open makes the connectors of a planned query. dir is its checkpoint, "" for a
// batch.
func (s *Session) open(ctx context.Context, id batch.QueryID, q *planner.Query, targets []target, dir string) (_ *resources, err error) {
	r, err := s.openSinks(ctx, id, q, targets, dir == "")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	for _, src := range q.Plan.Sources {
		spec := s.sourceSpec(src.Name, q.Tables[src.Name], src.Stream)
		if dir != "" && src.Stream {
			spec.Dir = filepath.Join(dir, "sources", src.Name)
		}
		if !src.Stream && dir == "" {
			spec.Where = selectionOf(q, src.Name, s.zone())
		}
		connector := q.Tables[src.Name].Connector
		if connector == memoryConnector {
			ok, err := r.openSinkTable(ctx, s.reg, spec)
			if err != nil {
				return nil, err
			}
			if ok {
				continue
			}
		}
		if err := r.openSource(ctx, s.reg.sources, connector, spec); err != nil {
			return nil, err
		}
	}
	for _, src := range q.Plan.Lookups {
		spec := s.sourceSpec(src.Name, q.Tables[src.Name], false)
		spec.Dir = filepath.Join(dir, "sources", src.Name)
		if err := r.openLooker(ctx, s.reg.sources, q.Tables[src.Name].Connector, spec); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// openSinks makes the connectors of a planned query's sinks alone. once is a batch.
func (s *Session) openSinks(ctx context.Context, id batch.QueryID, q *planner.Query, targets []target, once bool) (*resources, error) {
	r := &resources{
		query: id, sources: map[string]sources.Source{}, openers: map[string]sources.Opener{}, lookers: map[string]sources.Looker{},
		sinks: map[string]sinks.Sink{}, writers: map[string]sinks.WriterFactory{}, volatile: map[string]bool{}, transactional: map[string]bool{},
	}
	for i, t := range targets {
		if err := r.openSink(ctx, t.connector, s.sinkSpec(id, q, i, t, once)); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

// sinkSpec describes the table of a plan's sink to its connector.
func (s *Session) sinkSpec(id batch.QueryID, q *planner.Query, i int, t target, once bool) sinks.Spec {
	schema := t.schema
	if schema == nil {
		schema = q.Outputs[i].Node.Schema()
	}
	if t.connector.Name == memoryConnector {
		schema = nullable(schema) // several queries write to one table
	}
	return sinks.Spec{
		Name: t.name, Table: t.table.Name, Query: id, Schema: schema, Keys: q.Plan.Sinks[i].Keys, OneRow: q.Plan.Sinks[i].OneRow, PartitionBy: t.table.Partition,
		Mode: t.mode, Options: without(t.table.Options, "connector"), Batch: once, Zone: s.zone(),
	}
}

// sourceSpec describes a table to its connector.
func (s *Session) sourceSpec(name string, t *logical.Table, stream bool) sources.Spec {
	spec := sources.Spec{
		Name: name, Table: t.Name, Schema: t.Schema, Options: without(t.Options, "connector"), Stream: stream, Lookup: t.Lookup, Zone: s.zone(), Inferred: t.Inferred,
	}
	for _, m := range t.Meta {
		spec.Meta = append(spec.Meta, sources.MetaColumn{Column: m.Column, Key: m.Key})
	}
	return spec
}

func (r *resources) openSource(ctx context.Context, reg *sources.Registry, connector string, spec sources.Spec) error {
	c, err := reg.Lookup(connector)
	if err != nil {
		return err
	}
	spec.Options = spec.Options.Known(c.Options) // the others are the sink's
	src, err := c.New(ctx, spec)
	if err != nil {
		return fmt.Errorf("open source %s: %w", spec.Table, err)
	}
	r.sources[spec.Name] = src
	if r.openers[spec.Name], err = c.NewOpener(spec); err != nil {
		return fmt.Errorf("open source %s: %w", spec.Table, err)
	}
	return nil
}

// openLooker opens a table in which rows are looked up. What is wrong with the table is
// told now; a database that is away is asked again by the batches.
func (r *resources) openLooker(ctx context.Context, reg *sources.Registry, connector string, spec sources.Spec) error {
	c, err := reg.Lookup(connector)
	if err != nil {
		return err
	}
	spec.Options = spec.Options.Known(c.Options)
	src, err := c.New(ctx, spec)
	if err == nil {
		err = src.Close()
	}
	if _, again := batch.KindOf(err); err != nil && !again {
		return fmt.Errorf("open source %s: %w", spec.Table, err)
	}
	o, err := c.NewOpener(spec)
	if err != nil {
		return fmt.Errorf("open source %s: %w", spec.Table, err)
	}
	l, ok := o.(sources.Looker)
	if !ok {
		return fmt.Errorf("open source %s: connector '%s' looks nothing up", spec.Table, connector)
	}
	r.openers[spec.Name], r.lookers[spec.Name] = o, l
	return nil
}

func (r *resources) openSink(ctx context.Context, c sinks.Connector, spec sinks.Spec) error {
	spec.Options = spec.Options.Known(c.Options) // the others are the source's
	sink, writers, err := c.New(ctx, spec)
	if err != nil {
		return fmt.Errorf("open sink %s: %w", spec.Table, err)
	}
	keeps := c.Transactional != nil && c.Transactional(spec)
	r.sinks[spec.Name], r.writers[spec.Name], r.volatile[spec.Name], r.transactional[spec.Name] = sink, writers, c.Volatile && !keeps, keeps
	return nil
}

// close closes the driver's halves.
func (r *resources) close() error {
	var errs []error
	for name, src := range r.sources {
		if err := src.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close source %s: %w", name, err))
		}
	}
	for name, sink := range r.sinks {
		if err := sink.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close sink %s: %w", name, err))
		}
	}
	for name, l := range r.lookers {
		if err := l.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close source %s: %w", name, err))
		}
	}
	for _, st := range r.snapshots {
		st.Close()
	}
	return errors.Join(errs...)
}

func without(m map[string]string, key string) options.Map {
	out := options.Map{}
	for k, v := range m {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// connectors gives the worker its halves by query.
type connectors struct {
	s  *Session
	mu struct {
		sync.RWMutex
		byQuery map[batch.QueryID]*resources
	}
}

var _ worker.Connectors = (*connectors)(nil)

func (c *connectors) add(r *resources) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.byQuery[r.query] = r
}

func (c *connectors) remove(id batch.QueryID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.byQuery, id)
}

// of finds a query's connectors by the key of its deployment, which starts with the query's ID.
func (c *connectors) of(key string) (*resources, error) {
	id, _, _ := strings.Cut(key, "/")
	c.mu.RLock()
	defer c.mu.RUnlock()
	if r := c.mu.byQuery[batch.QueryID(id)]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("deployment %s is of no query of this session", key)
}

// Opener implements worker.Connectors.
func (c *connectors) Opener(key, source string) (sources.Opener, error) {
	r, err := c.of(key)
	if err != nil {
		return nil, err
	}
	if o := r.openers[source]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("deployment %s has no source %s", key, source)
}

// Writers implements worker.Connectors.
func (c *connectors) Writers(key, sink string) (sinks.WriterFactory, error) {
	r, err := c.of(key)
	if err != nil {
		return nil, err
	}
	if w := r.writers[sink]; w != nil {
		return w, nil
	}
	return nil, fmt.Errorf("deployment %s has no sink %s", key, sink)
}

// State implements worker.Connectors.
func (c *connectors) State(d transport.Deploy, of *memory.Tracker) (statestore.Store, error) {
	return c.s.openState(d, of, d.StateDir, c.s.buckets.state(d.StateDir))
}

// openState opens the state of a query in a folder, which is the cache of a storage if
// that is not nil.
func (s *Session) openState(d transport.Deploy, of *memory.Tracker, dir string, storage checkpoint.Storage) (*tiered.Store, error) {
	opt := storedIn(dir, storage)
	opt.Elsewhere, opt.Pool, opt.Memory = d.Elsewhere, s.state, of.Child("state", 0)
	if d.Quota.Memory > 0 { // what it may have is for its tasks and its state together
		opt.Pool, opt.Memory = nil, of
	}
	return tiered.Open(opt)
}

// storedIn says where state lies.
func storedIn(dir string, storage checkpoint.Storage) tiered.Options {
	opt := tiered.Options{Storage: storage, Dir: dir}
	if storage != nil {
		opt.FS = vfsx.Machine
	}
	return opt
}
