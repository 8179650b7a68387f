package sluice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// newStream makes a stream of the columns k STRING, v BIGINT.
func newStream(t testing.TB, s *Session, name string, opts ...StreamOption) *Stream {
	t.Helper()
	st, err := s.CreateStream(name, schemaOf(t, s, "k STRING, v BIGINT"), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func start(t testing.TB, w *Writer) *Query {
	t.Helper()
	q, err := w.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestProgressHasTheFieldsOfSparksStreamingQueryProgress(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	q := start(t, s.Table("ev").GroupBy("k").Count().WriteToMemory("m").Keys("k").Mode(Update).Name("counts"))
	if p := q.Progress(); p.BatchID != -1 || p.Name != "counts" || p.ID != q.ID() {
		t.Errorf("before the first batch: %+v", p)
	}
	add(t, st, "a,1\nb,2")
	process(t, q)
	add(t, st, "a,3")
	process(t, q)
	text, err := json.Marshal(q.Progress())
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"id", "runId", "name", "timestamp", "batchId", "batchDuration", "durationMs", "eventTime", "stateOperators", "sources", "sink", "numInputRows", "inputRowsPerSecond", "processedRowsPerSecond"} {
		if _, ok := p[field]; !ok {
			t.Errorf("the field %s is missing in %s", field, text)
		}
	}
	if p["batchId"] != 1.0 || p["numInputRows"] != 1.0 || p["name"] != "counts" {
		t.Errorf("wrong values in %s", text)
	}
	if n := len(q.Recent()); n != 2 {
		t.Errorf("%d batches are remembered, want 2", n)
	}
	if got := q.Totals(); got != (Totals{Batches: 2, RowsIn: 3, RowsOut: 3}) {
		t.Errorf("totals %+v", got)
	}
	if text := q.Explain(); !strings.Contains(text, "counts") || !strings.Contains(text, "update") || !strings.Contains(text, "Stage 0") {
		t.Errorf("explain prints %s", text)
	}
	same(t, "the result", rowsOf(t, s.MemoryTable("m")), "a|2", "b|1")
	same(t, "the result in SQL", query(t, s, "SELECT k FROM m WHERE `count` > 1"), "a")
}

// TestAFailingFunctionStopsItsQuery: the error says which function, nothing of
// the batch is visible, the other query goes on.
func TestAFailingFunctionStopsItsQuery(t *testing.T) {
	s := openSession(t, Options{})
	if err := s.RegisterFunc("picky", Func1(func(v int64) (int64, error) {
		if v == 13 {
			return 0, errors.New("no thirteens here")
		}
		return v, nil
	})); err != nil {
		t.Fatal(err)
	}
	st := newStream(t, s, "ev")
	bad := start(t, s.Table("ev").Select(Call("picky", Col("v")).As("p")).WriteToMemory("picked"))
	good := start(t, s.Table("ev").Select("v").WriteToMemory("all"))
	add(t, st, "a,1")
	process(t, bad)
	add(t, st, "a,2\nb,13\nc,3")
	wantError(t, bad.ProcessAllAvailable(t.Context()), "no thirteens here")
	process(t, good)
	err := bad.Await(t.Context())
	wantError(t, err, "no thirteens here")
	wantError(t, err, "picky")
	if bad.Status() != "failed" {
		t.Errorf("its status is %s", bad.Status())
	}
	same(t, "the failed query's table", rowsOf(t, s.MemoryTable("picked")), "1")
	same(t, "the other's", rowsOf(t, s.MemoryTable("all")), "1", "13", "2", "3")
	_, err = s.Table("ev").Select(Call("picky", Col("v"))).Collect(t.Context())
	wantError(t, err, "no thirteens here")
}

func TestAPanickingFunctionFailsItsQueryAlone(t *testing.T) {
	s := openSession(t, Options{})
	if err := s.RegisterFunc("boom", Func1(func(v int64) (int64, error) { panic("boom") })); err != nil {
		t.Fatal(err)
	}
	df, err := s.SQL(t.Context(), "SELECT boom(x) FROM VALUES (1), (2) AS t(x)")
	if err != nil {
		t.Fatal(err)
	}
	_, err = df.Collect(t.Context())
	wantError(t, err, "boom")
	same(t, "the session is usable", query(t, s, "SELECT 1"), "1")
}

// TestForeachBatchIsHandedAFailedBatchAgain and in order.
func TestForeachBatchIsHandedAFailedBatchAgain(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	var failures atomic.Int64
	failures.Store(2)
	type seen struct {
		id   int64
		rows []string
	}
	var got []seen
	if Retry(nil) != nil {
		t.Error("no error becomes one")
	}
	q := start(t, s.Table("ev").ForeachBatch(func(_ context.Context, id int64, rows []arrow.RecordBatch) error {
		if failures.Add(-1) >= 0 {
			return Retry(errors.New("the database is away"))
		}
		got = append(got, seen{id, linesOf(rows...)})
		return nil
	}))
	add(t, st, "a,1")
	process(t, q)
	add(t, st, "b,2")
	process(t, q)
	if want := fmt.Sprint([]seen{{0, []string{"a|1"}}, {1, []string{"b|2"}}}); fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestForeachBatchTellsTheKindOfChange in the modes that have one.
func TestForeachBatchTellsTheKindOfChange(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	var got []string
	q := start(t, s.Table("ev").GroupBy("k").Agg(Sum(Col("v")).As("n")).Mode(t, Changelog, &got))
	add(t, st, "a,1")
	process(t, q)
	add(t, st, "a,2")
	process(t, q)
	same(t, "changes", got, "a|1|+I", "a|1|-U", "a|3|+U")
}

// Mode writes to a function that gathers lines.
func (d *DataFrame) Mode(t testing.TB, m Mode, into *[]string) *Writer {
	t.Helper()
	return d.ForeachBatch(func(_ context.Context, _ int64, rows []arrow.RecordBatch) error {
		*into = append(*into, linesOf(rows...)...)
		return nil
	}).Mode(m)
}

func TestAQueryIsStartedOnceAtATime(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	w := func() *Writer { return s.Table("ev").WriteToMemory("m").Name("q") }
	q := start(t, w())
	_, err := w().Start(t.Context())
	wantError(t, err, `"q" is running`)
	add(t, st, "a,1")
	process(t, q)
	q.Stop()
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantError(t, q.ProcessAllAvailable(t.Context()), "")
	add(t, st, "b,2")
	q = start(t, w())
	process(t, q)
	same(t, "after a stop and a start", rowsOf(t, s.MemoryTable("m")), "a|1", "b|2")
	if len(s.Queries()) != 1 {
		t.Errorf("%d queries are known", len(s.Queries()))
	}
	// Another query on the same checkpoint is refused, while it runs and later.
	_, err = s.Table("ev").Select("k").WriteToMemory("other").Name("other").Checkpoint("q").Start(t.Context())
	wantError(t, err, "q")
	q.Stop()
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = s.Table("ev").Select("k").WriteToMemory("other").Name("other").Checkpoint("q").Start(t.Context())
	wantError(t, err, "checkpoint")
}

func TestBoundedTriggersEnd(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	add(t, st, "a,1\nb,2")
	for _, trigger := range []Trigger{AvailableNow(), Once()} {
		q := start(t, s.Table("ev").WriteToMemory("m").Name("m").Trigger(trigger))
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if q.Status() != "ended" {
			t.Errorf("status %s", q.Status())
		}
		same(t, "what was there", rowsOf(t, s.MemoryTable("m")), "a|1", "b|2")
	}
	for _, trigger := range []Trigger{Every(0), Latency(-time.Second), Cron("every day")} {
		_, err := s.Table("ev").WriteToMemory("x").Trigger(trigger).Start(t.Context())
		wantError(t, err, "")
		if !IsSyntaxOrPlanError(err) {
			t.Errorf("%v: not refused as a fault of the program", err)
		}
	}
	for _, trigger := range []Trigger{Every(time.Millisecond), Latency(50 * time.Millisecond), Immediate(), Cron("0 0 1 1 *")} {
		q := start(t, s.Table("ev").WriteToMemory("y").Trigger(trigger))
		if trigger.t.Schedule == "" {
			process(t, q)
		}
		q.Stop()
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEndOfAStreamClosesItsWindows and ends the query.
func TestStreamEnd(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	q := start(t, s.Table("ev").WriteToMemory("m").Trigger(AvailableNow()))
	st.End()
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec := recordOf(t, memory.DefaultAllocator, st.s.Schema(), "a,1")
	defer rec.Release()
	wantError(t, st.Add(rec), "stream ev")
}

func TestWritersCheckWhatTheyAreTold(t *testing.T) {
	s := openSession(t, Options{})
	newStream(t, s, "ev")
	must(t, s, "CREATE TABLE one (a BIGINT) WITH ('connector'='blackhole')")
	pairs, err := s.SQL(t.Context(), "SELECT a.v FROM ev AS a LEFT JOIN ev AS b ON a.k = b.k")
	if err != nil {
		t.Fatal(err)
	}
	for want, w := range map[string]*Writer{
		"nowhere":           s.Table("ev").WriteTo("nowhere"),
		"needs 1 columns":   s.Table("ev").WriteTo("one"),
		"PRIMARY KEY":       s.Table("ev").Select("v").WriteTo("one").Keys("a"),
		"append":            s.Table("ev").GroupBy("k").Count().WriteToMemory("m"),
		"has none":          pairs.WriteToMemory("m").Mode(Update),
		"output mode weird": s.Table("ev").WriteToMemory("m").Mode("weird"),
	} {
		_, err := w.Start(t.Context())
		wantError(t, err, want)
		if !IsSyntaxOrPlanError(err) {
			t.Errorf("%v: not refused as a fault of the program", err)
		}
	}
	entries, err := os.ReadDir(s.opts.CheckpointDir)
	if err != nil || len(entries) > 0 {
		t.Errorf("what was refused left %v behind (%v)", entries, err)
	}
}

func TestInsertWritesOnce(t *testing.T) {
	s := openSession(t, Options{})
	dir := filepath.Join(t.TempDir(), "out")
	must(t, s, "CREATE TABLE f (k STRING, v DOUBLE) WITH ('connector'='filesystem', 'path'='"+dir+"', 'format'='parquet')")
	schema := schemaOf(t, s, "k STRING, v BIGINT")
	rec := recordOf(t, memory.DefaultAllocator, schema, "a,1\nb,2")
	defer rec.Release()
	d := s.CreateDataFrame(schema, rec)
	for range 2 {
		if n, err := d.WriteTo("f").Insert(t.Context()); err != nil || n != 2 {
			t.Fatalf("inserted %d rows: %v", n, err)
		}
	}
	same(t, "after two inserts", query(t, s, "SELECT * FROM f"), "a|1.0", "a|1.0", "b|2.0", "b|2.0")
	if n, err := d.WriteTo("f").Mode(Complete).Insert(t.Context()); err != nil || n != 2 {
		t.Fatalf("replaced by %d rows: %v", n, err)
	}
	same(t, "after it was replaced", query(t, s, "SELECT * FROM f"), "a|1.0", "b|2.0")
	must(t, s, "CREATE TABLE m (k STRING, v BIGINT) WITH ('connector'='memory'); INSERT INTO m VALUES ('old', 0)")
	if n, err := d.Where("v > 1").WriteTo("m").Mode(Complete).Insert(t.Context()); err != nil || n != 1 {
		t.Fatalf("inserted %d rows: %v", n, err)
	}
	same(t, "after overwriting", query(t, s, "SELECT * FROM m"), "b|2")
	var got []string
	if n, err := d.Mode(t, Append, &got).Insert(t.Context()); err != nil || n != 2 {
		t.Fatalf("inserted %d rows: %v", n, err)
	}
	slices.Sort(got)
	same(t, "a function", got, "a|1", "b|2")
}

func TestReadWithoutATable(t *testing.T) {
	s := openSession(t, Options{})
	dir := t.TempDir()
	for name, text := range map[string]string{"a.csv": "k,v\na,1\nb,2\n", "b.csv": "k,v\nc,3\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files := s.Read(t.Context(), "csv", dir)
	if cols, err := files.Columns(); err != nil || cols != "k STRING, v INT" {
		t.Errorf("columns %s (%v)", cols, err)
	}
	same(t, "as a table", rowsOf(t, files.Where("v > 1")), "b|2", "c|3")
	same(t, "one file", rowsOf(t, s.Read(t.Context(), "", filepath.Join(dir, "b.csv"))), "c|3")
	q := start(t, files.Select("k").WriteToMemory("m").Trigger(AvailableNow()))
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "as a stream", rowsOf(t, s.MemoryTable("m")), "a", "b", "c")
	n, err := s.From(t.Context(), "nexmark", map[string]string{"event-type": "bid", "events": "100"}).Count(t.Context())
	if err != nil || n != 92 {
		t.Errorf("%d bids (%v), want 92 of 100 events", n, err)
	}
	for want, d := range map[string]*DataFrame{
		"did you mean \"filesystem\"": s.From(t.Context(), "filesytem", nil),
		"unknown option 'pth'":        s.From(t.Context(), "filesystem", map[string]string{"pth": "x"}),
		"does not exist":              s.Read(t.Context(), "csv", filepath.Join(dir, "none")),
		"blackhole":                   s.From(t.Context(), "blackhole", nil),
	} {
		_, err := d.Collect(t.Context())
		wantError(t, err, want)
	}
}

// TestCloseWhileQueriesRun: no goroutine and no row is left (TestMain looks).
func TestCloseWhileQueriesRun(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	schema := st.s.Schema()
	queries := []*Query{
		start(t, s.Table("ev").WriteToMemory("a")),
		start(t, s.Table("ev").GroupBy("k").Count().WriteToMemory("b").Mode(Complete)),
		start(t, s.Table("ev").WriteToMemory("c").Trigger(Every(time.Hour))),
	}
	stop := make(chan struct{})
	fed := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				fed <- nil
				return
			default:
			}
			rec := recordOf(t, alloc, schema, "a,1\nb,2")
			err := st.Add(rec)
			rec.Release()
			if err != nil {
				fed <- err
				return
			}
		}
	}()
	if err := queries[0].ProcessAllAvailable(t.Context()); err != nil {
		t.Error(err)
	}
	close(stop)
	if err := <-fed; err != nil {
		t.Error(err)
	}
	kept := s.CreateDataFrame(schema)
	if n, err := kept.Count(t.Context()); err != nil || n != 0 {
		t.Errorf("an empty DataFrame has %d rows: %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, q := range queries {
		if q.running() {
			t.Errorf("query %s runs on", q.Name())
		}
	}
	if err := s.Close(); err != nil {
		t.Error("closed twice:", err)
	}
	_, err := s.Table("ev").WriteToMemory("d").Start(t.Context())
	wantError(t, err, "closed")
	_, err = s.Table("ev").Collect(t.Context())
	wantError(t, err, "closed")
}

func TestACancelledContextAbandonsItsQuery(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	ctx, cancel := context.WithCancel(t.Context())
	q, err := s.Table("ev").WriteToMemory("m").Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	add(t, st, "a,1")
	process(t, q)
	cancel()
	if err := q.Await(t.Context()); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	awaited, cancelAwait := context.WithCancel(t.Context())
	cancelAwait()
	q = start(t, s.Table("ev").WriteToMemory("m"))
	if err := q.Await(awaited); !errors.Is(err, context.Canceled) || !q.running() {
		t.Errorf("a wait that was given up: %v, running %t", err, q.running())
	}
}

// TestMemoryLimit: a clear error, and the session is usable afterwards.
func TestMemoryLimit(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "2"}})
	must(t, s, "CREATE TABLE g (id BIGINT) WITH ('connector'='datagen', 'number-of-rows'='2000000', 'fields.id.kind'='sequence', 'fields.id.start'='0', 'fields.id.end'='1999999')")
	must(t, s, "SET memory_limit = '8MB'")
	// Groups spill; what a single one holds cannot.
	df, err := s.SQL(t.Context(), "SELECT size(collect_list(id)) FROM g")
	if err != nil {
		t.Fatal(err)
	}
	r, err := df.Reader(t.Context())
	if err == nil {
		for err == nil {
			var rec arrow.RecordBatch
			if rec, err = r.Next(t.Context()); err == nil {
				rec.Release()
			}
		}
		_ = r.Close()
	}
	wantError(t, err, "memory")
	wantError(t, err, "memory_limit")
	released(t, s)
	same(t, "after the failure", query(t, s, "SELECT count(*) FROM g WHERE id < 10"), "10")
	must(t, s, "RESET memory_limit")
	same(t, "with more memory", query(t, s, "SELECT count(*), max(n) FROM (SELECT id, count(*) AS n FROM g GROUP BY id)"), "2000000|1")
	released(t, s)
}

// released waits until no query holds memory: the worker gives it back on its
// own after it was told that a query has ended.
func released(t testing.TB, s *Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.memory.Used() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d bytes are still held", s.memory.Used())
		}
	}
}

// TestRowsAreGivenBack: what queries took from the session's memory is back
// when they have ended, whatever became of them.
func TestRowsAreGivenBack(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	s := openSession(t, Options{})
	schema := schemaOf(t, s, "k STRING, v BIGINT")
	rec := recordOf(t, alloc, schema, "a,1\nb,2\na,3")
	d := s.CreateDataFrame(schema, rec)
	rec.Release()
	same(t, "rows", rowsOf(t, d.GroupBy("k").Agg(Sum(Col("v")))), "a|4", "b|2")
	r, err := d.Join(d, "true", "cross").Reader(t.Context()) // closed before its end
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = d.Select(Expr("CAST(k AS BIGINT)")).Collect(t.Context())
	wantError(t, err, "BIGINT")
	released(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wrong := array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 0)
	wantError(t, s.CreateDataFrame(schema, wrong).err, "create a DataFrame")
}

func TestAwaitAllStopsTheOthersWhenOneFails(t *testing.T) {
	s := openSession(t, Options{})
	st := newStream(t, s, "ev")
	start(t, s.Table("ev").WriteToMemory("m"))
	start(t, s.Table("ev").Select(Expr("CAST(k AS BIGINT) AS n")).WriteToMemory("n").Name("casts"))
	add(t, st, "x,1")
	err := s.AwaitAll(t.Context())
	wantError(t, err, "BIGINT")
}

// TestStopWhenIdle: a batch that takes longer than the time is none that is idle.
func TestStopWhenIdle(t *testing.T) {
	s := openSession(t, Options{})
	begun, long := make(chan struct{}), make(chan struct{})
	if err := s.RegisterFunc("long", Func1(func(v int64) (int64, error) {
		if v == 1 {
			close(begun)
			<-long
		}
		return v, nil
	})); err != nil {
		t.Fatal(err)
	}
	st := newStream(t, s, "ev")
	q := start(t, s.Table("ev").Select("k", Call("long", Col("v"))).WriteToMemory("m"))
	add(t, st, "a,1")
	cancel := s.StopWhenIdle(20 * time.Millisecond)
	defer cancel()
	<-begun
	add(t, st, "b,2")
	time.AfterFunc(100*time.Millisecond, func() { close(long) })
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "rows", rowsOf(t, s.MemoryTable("m")), "a|1", "b|2")
}

// TestForeachBatchAcrossProcesses: what a function was given is not on a disk, so
// that the last batch may be run and handed over again, with the same rows. With
// the batch's number kept beside the effect it counts once.
func TestForeachBatchAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	file := func(name, text string) {
		t.Helper()
		hidden := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(in, 0o755), os.WriteFile(hidden, []byte(text), 0o644), os.Rename(hidden, filepath.Join(in, name))); err != nil {
			t.Fatal(err)
		}
	}
	type handed struct {
		id   int64
		rows string
	}
	var calls []handed
	last, total := int64(-1), int64(0) // in a database, in one transaction
	run := func(abandon bool) {
		t.Helper()
		s := openSession(t, Options{CheckpointDir: filepath.Join(dir, "ck")})
		d := s.Read(t.Context(), "csv", in).GroupBy("k").Agg(Sum(Col("v")).As("n"))
		q := start(t, d.ForeachBatch(func(_ context.Context, id int64, rows []arrow.RecordBatch) error {
			calls = append(calls, handed{id, strings.Join(linesOf(rows...), " ")})
			if id > last {
				last, total = id, total+1
			}
			return nil
		}).Mode(Update).Name("q"))
		process(t, q)
		if abandon {
			q.Abandon()
			_ = q.Await(t.Context()) // it was left where it was
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	file("1.csv", "k,v\na,1\n")
	run(false)
	file("2.csv", "k,v\na,2\n")
	run(true)
	run(true)
	want := map[int64]string{0: "a|1|+U", 1: "a|3|+U"}
	for i, c := range calls {
		if c.rows != want[c.id] || i > 0 && (c.id < calls[i-1].id || c.id > calls[i-1].id+1) {
			t.Errorf("handed over %v: want batches in order, each with %v", calls, want)
		}
	}
	if last != 1 || total != 2 {
		t.Errorf("counted %d batches up to %d, want 2 up to 1", total, last)
	}
}
