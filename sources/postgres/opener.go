package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

const (
	// recordRows and recordBytes are when a record batch is full.
	recordRows  = 8192
	recordBytes = 4 << 20
)

// opener is the worker's half: it reads splits, and looks rows up.
type opener struct {
	t     *table
	fs    vfsx.FS
	clock clock.Clock

	once sync.Mutex
	look *lookup // once rows were looked up
}

var (
	_ sources.Opener = (*opener)(nil)
	_ sources.Looker = (*opener)(nil)
)

func (o *opener) Open(ctx context.Context, s batch.Split, columns []int, alloc memory.Allocator) (_ sources.Reader, err error) {
	fail := func(err error) (sources.Reader, error) {
		return nil, pgclient.Classify(fmt.Errorf("open split %d of %s: %w", s.Index, o.t.spec, err))
	}
	var p payload
	if err := json.Unmarshal(s.Payload, &p); err != nil {
		return fail(err)
	}
	schema, err := sources.Project(o.t.spec.Schema, columns)
	if err != nil {
		return fail(err)
	}
	if columns == nil {
		for i := range o.t.spec.Schema.NumFields() {
			columns = append(columns, i)
		}
	}
	conn, err := o.t.config.Connect(ctx, "sluice scan", nil)
	if err != nil {
		return nil, err
	}
	r := &reader{t: o.t, conn: conn}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.rows, err = newRows(schema, alloc); err != nil {
		return fail(err)
	}
	if _, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err == nil {
		_, err = conn.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+strings.ReplaceAll(p.Snapshot, "'", "''")+"'")
	}
	if err != nil {
		return fail(err)
	}
	found, err := o.t.describe(ctx, conn)
	if err != nil {
		return fail(err)
	}
	es, _, err := o.t.expressions(found, columns)
	if err != nil {
		return fail(err)
	}
	r.result = conn.PgConn().ExecParams(ctx, o.t.scan(es, p), nil, nil, nil, nil)
	return r, nil
}

// scan is the statement that reads a split.
func (t *table) scan(es []string, p payload) string {
	var where []string
	if p.Where != "" {
		where = append(where, p.Where)
	}
	if p.Ranged {
		where = append(where, fmt.Sprintf("ctid >= '(%d,0)'", p.From))
		if p.To > 0 {
			where = append(where, fmt.Sprintf("ctid < '(%d,0)'", p.To))
		}
	}
	text := "SELECT " + strings.Join(es, ", ") + " FROM " + t.config.Table.Quoted()
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	return text
}

// reader reads one split.
type reader struct {
	t      *table
	conn   *pgx.Conn
	result *pgconn.ResultReader
	rows   *rows
}

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.result == nil {
		return nil, io.EOF
	}
	for r.rows.n < recordRows && r.rows.size < recordBytes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !r.result.NextRow() {
			_, err := r.result.Close()
			r.result = nil
			if err != nil {
				return nil, pgclient.Classify(fmt.Errorf("read %s: %w", r.t.spec, err))
			}
			break
		}
		if err := r.rows.add(r.result.Values()); err != nil {
			return nil, fmt.Errorf("read %s: %w", r.t.spec, err)
		}
	}
	if r.rows.n == 0 {
		return nil, io.EOF
	}
	return r.rows.flush(), nil
}

func (r *reader) Close() error {
	if r.rows != nil {
		r.rows.release()
		r.rows = nil
	}
	if r.conn != nil && r.result != nil {
		// The rest of the rows is of no interest, and need not be sent.
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = r.conn.PgConn().Close(ctx)
	}
	pgclient.Close(r.conn)
	r.conn, r.result = nil, nil
	return nil
}
