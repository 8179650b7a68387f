package sluice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/clock"
)

// fleet is a driver with workers in one process, that speak over the loopback.
type fleet struct {
	t       *testing.T
	dir     string
	d       *Driver
	workers map[string]*Worker
	files   int
	change  func(*DriverOptions) // nil: nothing
}

func newFleet(t *testing.T) *fleet { return newFleetWith(t, nil) }

func newFleetWith(t *testing.T, change func(*DriverOptions)) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir(), workers: map[string]*Worker{}, change: change}
	f.start()
	t.Cleanup(func() {
		for id := range f.workers {
			f.leave(id)
		}
		if f.d != nil {
			f.stop()
		}
	})
	return f
}

func (f *fleet) start() {
	f.t.Helper()
	var err error
	opts := DriverOptions{ID: "d1", Data: filepath.Join(f.dir, "d1"), Listen: "127.0.0.1:0", Lease: 2 * time.Second,
		Settings: map[string]string{"checkpoint.interval": "100ms"}, Logger: slog.New(slog.DiscardHandler)}
	if f.change != nil {
		f.change(&opts)
	}
	f.d, err = StartDriver(f.t.Context(), opts)
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) stop() {
	f.t.Helper()
	if err := f.d.Close(); err != nil {
		f.t.Error(err)
	}
	f.d = nil
}

func (f *fleet) join(id string) {
	f.t.Helper()
	w, err := JoinCluster(f.t.Context(), WorkerOptions{ID: id, Join: []string{f.d.Addr()}, Slots: 2, Settings: map[string]string{"checkpoint.cache-dir": filepath.Join(f.dir, "cache-"+id)}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	f.workers[id] = w
}

func (f *fleet) leave(id string) {
	f.t.Helper()
	if err := f.workers[id].Close(); err != nil {
		f.t.Error(err)
	}
	delete(f.workers, id)
}

// add puts numbers into the table that queries read.
func (f *fleet) add(from, to int) {
	f.t.Helper()
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%d,%d\n", i%10, i)
	}
	f.files++
	in := filepath.Join(f.dir, "in")
	if err := os.MkdirAll(in, 0o700); err != nil {
		f.t.Fatal(err)
	}
	hidden := filepath.Join(f.dir, fmt.Sprint(f.files))
	if err := os.WriteFile(hidden, []byte(b.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(hidden, filepath.Join(in, fmt.Sprintf("%d.csv", f.files))); err != nil {
		f.t.Fatal(err)
	}
}

// script counts numbers by their last digit, and shows each change.
func (f *fleet) script() string {
	return strings.ReplaceAll(`
CREATE TABLE numbers (digit BIGINT, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/in', 'format' = 'csv', 'csv.header' = 'false', 'max-files-per-trigger' = '1');
CREATE TABLE counts (digit BIGINT, rows BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out', 'format' = 'csv', 'csv.header' = 'false', 'changelog.op-column' = 'op');
CREATE VIEW odd AS SELECT * FROM numbers WHERE digit % 2 = 1 OR digit = 0;
CREATE STREAMING QUERY counting OUTPUT MODE changelog TRIGGER EVERY '10 ms' AS INSERT INTO counts SELECT digit, count(*), sum(n) FROM odd GROUP BY digit;`, "$DIR", f.dir)
}

func (f *fleet) query() *Query {
	f.t.Helper()
	for _, q := range f.d.Queries() {
		if q.Name() == "counting" {
			return q
		}
	}
	f.t.Fatal("the query is not there")
	return nil
}

// check waits until the query has counted all numbers below end, and compares its output.
func (f *fleet) check(end int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := f.query().ProcessAllAvailable(ctx); err != nil {
		f.t.Fatal(err)
	}
	if got, err := f.shown(); err != nil || !slices.Equal(got, f.counted(end)) {
		f.t.Fatalf("of %d numbers the output has\n%v %v\nwant\n%v", end, got, err, f.counted(end))
	}
}

// shown is what the output says is in force, with how often.
func (f *fleet) shown() (got []string, err error) {
	s, err := NewSession(Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = s.Run(f.t.Context(), strings.ReplaceAll(`CREATE TABLE shown (op STRING, digit BIGINT, rows BIGINT, total BIGINT)
			WITH ('connector' = 'filesystem', 'path' = '$DIR/out', 'format' = 'csv', 'csv.header' = 'false');
		SELECT digit, rows, total, alive FROM (
		SELECT digit, rows, total, sum(CASE WHEN op IN ('+I', '+U') THEN 1 ELSE -1 END) AS alive FROM shown
		GROUP BY digit, rows, total) WHERE alive <> 0 ORDER BY digit`, "$DIR", f.dir), func(r *Result) error {
		if r.Rows == nil {
			return nil
		}
		rows, err := collect(f.t.Context(), r.Rows)
		for _, row := range rows {
			got = append(got, fmt.Sprint([]any(row)))
		}
		return err
	})
	return got, err
}

// counted is what is to be in force of the numbers below end.
func (f *fleet) counted(end int) (want []string) {
	rows, total := map[int]int{}, map[int]int{}
	for i := range end {
		rows[i%10]++
		total[i%10] += i
	}
	for d := range 10 {
		if (d%2 == 1 || d == 0) && rows[d] > 0 {
			want = append(want, fmt.Sprint([]any{d, rows[d], total[d], 1}))
		}
	}
	return want
}

// until waits for a condition.
func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		if err := clock.Wait(ctx, clock.System(), 5*time.Millisecond); err != nil {
			f.t.Fatalf("waiting until %s: %v", what, err)
		}
	}
}

// A query goes on while workers come and go and its driver is started again, and its
// output is what one process would have made.
func TestCluster(t *testing.T) {
	f := newFleet(t)
	f.add(0, 100)
	p, err := f.d.Submit(t.Context(), "numbers", f.script())
	if err != nil || !slices.Equal(p.Queries, []string{"counting"}) {
		t.Fatal(p, err)
	}
	f.until("the query says what is missing", func() bool { return f.query().Status() == "waiting for workers" })
	f.join("w1")
	f.check(100)
	f.join("w2")
	f.until("both work", func() bool { return f.workers["w2"].worker.Plans() == 1 })
	f.add(100, 1000)
	f.check(1000)
	f.leave("w1")
	f.add(1000, 1500)
	f.check(1500)
	f.join("w3")
	f.until("the third works", func() bool { return f.workers["w3"].worker.Plans() == 1 })
	f.add(1500, 1600)
	if err := f.workers["w2"].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.leave("w2")
	f.check(1600)
	f.stop()
	f.start()
	f.add(1600, 1700)
	f.leave("w3") // it looks for the driver where that was
	f.join("w4")
	f.check(1700)
	if err := f.d.Remove(t.Context(), "numbers"); err != nil || len(f.d.Queries()) > 0 {
		t.Errorf("after its removal: %v, %d queries", err, len(f.d.Queries()))
	}
	if err := f.d.Remove(t.Context(), "numbers"); err == nil {
		t.Error("what is not there is removed")
	}
}

// A query that ends by its trigger ends as if nothing had happened when a worker is lost: with
// what was there when it began.
func TestClusterQueryThatEndsLosesAWorker(t *testing.T) {
	f := newFleet(t)
	const files, each = 40, 50
	for i := range files {
		f.add(i*each, (i+1)*each)
	}
	f.join("w1")
	f.join("w2")
	f.until("both are there", func() bool { return len(f.d.Workers()) == 2 })
	if _, err := f.d.Submit(t.Context(), "numbers", strings.Replace(f.script(), "EVERY '10 ms'", "AVAILABLE NOW", 1)); err != nil {
		t.Fatal(err)
	}
	q := f.query()
	f.until("it runs", func() bool { return q.Totals().Batches > 0 })
	f.add(files*each, 2*files*each)
	f.leave("w2")
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := f.shown(); err != nil || !slices.Equal(got, f.counted(files*each)) {
		t.Errorf("the output has\n%v %v\nwant\n%v", got, err, f.counted(files*each))
	}
}

// The driver's routes: those of a session for the queries of all pipelines, and its own.
func TestClusterHTTP(t *testing.T) {
	f := newFleet(t)
	f.add(0, 100)
	seen := map[string]auth.Role{}
	for _, r := range f.d.routes() {
		seen[r.Pattern] = r.Need
	}
	for pattern, role := range routeRoles {
		if r, ok := seen[pattern]; !ok || r != role {
			t.Errorf("%s is for %v, %v", pattern, r, ok)
		}
		delete(seen, pattern)
	}
	want := map[string]auth.Role{"GET /api/workers": auth.Viewer, "GET /api/pipelines": auth.Viewer, "GET /api/pipelines/{name}": auth.Viewer,
		"POST /api/pipelines/{name}": auth.Operator, "DELETE /api/pipelines/{name}": auth.Operator,
		"GET /api/drivers": auth.Viewer, "POST /api/drivers": auth.Admin}
	if !maps.Equal(seen, want) {
		t.Errorf("the driver's own routes are %v, want %v", seen, want)
	}
	srv, err := f.d.ServeHTTP("127.0.0.1:0", HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	ask := func(method, path, body string, code int, has string) {
		t.Helper()
		if got, b, _ := submit(t, http.DefaultClient, method, srv.URL()+path, body); got != code || !strings.Contains(b, has) {
			t.Errorf("%s %s: %d %s, want %d with %s", method, path, got, b, code, has)
		}
	}
	ask("POST", "/api/pipelines/p", "SELECT 1", 400, "for sluice sql")
	ask("GET", "/api/pipelines/p", "", 404, "no such pipeline")
	ask("POST", "/api/pipelines/p", f.script(), 201, `"counting"`)
	ask("POST", "/api/pipelines/p", f.script(), 201, `"counting"`) // again: it is there
	ask("POST", "/api/pipelines/p", f.script()+" ", 400, "already")
	ask("POST", "/api/pipelines/q", f.script(), 400, "in another pipeline")
	ask("GET", "/api/pipelines", "", 200, `"name": "p"`)
	ask("GET", "/api/pipelines/p", "", 200, "CREATE VIEW")
	f.join("w1")
	f.check(100)
	ask("GET", "/api/workers", "", 200, `"state": "joined"`)
	ask("GET", "/api/queries", "", 200, `"counting"`)
	ask("GET", "/api/queries/counting", "", 200, `"recentProgress"`)
	ask("GET", "/api/queries/other", "", 404, "no query")
	ask("GET", "/metrics", "", 200, `sluice_input_rows_total{query="counting"} 100`)
	ask("GET", "/healthz", "", 200, "ok")
	ask("DELETE", "/api/pipelines/p", "", 200, "removed")
	ask("GET", "/api/queries", "", 200, "[]")
}

// Nodes know each other by certificates, and a worker is who its certificate says.
func TestClusterTLS(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	if err := certs.Init(ca, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	issue := func(role certs.Role, id string) string {
		out := filepath.Join(dir, string(role)+"-"+id)
		if err := certs.Issue(ca, out, certs.Request{Role: role, IDs: []string{id}, Hosts: []string{"127.0.0.1"}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		return out
	}
	log := slog.New(slog.DiscardHandler)
	d, err := StartDriver(t.Context(), DriverOptions{ID: "d1", Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", TLSDir: issue(certs.Driver, "d1"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	join := func(id, tlsDir string) *Worker {
		w, err := JoinCluster(t.Context(), WorkerOptions{ID: id, Join: []string{d.Addr()}, TLSDir: tlsDir, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := join("w1", issue(certs.Worker, "w1"))
	defer w.Close()
	f := &fleet{t: t}
	f.until("the worker has joined", func() bool { return len(d.Workers()) == 1 })
	if _, err := JoinCluster(t.Context(), WorkerOptions{ID: "w2", Join: []string{d.Addr()}, TLSDir: issue(certs.Worker, "w9"), Logger: log}); err == nil {
		t.Error("a worker takes a name that its certificate does not have")
	}
	wrong := join("d2", issue(certs.Driver, "d2"))
	defer wrong.Close()
	f.until("a driver that joins as a worker is refused", func() bool { _, _, err := wrong.Driver(); return err != nil })
	if n := len(d.Workers()); n != 1 {
		t.Errorf("%d workers", n)
	}
}

// What cannot run in several processes is refused when it is submitted, and says why.
func TestClusterRefusals(t *testing.T) {
	f := newFleet(t)
	f.add(0, 1)
	in, out := `'connector' = 'filesystem', 'format' = 'csv', 'path' = '`+f.dir+`/in'`, `'connector' = 'filesystem', 'format' = 'csv', 'path' = '`+f.dir+`/out'`
	for name, c := range map[string]struct{ script, want string }{
		"relative path":  {`CREATE TABLE a (n BIGINT) WITH ('connector' = 'filesystem', 'format' = 'csv', 'path' = 'in'); CREATE TABLE b (n BIGINT) WITH (` + out + `); INSERT INTO b SELECT n FROM a`, "relative path 'in'"},
		"socket":         {`CREATE TABLE a WITH ('connector' = 'socket', 'port' = '1'); CREATE TABLE b (n STRING) WITH (` + out + `); INSERT INTO b SELECT value FROM a`, "connector 'socket'"},
		"own function":   {`CREATE TABLE a (n BIGINT) WITH (` + in + `); CREATE TABLE b (n BIGINT) WITH (` + out + `); INSERT INTO b SELECT mine(n) FROM a`, "mine"},
		"reads once":     {`SELECT 1`, "for sluice sql"},
		"no query":       {`CREATE TABLE a (n BIGINT) WITH (` + in + `)`, "no streaming query"},
		"no table":       {`INSERT INTO b SELECT n FROM a`, "b"},
		"not repeatable": {`DECLARE VARIABLE v DOUBLE DEFAULT rand(); CREATE TABLE a (n BIGINT) WITH (` + in + `); CREATE TABLE b (n DOUBLE) WITH (` + out + `); INSERT INTO b SELECT n + v FROM a`, "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.d.Submit(t.Context(), "p", c.script)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("the answer is %v, want one with %q", err, c.want)
			}
			if k, _ := batch.KindOf(err); k != batch.User && !IsSyntaxOrPlanError(err) {
				t.Errorf("the refusal is of kind %s", k)
			}
			if len(f.d.Pipelines()) > 0 || len(f.d.Queries()) > 0 {
				t.Error("something of it stays")
			}
			if left, err := os.ReadDir(f.d.folder()); err != nil || len(left) > 0 {
				t.Errorf("left are %v, %v", left, err)
			}
		})
	}
}
