package sluice

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	memorysink "github.com/sluice-stream/sluice/sinks/memory"
	"github.com/sluice-stream/sluice/sources"
	memorysource "github.com/sluice-stream/sluice/sources/memory"
)

// liveTable is a table in memory that a streaming query looks up: each batch reads
// the version that its plan names, which is the table's newest when it is planned.
//
// Memory does not outlive the process. A plan of another process is run over the
// newest version: if it was never committed nobody has seen another, and else the
// digests tell whether the rows are the same.
type liveTable struct {
	reg    *registry
	name   string // in memory
	table  string // as declared
	schema *arrow.Schema

	mu struct {
		sync.Mutex
		versions []liveVersion // the newest last
		next     int64
	}
}

// liveVersionsMax is how many versions are kept: of the batch that runs and of the
// next one; the others are room for what a restart of the driver runs again.
const liveVersionsMax = 4

// liveVersion is the rows of a table as they were.
type liveVersion struct {
	id     string
	of     *memorysink.Table // nil for a table that nobody has written to
	commit int64
	rows   *memorysource.Stream
	source sources.Source
	opener sources.Opener
}

var (
	_ sources.Source = (*liveTable)(nil)
	_ sources.Pinner = (*liveTable)(nil)
	_ sources.Opener = (*liveTable)(nil)
)

func newLiveTable(reg *registry, name, table string, schema *arrow.Schema) *liveTable {
	return &liveTable{reg: reg, name: name, table: table, schema: schema}
}

func (l *liveTable) Schema() *arrow.Schema { return l.schema }

// Latest is not asked for: the table has versions, and no positions.
func (l *liveTable) Latest(_ context.Context, from batch.Offset, _ sources.Limit) (batch.Offset, error) {
	return from, nil
}

// Pin names the table's version now, and keeps its rows.
func (l *liveTable) Pin(ctx context.Context) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, err := l.newestLocked(ctx)
	return v.id, err
}

// newestLocked takes the rows of the table if they have changed.
func (l *liveTable) newestLocked(ctx context.Context) (liveVersion, error) {
	table, _ := l.reg.tables.Get(l.name)
	commit := int64(0)
	if table != nil {
		commit = table.Version()
	}
	if n := len(l.mu.versions); n > 0 && l.mu.versions[n-1].of == table && l.mu.versions[n-1].commit == commit {
		return l.mu.versions[n-1], nil
	}
	v := liveVersion{id: strconv.FormatInt(l.mu.next, 10), of: table, commit: commit, rows: memorysource.NewStream(l.schema)}
	if table != nil {
		var err error
		for _, rec := range table.Snapshot() {
			if err == nil {
				err = addRows(v.rows, l.schema, rec)
			}
			rec.Release()
		}
		if err != nil {
			v.rows.Close()
			return v, fmt.Errorf("read table %s: %w", l.table, err)
		}
	}
	c := memorysource.Connector(func(string) (*memorysource.Stream, bool) { return v.rows, true })
	spec := sources.Spec{Name: l.table, Table: l.table, Schema: l.schema, Options: options.Map{"name": l.name}}
	var err error
	if v.source, err = c.New(ctx, spec); err != nil {
		v.rows.Close()
		return v, fmt.Errorf("read table %s: %w", l.table, err)
	}
	if v.opener, err = c.NewOpener(spec); err != nil {
		v.rows.Close()
		return v, fmt.Errorf("read table %s: %w", l.table, err)
	}
	l.mu.next++
	if l.mu.versions = append(l.mu.versions, v); len(l.mu.versions) > liveVersionsMax {
		l.mu.versions[0].rows.Close()
		l.mu.versions = l.mu.versions[1:]
	}
	return v, nil
}

// find returns a version, or the newest where it is of another process.
func (l *liveTable) find(ctx context.Context, id string) (liveVersion, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.mu.versions {
		if v.id == id {
			return v, nil
		}
	}
	return l.newestLocked(ctx)
}

func (l *liveTable) Plan(ctx context.Context, r batch.Range) ([]batch.Split, error) {
	v, err := l.find(ctx, r.Pin)
	if err != nil {
		return nil, err
	}
	end, err := v.source.Latest(ctx, "", sources.Limit{})
	if err != nil {
		return nil, err
	}
	splits, err := v.source.Plan(ctx, batch.Range{Source: r.Source, End: end})
	for i := range splits {
		splits[i].Payload = append([]byte(v.id+"\n"), splits[i].Payload...)
	}
	return splits, err
}

// Open reads a split of a version.
func (l *liveTable) Open(ctx context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	id, payload, ok := bytes.Cut(s.Payload, []byte("\n"))
	if !ok {
		return nil, fmt.Errorf("open split %d of table %s: %q names no version", s.Index, l.table, s.Payload)
	}
	v, err := l.find(ctx, string(id))
	if err != nil {
		return nil, err
	}
	s.Payload = payload
	return v.opener.Open(ctx, s, columns, alloc)
}

// Release has nothing to let go of: versions are kept by number.
func (l *liveTable) Release(context.Context, batch.Offset) error { return nil }

// Close gives the rows of all versions back.
func (l *liveTable) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range l.mu.versions {
		v.rows.Close()
	}
	l.mu.versions = nil
	return nil
}
