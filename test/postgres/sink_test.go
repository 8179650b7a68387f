package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/postgres"
	"github.com/sluice-stream/sluice/sinks/sinktest"
)

// options are those of a table.
func (s *server) options(table string, more ...string) options.Map {
	m := options.Map{"url": s.url(), "password": s.password(), "table": table}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

var tables atomic.Int64

func TestSeam(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	for _, buffer := range []string{"64MiB", "1B"} { // in memory, and in files
		t.Run(buffer, func(t *testing.T) {
			sinktest.Run(t, func(t testing.TB) sinktest.Case {
				table := fmt.Sprintf("%s.t%d", schema, tables.Add(1))
				spec := sinktest.Spec()
				spec.Query = batch.QueryID(table)
				spec.Options = s.options(table, "create-table", "true", "buffer-bytes", buffer)
				return sinktest.Case{
					Open: func(t testing.TB) (sinks.Sink, sinks.WriterFactory) {
						sink, writers, err := postgres.Connector().New(t.Context(), spec)
						if err != nil {
							t.Fatal(err)
						}
						return sink, writers
					},
					Visible: func(t testing.TB) []string {
						rows, err := conn.Query(t.Context(), "SELECT id, name FROM "+table)
						if err != nil {
							t.Fatal(err)
						}
						defer rows.Close()
						var out []string
						for rows.Next() {
							var id int64
							var name *string
							if err := rows.Scan(&id, &name); err != nil {
								t.Fatal(err)
							}
							if name == nil {
								out = append(out, sinktest.Line(id, "", false))
							} else {
								out = append(out, sinktest.Line(id, *name, true))
							}
						}
						return out
					},
					Volatile: true,
				}
			})
		})
	}
}

// TestTablesMadeAtOnce: queries that begin together in a database without any of their
// tables, which of them each may find half made by another.
func TestTablesMadeAtOnce(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	for round := range 10 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			schema := s.schema(t, conn)
			const queries = 8
			var fixtures []*fixture
			var parts [][]batch.Prepared
			for n := range queries {
				spec := sinktest.Spec()
				spec.Query = batch.QueryID(fmt.Sprintf("%s.%d", schema, n))
				spec.Options = s.options(schema+".t", "create-table", "true")
				f := openSink(t, spec)
				fixtures = append(fixtures, f)
				parts = append(parts, f.prepare(0, 1, nil, fmt.Sprintf(`[{"id": %d, "name": "n"}]`, n)))
			}
			errs := make([]error, queries)
			var all sync.WaitGroup
			for n, f := range fixtures {
				all.Go(func() { errs[n] = f.sink.Commit(t.Context(), 0, 1, parts[n]) })
			}
			all.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			if got := rowsOf(t, conn, "SELECT count(*) FROM "+schema+".t"); !slices.Equal(got, []string{fmt.Sprint(queries)}) {
				t.Errorf("the table has %s rows of %d queries", got, queries)
			}
		})
	}
}

// fixture is a sink that a test writes batches to.
type fixture struct {
	t       testing.TB
	sink    sinks.Sink
	writers sinks.WriterFactory
	spec    sinks.Spec
	mem     *memory.CheckedAllocator
}

func openSink(t testing.TB, spec sinks.Spec) *fixture {
	t.Helper()
	f := &fixture{t: t, spec: spec, mem: memory.NewCheckedAllocator(memory.NewGoAllocator())}
	var err error
	if f.sink, f.writers, err = postgres.Connector().New(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.sink.Close(); err != nil {
			t.Error(err)
		}
		f.mem.AssertSize(t, 0)
	})
	return f
}

// prepare writes rows given as JSON, with kinds of change if ops are given.
func (f *fixture) prepare(id batch.ID, term batch.Term, ops []sinks.Op, rows string) []batch.Prepared {
	f.t.Helper()
	rec, _, err := array.RecordFromJSON(f.mem, f.spec.Schema, strings.NewReader(rows))
	if err != nil {
		f.t.Fatal(err)
	}
	defer rec.Release()
	if ops != nil {
		b := array.NewInt8Builder(f.mem)
		defer b.Release()
		for _, op := range ops {
			b.Append(int8(op))
		}
		col := b.NewArray()
		defer col.Release()
		fields := append(slices.Clone(f.spec.Schema.Fields()), arrow.Field{Name: sinks.OpColumn, Type: col.DataType()})
		changes := array.NewRecordBatch(arrow.NewSchema(fields, nil), append(slices.Clone(rec.Columns()), col), rec.NumRows())
		defer changes.Release()
		rec = changes
	}
	w, err := f.writers.NewWriter(f.t.Context(), sinks.Attempt{Task: batch.TaskID{Query: f.spec.Query, Batch: id}, Term: term}, rec.Schema(), f.mem)
	if err == nil {
		err = w.Write(f.t.Context(), rec)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	p, err := w.Prepare(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	p.Digest = batch.Digest{Lo: uint64(len(rows))}
	return []batch.Prepared{p}
}

func (f *fixture) commit(id batch.ID, term batch.Term, ops []sinks.Op, rows string) {
	f.t.Helper()
	if err := f.sink.Commit(f.t.Context(), id, term, f.prepare(id, term, ops, rows)); err != nil {
		f.t.Fatal(err)
	}
}

func kv() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.BinaryTypes.String}, {Name: "V", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
}

// spec is of a table of its own that is made.
func (s *server) spec(t testing.TB, table string, schema *arrow.Schema, mode sinks.Mode, keys ...string) sinks.Spec {
	return sinks.Spec{Name: "out#0", Table: "out", Query: batch.QueryID(table), Schema: schema, Mode: mode, Keys: keys, Zone: "Europe/Berlin",
		Options: s.options(table, "create-table", "true")}
}

func TestUpsert(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	table := s.schema(t, conn) + ".out"
	f := openSink(t, s.spec(t, table, kv(), sinks.Update, "k"))
	i, u, v, d := sinks.Insert, sinks.UpdateBefore, sinks.UpdateAfter, sinks.Delete
	f.commit(0, 1, []sinks.Op{i, i, i}, `[{"k":"a","V":1},{"k":"b","V":2},{"k":"c\\\t\n\"","V":null}]`)
	f.commit(1, 1, []sinks.Op{u, v, d}, `[{"k":"a","V":1},{"k":"a","V":10},{"k":"b","V":2}]`)
	f.commit(2, 1, []sinks.Op{i, d}, `[{"k":"b","V":3},{"k":"c\\\t\n\"","V":null}]`)
	if got := rowsOf(t, conn, `SELECT k, "V" FROM `+table+` ORDER BY k`); !slices.Equal(got, []string{"a|10", "b|3"}) {
		t.Errorf("the table holds %q", got)
	}
	held := strings.Replace(table, ".out", ".sluice_batches", 1)
	if got := rowsOf(t, conn, "SELECT query, sink, table_name, batch, term, rows FROM "+held); !slices.Equal(got, []string{table + "|out#0|" + table + "|2|1|2"}) {
		t.Errorf("the table of batches holds %q", got)
	}
}

// Rows that only come, with a declared key: the last of a key counts, in a batch too.
func TestUpsertOfAppendedRows(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	table := s.schema(t, conn) + ".out"
	f := openSink(t, s.spec(t, table, kv(), sinks.Append, "k"))
	f.commit(0, 1, nil, `[{"k":"a","V":1},{"k":"a","V":3},{"k":"a","V":2}]`)
	f.commit(1, 1, nil, `[{"k":"b","V":1}]`)
	if got := rowsOf(t, conn, `SELECT k, "V" FROM `+table+` ORDER BY k`); !slices.Equal(got, []string{"a|2", "b|1"}) {
		t.Errorf("the table holds %q", got)
	}
}

func TestComplete(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	table := s.schema(t, conn) + ".out"
	f := openSink(t, s.spec(t, table, kv(), sinks.Complete))
	f.commit(0, 1, nil, `[{"k":"a","V":1},{"k":"b","V":3}]`)
	f.commit(1, 1, nil, `[{"k":"c","V":1}]`)
	if got := rowsOf(t, conn, `SELECT k, "V" FROM `+table); !slices.Equal(got, []string{"c|1"}) {
		t.Errorf("the table holds %q", got)
	}
}

func TestOneRow(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	table := s.schema(t, conn) + ".out"
	spec := s.spec(t, table, kv(), sinks.Update)
	spec.OneRow = true
	f := openSink(t, spec)
	f.commit(0, 1, []sinks.Op{sinks.Insert}, `[{"k":"a","V":1}]`)
	f.commit(1, 1, []sinks.Op{sinks.UpdateBefore, sinks.UpdateAfter}, `[{"k":"a","V":1},{"k":"b","V":2}]`)
	f.commit(2, 1, []sinks.Op{}, `[]`)
	if got := rowsOf(t, conn, `SELECT k, "V" FROM `+table); !slices.Equal(got, []string{"b|2"}) {
		t.Errorf("the table holds %q", got)
	}
}

// What was committed with other rows must not be taken for the batch.
func TestOtherRowsAreRefused(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	f := openSink(t, s.spec(t, s.schema(t, conn)+".out", kv(), sinks.Append))
	f.commit(0, 1, nil, `[{"k":"a","V":1}]`)
	err := f.sink.Commit(t.Context(), 0, 1, f.prepare(0, 1, nil, `[{"k":"other","V":1}]`))
	if err == nil || !strings.Contains(err.Error(), "holds batch 0 with digest") {
		t.Errorf("got %v", err)
	}
	if id, digest, err := f.sink.Holds(t.Context()); err != nil || id != 0 || digest.Lo != uint64(len(`[{"k":"a","V":1}]`)) {
		t.Errorf("it holds %d, %s (%v)", id, digest, err)
	}
}

// A leader that stands still in the middle of its transaction holds the lock. The next
// one ends its session, and when it wakes it is refused.
func TestLeaderThatStandsStill(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	spec := s.spec(t, s.schema(t, conn)+".out", kv(), sinks.Append)
	old := openSink(t, spec)
	old.commit(0, 1, nil, `[{"k":"a","V":1}]`)
	late := old.prepare(1, 1, nil, `[{"k":"late","V":1}]`)
	held := strings.TrimSuffix(string(spec.Query), ".out") + ".sluice_batches"
	// Its session, as one that has stopped behind the lock.
	still := s.connect(t)
	name := rowsOf(t, conn, "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'sluice % term 1' ORDER BY backend_start DESC LIMIT 1")
	exec1(t, still, "SET application_name = '"+name[0]+"'; BEGIN; SELECT * FROM "+held+" FOR UPDATE")
	next := openSink(t, spec)
	next.commit(1, 2, nil, `[{"k":"b","V":2}]`)
	if _, err := still.Exec(t.Context(), "COMMIT"); err == nil {
		t.Error("the session of the older term was left alone")
	}
	if err := old.sink.Commit(t.Context(), 1, 1, late); !errors.Is(err, batch.ErrFenced) {
		t.Errorf("the leader that woke got %v", err)
	}
	if err := old.sink.Abort(t.Context(), 1, 1, late); !errors.Is(err, batch.ErrFenced) {
		t.Errorf("an abort of the leader that woke got %v", err)
	}
	if got := rowsOf(t, conn, "SELECT k FROM "+string(spec.Query)+" ORDER BY k"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the table holds %q", got)
	}
}

// A connection that is cut at any time is made again, and rows come once.
func TestConnectionsAreCut(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	spec := s.spec(t, s.schema(t, conn)+".out", kv(), sinks.Append)
	f := openSink(t, spec)
	for id := range batch.ID(20) {
		f.commit(id, 1, nil, fmt.Sprintf(`[{"k":"%d","V":1}]`, id))
		exec1(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'sluice % term 1'")
	}
	if got := rowsOf(t, conn, "SELECT count(*), count(DISTINCT k) FROM "+string(spec.Query)); got[0] != "20|20" {
		t.Errorf("the table holds %q", got)
	}
}

func TestOneShot(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	spec := s.spec(t, schema+".out", kv(), sinks.Append)
	spec.Batch = true
	f := openSink(t, spec)
	parts := f.prepare(0, 1, nil, `[{"k":"a","V":1}]`)
	for range 2 { // as after an answer that was lost
		if err := f.sink.Commit(t.Context(), 0, 1, parts); err != nil {
			t.Fatal(err)
		}
	}
	if got := rowsOf(t, conn, "SELECT k FROM "+schema+".out"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the table holds %q", got)
	}
	if got := rowsOf(t, conn, "SELECT count(*) FROM pg_tables WHERE schemaname = '"+schema+"'"); got[0] != "1" {
		t.Errorf("a statement left %s tables", got[0])
	}
}
