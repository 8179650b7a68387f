package nexmark

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

//go:embed duckdb.sql
var duckQueries string

var (
	events = flag.Int("events", 20_000, "events that the queries are held to DuckDB with")
	cuts   = flag.String("batches", "", "events of a micro-batch, comma-separated; default: a few sizes by -events")
	only   = flag.String("only", "", "names of the queries to run, comma-separated; all if empty")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestQueries holds each query, as a batch and streamed in batches of several
// sizes with and without restarts, to DuckDB's answer on the same events.
func TestQueries(t *testing.T) {
	if *events > fewEvents {
		t.Skip("TestMany is for so many events")
	}
	ctx := t.Context()
	db := duckdb.Start(t)
	all := session(t, "2", 0)
	dir := t.TempDir()
	load(t, db, all, dir, "TABLE")
	for _, q := range wanted() {
		t.Run(q.Name, func(t *testing.T) {
			_, rows, err := db.Query(ctx, theirs(q))
			if err != nil {
				t.Fatal(err)
			}
			want := sorted(rows)
			if len(want) == 0 && q.Name != "q2" {
				t.Fatal("the events have no row for this query, which proves nothing")
			}
			rows, err = rowsOf(ctx, all, q.SQL)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "as a batch", summed(q, sorted(rows)), want)
			for i, size := range sizes() {
				got := stream(t, q, size, i%2 == 1)
				compare(t, fmt.Sprintf("streamed by %d events", size), summed(q, got), want)
			}
		})
	}
}

// wanted are the queries that -only names, or all.
func wanted() []Query {
	return slices.DeleteFunc(Queries(), func(q Query) bool { return *only != "" && !slices.Contains(strings.Split(*only, ","), q.Name) })
}

// theirs is a query as DuckDB has it.
func theirs(q Query) string {
	for _, d := range parse(duckQueries) {
		if d.Name == q.Name {
			return d.SQL
		}
	}
	return q.SQL
}

// summed adds up the counts of each bidder for q12, whose windows are of the wall clock.
func summed(q Query, rows [][]string) [][]string {
	if q.Name != "q12" {
		return rows
	}
	var out [][]string
	for _, r := range rows {
		if n := len(out); n > 0 && out[n-1][0] == r[0] {
			a, _ := strconv.Atoi(out[n-1][1])
			b, _ := strconv.Atoi(r[1])
			out[n-1][1] = strconv.Itoa(a + b)
			continue
		}
		out = append(out, []string{r[0], r[1]})
	}
	return out
}

// sizes of micro-batches in events.
func sizes() (out []int) {
	for s := range strings.SplitSeq(*cuts, ",") {
		if n, err := strconv.Atoi(s); err == nil {
			out = append(out, n)
		}
	}
	if len(out) > 0 {
		return out
	}
	return []int{*events, *events/4 + 1, *events/11 + 1}
}

// disorder is added to the options of the source; it is set by tests that run alone.
var disorder map[string]string

// session has the tables; a batch is of so many events, all if 0.
func session(t *testing.T, parallelism string, size int) *sluice.Session {
	t.Helper()
	s, err := sluice.NewSession(sluice.Options{
		Settings:      map[string]string{"parallelism": parallelism, "memory_limit": "8GB"},
		CheckpointDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	// 500 events a second: 20,000 are 40 seconds, several windows.
	options := map[string]string{"events": strconv.Itoa(*events), "events-per-second": strconv.Itoa(max(*events/40, 500)), "split-events": "4096"}
	maps.Copy(options, disorder)
	if size > 0 {
		options["max-events-per-trigger"] = strconv.Itoa(size)
	}
	if err := s.Exec(t.Context(), Tables(options)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// load writes the events to Parquet files and has DuckDB read them, once as a
// TABLE or each time as a VIEW.
func load(t *testing.T, db *duckdb.Engine, s *sluice.Session, dir, as string) {
	t.Helper()
	for table, times := range map[string]string{
		"person": "dateTime", "auction": "dateTime,expires", "bid": "dateTime",
	} {
		path := filepath.Join(dir, table)
		if err := s.Exec(t.Context(), fmt.Sprintf("CREATE TABLE %s_files WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet') AS SELECT * FROM %s",
			table, path, table)); err != nil {
			t.Fatal(err)
		}
		var replace []string
		for c := range strings.SplitSeq(times, ",") {
			replace = append(replace, fmt.Sprintf("%s AT TIME ZONE 'UTC' AS %s", c, c))
		}
		if err := db.Exec(t.Context(), fmt.Sprintf("CREATE %s %s AS SELECT * REPLACE (%s) FROM '%s/**/*.parquet'", as, table, strings.Join(replace, ", "), path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Exec(t.Context(), "CREATE TABLE side_input AS SELECT range AS key, CAST(range AS VARCHAR) AS value FROM range(10000)"); err != nil {
		t.Fatal(err)
	}
}

// outcome gathers what a query puts out. A batch that comes again replaces itself.
type outcome struct {
	sync.Mutex
	fresh   func() changes
	batches map[int64]changes
	halt    int // batches after which the query is dropped, 0 for never
	query   *sluice.Query
}

// changes counts rows in and out.
type changes interface {
	count(cols []arrow.Array, row, by int)
}

func (o *outcome) take(_ context.Context, id int64, recs []arrow.RecordBatch) error {
	c := o.fresh()
	for _, rec := range recs {
		countAll(c, rec)
	}
	o.Lock()
	defer o.Unlock()
	o.batches[id] = c
	if o.halt > 0 && len(o.batches) == o.halt {
		o.query.Abandon()
	}
	return nil
}

func countAll(c changes, rec arrow.RecordBatch) {
	cols, ops := rec.Columns(), (*array.Int8)(nil)
	if last := len(cols) - 1; rec.ColumnName(last) == sluice.OpColumn {
		cols, ops = cols[:last], cols[last].(*array.Int8)
	}
	for i := range int(rec.NumRows()) {
		by := 1
		if ops != nil && batch.Op(ops.Value(i)) != batch.Insert && batch.Op(ops.Value(i)) != batch.UpdateAfter {
			by = -1
		}
		c.count(cols, i, by)
	}
}

// multiset counts rows by their text.
type multiset map[string]int

func (m multiset) count(cols []arrow.Array, row, by int) {
	m[strings.Join(text(cols, row), "\x00")] += by
}

// stream runs a query over all events and returns the rows that are left of what
// it put out. With restart it is dropped after its second batch and goes on at another
// parallelism.
func stream(t *testing.T, q Query, size int, restart bool) [][]string {
	t.Helper()
	out := &outcome{fresh: func() changes { return multiset{} }, batches: map[int64]changes{}}
	runAll(t, q, out, size, restart)
	total := multiset{}
	for _, c := range out.batches {
		for row, by := range c.(multiset) {
			total[row] += by
		}
	}
	var rows [][]string
	for row, n := range total {
		if n < 0 {
			t.Fatalf("took back a row that it never put out: %q", row)
		}
		for range n {
			rows = append(rows, strings.Split(row, "\x00"))
		}
	}
	return sorted(rows)
}

func runAll(t *testing.T, q Query, out *outcome, size int, restart bool) {
	t.Helper()
	dir := t.TempDir()
	if restart {
		out.halt = 2
		run(t, q, out, dir, size, "3")
		out.halt = 0
	}
	run(t, q, out, dir, size, "2")
}

func run(t *testing.T, q Query, out *outcome, dir string, size int, parallelism string) {
	t.Helper()
	ctx, s := t.Context(), session(t, parallelism, size)
	df, err := s.SQL(ctx, q.SQL)
	if err != nil {
		t.Fatal(err)
	}
	mode := sluice.Changelog
	if q.Mode == "append" {
		mode = sluice.Append
	}
	out.Lock()
	out.query, err = df.ForeachBatch(out.take).Name("q").Mode(mode).Trigger(sluice.AvailableNow()).Checkpoint(dir).Start(ctx)
	out.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := out.query.Await(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func rowsOf(ctx context.Context, s *sluice.Session, sql string) (rows [][]string, err error) {
	err = each(ctx, s, sql, func(rec arrow.RecordBatch) {
		for i := range int(rec.NumRows()) {
			rows = append(rows, text(rec.Columns(), i))
		}
	})
	return rows, err
}

// each visits the batches of a query's result.
func each(ctx context.Context, s *sluice.Session, sql string, visit func(rec arrow.RecordBatch)) error {
	return s.Run(ctx, sql, func(r *sluice.Result) (err error) {
		defer func() { err = errors.Join(err, r.Rows.Close()) }()
		for {
			rec, err := r.Rows.Next(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			visit(rec)
			rec.Release()
		}
	})
}

var utc = func() *render.Formatter {
	f, err := render.New("UTC")
	if err != nil {
		panic(err)
	}
	return f
}()

func text(cols []arrow.Array, i int) []string {
	row := make([]string, len(cols))
	for c, col := range cols {
		if row[c] = "NULL"; !col.IsNull(i) {
			row[c] = string(utc.AppendText(nil, col, i))
		}
	}
	return row
}

func sorted(rows [][]string) [][]string {
	slices.SortFunc(rows, slices.Compare)
	return rows
}

func compare(t *testing.T, how string, got, want [][]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: got %d rows, want %d\n%s", how, len(got), len(want), difference(got, want))
		return
	}
	for i := range want {
		for c := range want[i] {
			if !equal(got[i][c], want[i][c]) {
				t.Errorf("%s: row %d column %d: got %q, want %q", how, i+1, c+1, got[i], want[i])
				return
			}
		}
	}
}

// difference shows some of the rows that one side alone has.
func difference(got, want [][]string) string {
	n := map[string]int{}
	for _, r := range got {
		n[strings.Join(r, "|")]++
	}
	for _, r := range want {
		n[strings.Join(r, "|")]--
	}
	var out []string
	for _, r := range slices.Sorted(maps.Keys(n)) {
		if n[r] != 0 && len(out) < 10 {
			out = append(out, fmt.Sprintf("%+d %s", n[r], r))
		}
	}
	return strings.Join(out, "\n")
}

// equal allows for the last digits of a mean, which DuckDB rounds as DOUBLE.
func equal(got, want string) bool {
	if got == want {
		return true
	}
	g, err1 := strconv.ParseFloat(got, 64)
	w, err2 := strconv.ParseFloat(want, 64)
	return err1 == nil && err2 == nil && math.Abs(g-w) <= 1e-9*math.Max(1, math.Abs(w))
}
