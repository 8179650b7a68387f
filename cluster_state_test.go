package sluice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/transport"
)

// stateful is a pipeline with operators of three kinds of state: groups, windows and rows.
func (f *fleet) stateful(name string) string {
	return strings.NewReplacer("$DIR", f.dir, "$NAME", name).Replace(`
SET 'parallelism' = '5';
CREATE TABLE numbers (digit BIGINT, n BIGINT, ts AS timestamp_seconds(n), WATERMARK FOR ts AS ts - INTERVAL '1' DAY) WITH ('connector' = 'filesystem', 'path' = '$DIR/in', 'format' = 'csv', 'csv.header' = 'false');
CREATE TABLE o1 (digit BIGINT, five BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE o2 (w TIMESTAMP, digit BIGINT, n BIGINT) WITH ('connector' = 'blackhole');
CREATE TABLE o3 (digit BIGINT, n BIGINT, at BIGINT) WITH ('connector' = 'blackhole');
CREATE STREAMING QUERY groups_$NAME OUTPUT MODE update TRIGGER EVERY '10 ms' AS INSERT INTO o1 SELECT digit, n % 500 AS five, count(*) FROM numbers GROUP BY digit, n % 500;
CREATE STREAMING QUERY windows_$NAME TRIGGER EVERY '10 ms' AS INSERT INTO o2 SELECT window_end, digit, count(*) FROM TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY digit, window_start, window_end;
CREATE STREAMING QUERY rows_$NAME OUTPUT MODE changelog TRIGGER EVERY '10 ms' AS INSERT INTO o3 SELECT digit, n, row_number() OVER (PARTITION BY digit ORDER BY n DESC) FROM numbers;`)
}

// stateOf reads the state of a session's queries in all ways: one key, all rows, and by SQL.
func stateOf(t *testing.T, s *Session, name string) []string {
	t.Helper()
	var out []string
	add := func(what string, rows []string) {
		slices.Sort(rows)
		out = append(out, fmt.Sprintf("%s: %d rows: %s", what, len(rows), strings.Join(rows, " ")))
	}
	list := func(r *StateRows) (rows []string) {
		for _, row := range r.Rows {
			rows = append(rows, fmt.Sprint(row))
		}
		return rows
	}
	for _, c := range []struct {
		query string
		key   []any
		where string
	}{
		{"groups", []any{int64(3), int64(43)}, "digit = 3 AND `(n % 500)` IN (43, 53, 499)"},
		{"windows", []any{int64(4), time.Unix(10, 0).UTC(), time.Unix(20, 0).UTC()}, "digit = 4"},
		{"rows", []any{int64(7)}, "digit IN (7, 8, 77)"},
	} {
		q, ok := s.Query(c.query + "_" + name)
		if !ok {
			t.Fatal(c.query)
		}
		o, err := q.State(q.StateOperators()[0])
		if err != nil {
			t.Fatal(err)
		}
		one, err := o.Get(t.Context(), c.key...)
		if err != nil {
			t.Fatal(c.query, err)
		}
		all, err := o.All(t.Context())
		if err != nil {
			t.Fatal(c.query, err)
		}
		if one.Batch != all.Batch || len(one.Rows) == 0 || len(one.Rows) >= len(all.Rows) {
			t.Errorf("%s: %d rows of one key in batch %d, %d rows in all in batch %d", c.query, len(one.Rows), one.Batch, len(all.Rows), all.Batch)
		}
		add(c.query+", one key", list(one))
		add(c.query+", all", list(all))
		add(c.query+", by SQL", scanRows(t, s, fmt.Sprintf("SELECT * FROM query_state('%s', '%s') WHERE %s", q.Name(), q.StateOperators()[0], c.where)))
	}
	return out
}

// askState asks the driver for it over HTTP.
func (f *fleet) askState(want string) {
	f.t.Helper()
	get := func(path string, code int, into any) string {
		f.t.Helper()
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/api/queries/"+path, nil)
		w := httptest.NewRecorder()
		f.d.base.Handler().ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), into); w.Code != code || err != nil {
			f.t.Errorf("%s: %d %s %v", path, w.Code, w.Body, err)
		}
		return w.Body.String()
	}
	var list []operatorForm
	get("groups_on3/state", http.StatusOK, &list)
	if len(list) != 1 || !slices.Equal(list[0].Keys, []string{"digit", "(n % 500)"}) {
		f.t.Fatalf("operators %+v", list)
	}
	op := "groups_on3/state/" + list[0].Operator
	var a stateAnswer
	get(op+"?key=3&key=43", http.StatusOK, &a)
	if got := fmt.Sprintf("groups, one key: %d rows: %v", len(a.Rows), a.Rows[0]); got != want || a.More {
		f.t.Errorf("over HTTP %s, want %s", got, want)
	}
	get(op+"?limit=7", http.StatusOK, &a)
	if len(a.Rows) != 7 || !a.More || len(a.Columns) != len(a.Rows[0]) {
		f.t.Errorf("7 rows of all: %+v", a)
	}
	var said map[string]string
	for path, want := range map[string]string{op + "?key=3": "has 2 columns, 1 are given", op + "?limit=0": "from 1 to", op + "?batch=x": "number of a batch",
		op + "?batch=999999": "is not committed", op + "?key=a&key=b": "key column digit", "groups_on3/state/none": "keeps no state of an operator"} {
		if got := get(path, http.StatusBadRequest, &said); !strings.Contains(got, want) {
			f.t.Errorf("%s says %s, want %q", path, got, want)
		}
	}
}

// The state of a query is read where its workers are, and is that of one process.
func TestLiveStateOnACluster(t *testing.T) {
	f := newFleet(t)
	f.add(0, 3000)
	f.add(3000, 5000)
	drain := func(s *Session) {
		for _, q := range s.Queries() {
			process(t, q)
		}
	}
	alone, err := NewSession(Options{CheckpointDir: filepath.Join(f.dir, "ck"), Pipeline: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	must(t, alone, f.stateful("alone"))
	drain(alone)
	want := stateOf(t, alone, "alone")
	for _, workers := range []int{1, 3} {
		for n := range workers {
			if id := fmt.Sprint("w", n); f.workers[id] == nil {
				f.join(id)
			}
		}
		f.until("all workers are there", func() bool { return len(f.d.Workers()) == workers })
		name := fmt.Sprint("on", workers)
		if _, err := f.d.Submit(t.Context(), name, f.stateful(name)); err != nil {
			t.Fatal(err)
		}
		s := f.d.Queries()[len(f.d.Queries())-1].s
		drain(s)
		if got := stateOf(t, s, name); !slices.Equal(got, want) {
			t.Errorf("on %d workers\n%s\nin one process\n%s", workers, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f.askState(want[0])
	// A worker is lost: who reads meanwhile waits, and reads the same.
	s := f.d.Queries()[len(f.d.Queries())-1].s
	f.leave("w1")
	if got := stateOf(t, s, "on3"); !slices.Equal(got, want) {
		t.Errorf("after the loss of a worker\n%s\nin one process\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Nobody has it: that is waited for, and then said.
	f.leave("w0")
	f.leave("w2")
	q, _ := s.Query("groups_on3")
	o, err := q.State(q.StateOperators()[0])
	if err != nil {
		t.Fatal(err)
	}
	o.patience = 50 * time.Millisecond
	if _, err := o.All(t.Context()); !errors.Is(err, driver.ErrMoving) && !errors.Is(err, transport.ErrGone) || !strings.Contains(err.Error(), "of query groups_on3, try ") {
		t.Errorf("without a worker: %v", err)
	}
	o.patience = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	read := make(chan error, 1)
	go func() {
		r, err := o.All(ctx)
		if err == nil && len(r.Rows) != 500 {
			err = fmt.Errorf("%d rows", len(r.Rows))
		}
		read <- err
	}()
	f.join("w9")
	if err := <-read; err != nil {
		t.Errorf("when a worker has come again: %v", err)
	}
}

// Reads of all rows are of one batch each, while batches are committed and workers come, leave
// and are lost: every file has a row of each digit, so that after any batch all are as many.
func TestLiveStateIsOfOneBatch(t *testing.T) {
	f := newFleet(t)
	f.add(0, 10)
	f.join("w0")
	f.join("w1")
	if _, err := f.d.Submit(t.Context(), "p", strings.Replace(f.script(), "digit % 2 = 1 OR digit = 0", "true", 1)); err != nil {
		t.Fatal(err)
	}
	f.process()
	q := f.query()
	o, err := q.State(q.StateOperators()[0])
	if err != nil {
		t.Fatal(err)
	}
	o.patience = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	type seen struct {
		reads, last int64
		err         error
	}
	done := make(chan seen, 1)
	go func() {
		var s seen
		for ctx.Err() == nil && s.err == nil {
			all, err := o.All(ctx)
			if err != nil {
				if ctx.Err() == nil {
					s.err = err
				}
				break
			}
			one, err := o.Get(ctx, int64(4))
			if err != nil {
				if ctx.Err() == nil {
					s.err = err
				}
				break
			}
			at := slices.Index(all.Columns, "count(*).0")
			for _, row := range all.Rows {
				if len(all.Rows) != 10 || row[at] != all.Rows[0][at] {
					s.err = fmt.Errorf("after batch %d: %v %v", all.Batch, all.Columns, all.Rows)
				}
			}
			if len(one.Rows) != 1 || one.Batch < all.Batch || one.Batch == all.Batch && one.Rows[0][at] != all.Rows[0][at] || all.Batch < s.last {
				s.err = fmt.Errorf("after batch %d: %v, before that batch %d was read, behind it batch %d: %v", all.Batch, all.Rows, s.last, one.Batch, one.Rows)
			}
			s.reads, s.last = s.reads+1, one.Batch
		}
		done <- s
	}()
	n := 10
	grow := func() {
		for range 5 {
			f.add(n, n+10)
			n += 10
		}
		f.process()
	}
	grow()
	f.join("w2")
	grow()
	f.leave("w0")
	grow()
	if err := f.workers["w1"].Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.leave("w1")
	f.join("w3")
	grow()
	f.leave("w2")
	grow()
	cancel()
	if s := <-done; s.err != nil || s.reads < 10 {
		t.Errorf("%d reads: %v", s.reads, s.err)
	} else {
		t.Logf("%d reads up to batch %d", s.reads, s.last)
	}
}

// process waits until the query has processed what there is.
func (f *fleet) process() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := f.query().ProcessAllAvailable(ctx); err != nil {
		f.t.Fatal(err)
	}
}
