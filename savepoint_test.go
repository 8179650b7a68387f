package sluice

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stateBed is a folder with a stream of files, and sessions over it.
type stateBed struct {
	t   *testing.T
	dir string
	out bytes.Buffer
}

func newStateBed(t *testing.T) *stateBed {
	t.Helper()
	b := &stateBed{t: t, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(b.dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	return b
}

// feed makes file n: twenty events of the keys k0 to k6.
func (b *stateBed) feed(files ...int) {
	b.t.Helper()
	for _, n := range files {
		var s strings.Builder
		s.WriteString("id,k,v\n")
		for i := range 20 {
			id := 20*n + i
			fmt.Fprintf(&s, "%d,k%d,%d\n", id, id%7, id)
		}
		name := filepath.Join(b.dir, "in", fmt.Sprintf("f%03d.csv", n))
		if err := errors.Join(os.WriteFile(name[:len(name)-len(filepath.Base(name))]+"."+filepath.Base(name), []byte(s.String()), 0o644), os.Rename(name[:len(name)-len(filepath.Base(name))]+"."+filepath.Base(name), name)); err != nil {
			b.t.Fatal(err)
		}
	}
}

// want is the result over the first n files.
func (b *stateBed) want(n int) []string {
	counts, sums := make([]int, 7), make([]int, 7)
	for id := range 20 * n {
		counts[id%7]++
		sums[id%7] += id
	}
	var out []string
	for k := range 7 {
		if counts[k] > 0 {
			out = append(out, fmt.Sprintf("k%d %d %d", k, counts[k], sums[k]))
		}
	}
	return out
}

func (b *stateBed) session(settings ...string) *Session {
	b.t.Helper()
	set := map[string]string{"parallelism": "2"}
	for _, kv := range settings {
		k, v, _ := strings.Cut(kv, "=")
		set[k] = v
	}
	s, err := NewSession(Options{CheckpointDir: filepath.Join(b.dir, "ck"), Pipeline: true, Stdout: &b.out, Logger: slog.New(slog.DiscardHandler), Settings: set})
	if err != nil {
		b.t.Fatal(err)
	}
	b.exec(s, `CREATE TABLE ev (id BIGINT, k STRING, v BIGINT) WITH ('connector'='filesystem','path'='`+b.dir+`/in','format'='csv','max-files-per-trigger'='1');
	CREATE TABLE res (k STRING, n BIGINT, s BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='memory')`)
	return s
}

const countQuery = `INSERT INTO res SELECT k, count(*), sum(v) FROM ev GROUP BY k`

func (b *stateBed) exec(s *Session, script string) {
	b.t.Helper()
	if err := s.Exec(b.t.Context(), script); err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
}

// fails runs a statement that must be refused.
func (b *stateBed) fails(s *Session, script, want string) {
	b.t.Helper()
	if err := s.Exec(b.t.Context(), script); err == nil || !strings.Contains(err.Error(), want) {
		b.t.Errorf("%s: %v, want %q", script, err, want)
	}
}

// rows are the rows of a query as text, in order.
func (b *stateBed) rows(s *Session, query string) []string {
	b.t.Helper()
	var out []string
	err := s.Run(b.t.Context(), query, func(r *Result) error {
		rows, err := collect(b.t.Context(), r.Rows)
		for _, row := range rows {
			out = append(out, strings.TrimSuffix(fmt.Sprintln(row...), "\n"))
		}
		return err
	})
	if err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	slices.Sort(out)
	return out
}

// drained waits until all files are processed.
func (b *stateBed) drained(s *Session, name string) *Query {
	b.t.Helper()
	q, ok := s.Query(name)
	if !ok {
		b.t.Fatalf("no query %s", name)
	}
	if err := q.ProcessAllAvailable(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return q
}

func (b *stateBed) same(what string, got, want []string) {
	b.t.Helper()
	if !slices.Equal(got, want) {
		b.t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func (b *stateBed) close(s *Session) {
	b.t.Helper()
	if err := s.Close(); err != nil {
		b.t.Error(err)
	}
}

// TestSavepoints saves a running query, lets it go on for long, and starts others
// from the savepoint and from the newest checkpoint: each goes on from there.
func TestSavepoints(t *testing.T) {
	b := newStateBed(t)
	s := b.session("checkpoint.interval=1ms", "checkpoint.retain=1")
	b.exec(s, `CREATE STREAMING QUERY a OUTPUT MODE update AS `+countQuery)
	q, _ := s.Query("a")
	b.feed(0, 1, 2)
	b.drained(s, "a")
	b.exec(s, `SAVE STREAMING QUERY a AS 'three'; SAVE STREAMING QUERY a AS also`)
	b.fails(s, `SAVE STREAMING QUERY a AS 'three'`, "exists already")
	b.fails(s, `SAVE STREAMING QUERY a AS '../x'`, "no name for a savepoint")
	if got := b.rows(s, `SHOW SAVEPOINTS FOR a`); len(got) != 2 || !strings.HasPrefix(got[1], "three 2 ") {
		t.Errorf("savepoints: %v", got)
	}
	for n := range 30 { // snapshots, and collections of old files
		b.feed(3 + n)
		b.drained(s, "a")
	}
	b.same("a", b.rows(s, "SELECT * FROM res"), b.want(33))
	b.exec(s, `DROP SAVEPOINT also FOR a; DROP SAVEPOINT IF EXISTS also FOR a`)
	b.fails(s, `DROP SAVEPOINT also FOR a`, "no savepoint")
	q.Stop()
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := SaveCheckpoint(q.Checkpoint(), "offline"); err != nil {
		t.Fatal(err)
	}
	b.close(s)
	for from, batches := range map[string]int64{"'a' SAVEPOINT 'three'": 30, "'a'": 0, "'a' SAVEPOINT offline": 0} {
		s := b.session()
		b.exec(s, `CREATE STREAMING QUERY other OUTPUT MODE update CHECKPOINT 'of`+strings.NewReplacer(" ", "", "'", "").Replace(from)+`' FROM CHECKPOINT `+from+` AS `+countQuery)
		q := b.drained(s, "other")
		if got := q.Totals().Batches; got != batches {
			t.Errorf("from %s: %d batches, want %d", from, got, batches)
		}
		b.feed(33)
		b.drained(s, "other")
		b.same("from "+from, b.rows(s, "SELECT * FROM res WHERE s > 0"), b.want(34))
		if err := os.Remove(filepath.Join(b.dir, "in", "f033.csv")); err != nil {
			t.Fatal(err)
		}
		b.close(s)
	}
}

// TestParallelismOfARunningQuery changes it by SQL and Go while rows come.
func TestParallelismOfARunningQuery(t *testing.T) {
	b := newStateBed(t)
	s := b.session()
	b.exec(s, `CREATE STREAMING QUERY a OUTPUT MODE update PARALLELISM 1 AS `+countQuery)
	q, _ := s.Query("a")
	if q.Parallelism() != 1 {
		t.Errorf("parallelism %d at first", q.Parallelism())
	}
	files := 0
	for _, n := range []int{7, 3, 1, 16} {
		b.feed(files, files+1)
		files += 2
		b.exec(s, fmt.Sprintf("ALTER STREAMING QUERY a SET PARALLELISM %d", n))
		if q.Parallelism() != n {
			t.Errorf("parallelism %d, want %d", q.Parallelism(), n)
		}
		b.drained(s, "a")
		b.same("a", b.rows(s, "SELECT * FROM res"), b.want(files))
	}
	b.fails(s, "ALTER STREAMING QUERY a SET PARALLELISM 1000", "not between 1 and 256")
	b.fails(s, "ALTER STREAMING QUERY a SET TRIGGER ONCE", "CREATE OR REPLACE")
	b.fails(s, "ALTER STREAMING QUERY b SET PARALLELISM 2", "no streaming query")
	b.exec(s, "STOP STREAMING QUERY a; START STREAMING QUERY a")
	q, _ = s.Query("a")
	if q.Parallelism() != 16 {
		t.Errorf("parallelism %d after a start", q.Parallelism())
	}
	b.close(s)
}

// TestStateAsATable reads what a checkpoint holds, in columns.
func TestStateAsATable(t *testing.T) {
	b := newStateBed(t)
	s := b.session("checkpoint.interval=1ms", "checkpoint.retain=100")
	b.exec(s, `CREATE STREAMING QUERY a OUTPUT MODE update AS `+countQuery)
	q, _ := s.Query("a")
	for n := range 3 {
		b.feed(n)
		b.drained(s, "a")
		b.exec(s, fmt.Sprintf("SAVE STREAMING QUERY a AS 's%d'", n))
	}
	op := q.plan.Plan.Stages[len(q.plan.Plan.Stages)-1].Stateful[0]
	b.same("the query's", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM state('a', '"+op+"')"), b.want(3))
	b.same("the checkpoint's", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM state('"+q.Checkpoint()+"', '"+op+"')"), b.want(3))
	b.same("a savepoint's", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM state('a', '"+op+"', savepoint => 's0')"), b.want(1))
	b.same("a batch's", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM state('a', '"+op+"', batch => 1)"), b.want(2))
	got := b.rows(s, "SELECT change, count(*) FROM state_changes('a', '"+op+"', 0, 2) GROUP BY change")
	b.same("changes", got, []string{"+U 7", "-U 7"})
	b.same("none", b.rows(s, "SELECT * FROM state_changes('a', '"+op+"', 1, 1)"), nil)
	b.same("joined", b.rows(s, "SELECT count(*) FROM res r JOIN state('a', '"+op+"') st ON r.k = st.k AND r.n = st.`count(*).0`"), []string{"7"})
	b.same("live", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM query_state('a', '"+op+"')"), b.want(3))
	b.same("looked up", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM query_state('a', '"+op+"', 'k3')"), b.want(3)[3:4])
	b.same("no such key", b.rows(s, "SELECT * FROM query_state('a', '"+op+"', 'x')"), nil)
	b.fails(s, "SELECT * FROM query_state('a', '"+op+"', 'x', 'y')", "has 1 columns")
	b.fails(s, "SELECT * FROM query_state('b', '"+op+"')", "no streaming query")
	st, err := q.State(op)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := st.Get(t.Context(), "k5")
	if err != nil || rows.Batch != 2 || len(rows.Rows) != 1 || fmt.Sprint(rows.Rows[0][1:4]) != "["+b.want(3)[5]+"]" {
		t.Errorf("Get: %+v, %v", rows, err)
	}
	if all, err := st.All(t.Context()); err != nil || len(all.Rows) != 7 {
		t.Errorf("All: %+v, %v", all, err)
	}
	if _, err := st.Get(t.Context()); err == nil {
		t.Error("a key without columns is not refused")
	}
	if _, err := q.State("nothing"); err == nil || !strings.Contains(err.Error(), op) {
		t.Errorf("another operator: %v", err)
	}
	b.fails(s, "SELECT * FROM state('a', 'aggregate-0')", "has no state of an operator")
	b.fails(s, "SELECT * FROM state('nowhere', 'x')", "there is no checkpoint")
	b.fails(s, "SELECT * FROM state('a')", "needs operator")
	b.fails(s, "SELECT * FROM state_changes('a', '"+op+"', 77, 2)", "no checkpoint of batch 77")
	b.close(s)
}

// TestChangedQuery goes on with the state of what computes the same, and says what
// it lacks otherwise.
func TestChangedQuery(t *testing.T) {
	b := newStateBed(t)
	run := func(query string, settings ...string) (*Session, error) {
		s := b.session(settings...)
		b.exec(s, `CREATE TABLE two (k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='memory');
		CREATE TABLE big (k STRING, m BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='memory')`)
		return s, s.Exec(t.Context(), `CREATE STREAMING QUERY a OUTPUT MODE update AS `+query)
	}
	b.feed(0, 1)
	s, err := run(countQuery)
	if err != nil {
		t.Fatal(err)
	}
	b.drained(s, "a")
	b.close(s)
	b.feed(2)
	// Another output of the same aggregate, and one without state.
	s, err = run(`BEGIN ` + countQuery + `; INSERT INTO res SELECT k, count(*) * 1, sum(v) FROM ev GROUP BY k; END`)
	if err == nil {
		b.drained(s, "a")
		t.Error("a second aggregate of its own has no state, and is not refused")
	} else if !strings.Contains(err.Error(), "has no state to go on with") {
		t.Error(err)
	}
	b.close(s)
	s, err = run(`INSERT INTO res SELECT upper(k), count(*) * 2, sum(v) FROM ev GROUP BY k`)
	if err != nil {
		t.Fatal(err)
	}
	b.drained(s, "a")
	got := b.rows(s, "SELECT k, n / 2, s FROM res")
	for i := range got {
		got[i] = strings.ToLower(got[i])
	}
	if len(got) != 7 || !strings.HasPrefix(got[0], "k0 9") {
		t.Errorf("after a change above the aggregate: %v", got)
	}
	b.close(s)
	other := `INSERT INTO big SELECT k, max(v) FROM ev GROUP BY k`
	s, err = run(other)
	if err == nil || !strings.Contains(err.Error(), "state.evolution") {
		t.Errorf("another aggregate: %v", err)
	}
	b.close(s)
	s, err = run(`INSERT INTO res SELECT lower(k), count(*), sum(v) FROM ev GROUP BY k`, "state.evolution=none")
	if err == nil || !strings.Contains(err.Error(), "the query has changed") {
		t.Errorf("any change is refused: %v", err)
	}
	b.close(s)
	b.feed(3)
	s, err = run(other, "state.evolution=empty")
	if err != nil {
		t.Fatal(err)
	}
	b.drained(s, "a")
	if got := b.rows(s, "SELECT k, m FROM big"); len(got) != 7 || !strings.HasSuffix(got[6], "76") {
		t.Errorf("an operator that began without state: %v", got)
	}
	b.close(s)
}

// TestInferredColumnsArePinned: files whose columns have grown change neither the
// plan nor the result of a query that goes on.
func TestInferredColumnsArePinned(t *testing.T) {
	b := newStateBed(t)
	run := func() []string {
		s := b.session()
		b.exec(s, `CREATE TABLE wide WITH ('connector'='filesystem','path'='`+b.dir+`/in','format'='csv');
		CREATE STREAMING QUERY a TRIGGER AVAILABLE NOW OUTPUT MODE update AS INSERT INTO res SELECT k, count(*), sum(v) FROM (SELECT * FROM wide) GROUP BY k;`)
		if err := s.AwaitAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer b.close(s)
		return b.rows(s, "SELECT * FROM res")
	}
	b.feed(0)
	b.same("first", run(), b.want(1))
	name := filepath.Join(b.dir, "in", "f001.csv")
	if err := os.WriteFile(name, []byte("more,id,k,v\n9,20,k6,20\n9,21,k0,21\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := run()
	if len(got) != 2 || got[0] != "k0 4 42" || got[1] != "k6 3 39" {
		t.Errorf("after the files have grown a column: %v", got)
	}
}

// TestStateWhileItChanges reads a running query's state all the time, while batches
// are committed and its parallelism changes: each read is that after one batch.
func TestStateWhileItChanges(t *testing.T) {
	b := newStateBed(t)
	s := b.session()
	b.exec(s, `CREATE STREAMING QUERY a OUTPUT MODE update AS `+countQuery)
	q, _ := s.Query("a")
	b.feed(0)
	b.drained(s, "a")
	st, err := q.State(q.StateOperators()[0])
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	reads := 0
	go func() {
		for last := int64(-1); ; reads++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			all, err := st.All(t.Context())
			if err != nil {
				ended <- err
				return
			}
			var got []string
			for _, r := range all.Rows {
				got = append(got, strings.TrimSuffix(fmt.Sprintln(r[1:4]...), "\n"))
			}
			slices.Sort(got)
			if want := b.want(int(all.Batch) + 1); all.Batch < last || !slices.Equal(got, want) {
				ended <- fmt.Errorf("after batch %d, read before %d: %v, want %v", all.Batch, last, got, want)
				return
			}
			last = all.Batch
		}
	}()
	for n := range 40 {
		b.feed(n + 1)
		b.drained(s, "a")
		if n%10 == 5 {
			b.exec(s, fmt.Sprintf("ALTER STREAMING QUERY a SET PARALLELISM %d", 1+n%4))
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if reads == 0 {
		t.Error("nothing was read")
	}
	b.close(s)
	if _, err := st.All(t.Context()); err == nil {
		t.Error("a query that has ended has state")
	}
}
