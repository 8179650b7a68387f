package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jackc/pgx/v5"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/sources"
)

type querier = *pgx.Conn

// all is the position behind a table that is read as it is now.
const all batch.Offset = "all"

// source is the driver's half.
type source struct {
	t     *table
	where string // in front of what a split adds, "" for all rows

	held struct {
		sync.Mutex
		conn     *pgx.Conn // whose transaction holds the snapshot open
		snapshot string
		payloads []payload
	}
}

var (
	_ sources.Source   = (*source)(nil)
	_ sources.Accessor = (*source)(nil)
)

// payload is what a split says: pages [From, To) of a snapshot; To 0 has no end.
type payload struct {
	Snapshot string `json:"snapshot"`
	Where    string `json:"where,omitempty"`
	Ranged   bool   `json:"ranged,omitempty"`
	From     int64  `json:"from,omitempty"`
	To       int64  `json:"to,omitempty"`
}

func newSource(ctx context.Context, spec sources.Spec) (sources.Source, error) {
	t, err := parse(spec)
	if err != nil {
		return nil, err
	}
	s := &source{t: t}
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	conn, err := t.config.Connect(ctx, "sluice plan", nil)
	if err != nil {
		return nil, err
	}
	defer pgclient.Close(conn)
	found, err := t.describe(ctx, conn)
	if err != nil {
		return nil, err
	}
	var columns []int
	for i := range spec.Schema.NumFields() {
		columns = append(columns, i)
	}
	if _, _, err := t.expressions(found, columns); err != nil {
		return nil, err
	}
	s.where = t.pushed(found)
	return s, nil
}

// Access implements sources.Accessor.
func (s *source) Access() string {
	if s.where == "" {
		return ""
	}
	return "the database is asked WHERE " + s.where
}

func (s *source) Schema() *arrow.Schema { return s.t.spec.Schema }

func (s *source) Latest(context.Context, batch.Offset, sources.Limit) (batch.Offset, error) {
	return all, nil
}

// Ended implements sources.Bounded.
func (s *source) Ended(at batch.Offset) bool { return at == all }

// Plan cuts the table into ranges of pages. The snapshot lives as long as the source.
func (s *source) Plan(ctx context.Context, r batch.Range) ([]batch.Split, error) {
	if r.Start == r.End {
		return nil, nil
	}
	s.held.Lock()
	defer s.held.Unlock()
	if s.held.conn == nil {
		if err := s.beginLocked(ctx); err != nil {
			return nil, pgclient.Classify(fmt.Errorf("%s: %w", s.t.spec, err))
		}
	}
	out := make([]batch.Split, len(s.held.payloads))
	for i, p := range s.held.payloads {
		b, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("%s: write split %d: %w", s.t.spec, i, err)
		}
		out[i] = batch.Split{Index: i, Payload: b}
	}
	return out, nil
}

// beginLocked opens the snapshot and looks how large the table is.
func (s *source) beginLocked(ctx context.Context) error {
	conn, err := s.t.config.Connect(ctx, "sluice snapshot", nil)
	if err != nil {
		return err
	}
	snapshot, kind, pages := "", "", int64(0)
	if _, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err == nil {
		err = conn.QueryRow(ctx, "SELECT pg_export_snapshot(), relkind::text, CASE WHEN relkind IN ('r', 'm') THEN pg_relation_size(oid) / current_setting('block_size')::bigint ELSE 0 END "+
			"FROM pg_class WHERE oid = to_regclass($1)", s.t.config.Table.Quoted()).Scan(&snapshot, &kind, &pages)
	}
	if err != nil {
		pgclient.Close(conn)
		return fmt.Errorf("open a snapshot: %w", err)
	}
	s.held.conn, s.held.snapshot = conn, snapshot
	one := payload{Snapshot: snapshot, Where: s.where}
	s.held.payloads = []payload{one}
	if s.t.pages == 0 || pages <= s.t.pages {
		return nil
	}
	s.held.payloads = nil
	one.Ranged = true
	for from := int64(0); from < pages; from += s.t.pages {
		one.From, one.To = from, from+s.t.pages
		if one.To >= pages {
			one.To = 0
		}
		s.held.payloads = append(s.held.payloads, one)
	}
	return nil
}

func (s *source) Release(context.Context, batch.Offset) error { return nil }

func (s *source) Close() error {
	s.held.Lock()
	defer s.held.Unlock()
	pgclient.Close(s.held.conn)
	s.held.conn = nil
	return nil
}

// stats tells how many rows the database believes that there are.
func stats(ctx context.Context, spec sources.Spec) (batch.TableStats, error) {
	t, err := parse(spec)
	if err != nil {
		return batch.TableStats{}, err
	}
	conn, err := t.config.Connect(ctx, "sluice plan", nil)
	if err != nil {
		return batch.TableStats{}, nil // the query will say
	}
	defer pgclient.Close(conn)
	var n, size int64
	err = conn.QueryRow(ctx, "SELECT greatest(reltuples, 0)::bigint, pg_relation_size(oid) FROM pg_class WHERE oid = to_regclass($1)", t.config.Table.Quoted()).Scan(&n, &size)
	if err != nil || n == 0 {
		return batch.TableStats{}, nil
	}
	return batch.TableStats{Rows: n, Bytes: size}, nil
}

// pushed is the condition for rows that the query may want. Nothing goes in that the
// database might judge otherwise than the engine does.
func (t *table) pushed(found *pgclient.Table) string {
	var out []string
	for _, c := range t.spec.Where.Conditions {
		cols := c.Columns()
		if len(cols) != 1 {
			continue
		}
		at := cols[0]
		if t.spec.Where.Columns != nil {
			if at >= len(t.spec.Where.Columns) {
				continue
			}
			at = t.spec.Where.Columns[at]
		}
		if at < 0 || at >= t.spec.Schema.NumFields() {
			continue
		}
		f := t.spec.Schema.Field(at)
		col, ok := columnOf(found, f)
		if !ok {
			continue
		}
		if points := c.Points(); len(points) > 0 {
			var list []string
			for _, p := range points {
				if v := constant(f.Type, col, p); v != "" {
					list = append(list, v)
				}
			}
			if len(list) == len(points) {
				slices.Sort(list)
				out = append(out, fmt.Sprintf("%s IN (%s)", pgclient.QuoteIdent(col.Name), strings.Join(list, ", ")))
			}
			continue
		}
		if r, ok := c.(sources.Comparing); ok {
			if op, value, ok := r.Compares(); ok && f.Type.ID() != arrow.STRING { // texts are in another order there
				if v := constant(f.Type, col, value); v != "" {
					out = append(out, fmt.Sprintf("%s %s %s", pgclient.QuoteIdent(col.Name), op, v))
				}
			}
		}
	}
	return strings.Join(out, " AND ")
}

// constant writes a value of a column's type for a statement; "" if it is not certain
// that the database takes it for the same.
func constant(dt arrow.DataType, c pgclient.Column, v any) string {
	if c.Array {
		return ""
	}
	switch v := v.(type) {
	case int64:
		text := strconv.FormatInt(v, 10)
		switch dt.ID() {
		case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
			if c.Base == "int2" || c.Base == "int4" || c.Base == "int8" {
				return "'" + text + "'::bigint"
			}
		case arrow.DATE32:
			if c.Base == "date" && v > -700_000 && v < 2_900_000 {
				return "(DATE '1970-01-01' + " + text + ")"
			}
		case arrow.TIMESTAMP:
			own := map[bool]string{true: "timestamptz", false: "timestamp"}[dt.(*arrow.TimestampType).TimeZone != ""]
			if c.Base == own && v > -60e15 && v < 250e15 {
				return fmt.Sprintf("(%s 'epoch' + %d * interval '1 second' + %d * interval '1 microsecond')", own, v/1e6, v%1e6)
			}
		default:
		}
	case string:
		if dt.ID() == arrow.STRING && (c.Base == "text" || c.Base == "varchar") && !strings.ContainsRune(v, 0) {
			return "'" + strings.ReplaceAll(v, "'", "''") + "'"
		}
	}
	return ""
}
