package sluice

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// bootBed compares what a query has put out with the batch query of its text.
type bootBed struct {
	*stateBed
	s     *Session
	files int
}

func newBootBed(t *testing.T, settings ...string) *bootBed {
	b := &bootBed{stateBed: newStateBed(t)}
	b.s = b.session(append(settings, "checkpoint.interval=1ms")...)
	b.exec(b.s, `CREATE TABLE out (k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='memory')`)
	return b
}

func (b *bootBed) more(n int) {
	for range n {
		b.feed(b.files)
		b.files++
	}
}

// check waits for all input and compares the sink with the batch answer.
func (b *bootBed) check(what, query string) {
	b.t.Helper()
	b.drained(b.s, "q")
	b.same(what, b.rows(b.s, "SELECT k, n FROM out"), b.rows(b.s, query))
}

const (
	bootCount  = "SELECT k, count(*) AS n FROM ev GROUP BY k"
	bootSome   = "SELECT k, count(*) * 10 AS n FROM ev WHERE v % 3 > 0 AND k <> 'k5' GROUP BY k"
	bootMax    = "SELECT k, max(v) AS n FROM ev GROUP BY k"
	bootChain  = "SELECT concat('c', n) AS k, count(*) AS n FROM (SELECT k, count(*) AS n FROM ev GROUP BY k) GROUP BY concat('c', n)"
	bootRank   = "SELECT k, n FROM (SELECT k, v AS n, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS r FROM ev) WHERE r = 1"
	bootScaled = "SELECT k, count(*) + 1000 AS n FROM ev GROUP BY k"
)

// TestBootstrap changes the text of a query, running or stopped: what it has put out
// in all is then the batch answer of the new text over all input, before and after
// more input has come.
func TestBootstrap(t *testing.T) {
	bucketServer(t, nil)
	for i, mode := range []string{"update", "complete", "changelog", "update CHECKPOINT 's3://lake/ck/q'"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := newBootBed(t, fmt.Sprintf("parallelism=%d", 1+i), fmt.Sprintf("bootstrap.step-files=%d", 1+2*i), "checkpoint.cache-dir="+t.TempDir())
			b.more(3)
			b.exec(b.s, "CREATE STREAMING QUERY q OUTPUT MODE "+mode+" AS INSERT INTO out "+bootCount)
			b.check("at first", bootCount)
			for n, query := range []string{bootSome, bootMax, bootChain, bootScaled, bootCount, bootRank, bootSome} {
				b.more(n % 3)
				if n%2 == 1 {
					b.exec(b.s, "STOP STREAMING QUERY q")
				}
				b.exec(b.s, "ALTER STREAMING QUERY q SET PARALLELISM "+fmt.Sprint(1+n%4)+" WITH BOOTSTRAP AS INSERT INTO out "+query)
				b.check(fmt.Sprintf("text %d", n), query)
				b.more(2)
				b.check(fmt.Sprintf("text %d and more input", n), query)
			}
			q, _ := b.s.Query("q")
			if last := q.Progress().BatchID; last < int64(b.files) {
				t.Errorf("%d files, and the last batch is %d: batch IDs do not go on", b.files, last)
			}
			b.close(b.s)
		})
	}
}

// TestBootstrapAppends: in append mode nothing of the past is put out again, and what
// comes has all rows in it, those before the change, too.
func TestBootstrapAppends(t *testing.T) {
	b := newBootBed(t, "bootstrap.step-files=2")
	b.exec(b.s, `CREATE VIEW timed AS SELECT * FROM ev;
	CREATE TABLE tv (id BIGINT, k STRING, v BIGINT, ts AS timestamp_seconds(id), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
	WITH ('connector'='filesystem','path'='`+b.dir+`/in','format'='csv','max-files-per-trigger'='1');
	CREATE TABLE wins (w BIGINT, n BIGINT, s BIGINT) WITH ('connector'='memory')`)
	text := func(what string) string {
		return "INSERT INTO wins SELECT unix_seconds(window_start), count(*), " + what + " FROM TUMBLE(TABLE tv, DESCRIPTOR(ts), INTERVAL '30' SECOND) GROUP BY window_start, window_end"
	}
	b.more(4) // ids to 79: closed are the windows at 0 and, by the watermark 74, at 30
	b.exec(b.s, "CREATE STREAMING QUERY q OUTPUT MODE append AS "+text("sum(v)"))
	b.drained(b.s, "q")
	before := b.rows(b.s, "SELECT * FROM wins")
	if len(before) == 0 {
		t.Fatal("no window is closed")
	}
	b.exec(b.s, "ALTER STREAMING QUERY q WITH BOOTSTRAP AS "+text("max(v) + 100000"))
	b.drained(b.s, "q")
	b.same("nothing of the past", b.rows(b.s, "SELECT * FROM wins"), before)
	b.more(4)
	b.drained(b.s, "q")
	later := b.rows(b.s, "SELECT w, n, s FROM wins WHERE s > 100000")
	want := b.rows(b.s, "SELECT unix_seconds(window_start), count(*), max(v) + 100000 FROM TUMBLE(TABLE tv, DESCRIPTOR(ts), INTERVAL '30' SECOND) GROUP BY window_start, window_end HAVING unix_seconds(window_start) >= 60 AND unix_seconds(window_end) <= 154")
	b.same("what closes later", later, want)
	if got := len(b.rows(b.s, "SELECT * FROM wins")); got != len(before)+len(want) {
		t.Errorf("%d windows, want %d and %d", got, len(before), len(want))
	}
	b.close(b.s)
}

// TestBootstrapIsRefused where the input does not reach back, by source and position,
// and the query goes on as it was.
func TestBootstrapIsRefused(t *testing.T) {
	b := newBootBed(t)
	b.more(3)
	b.exec(b.s, "CREATE STREAMING QUERY q OUTPUT MODE update AS INSERT INTO out "+bootCount)
	b.check("at first", bootCount)
	gone := filepath.Join(b.dir, "in", "f001.csv")
	if err := os.Rename(gone, filepath.Join(b.dir, "f001.csv")); err != nil {
		t.Fatal(err)
	}
	b.fails(b.s, "ALTER STREAMING QUERY q WITH BOOTSTRAP AS INSERT INTO out "+bootMax, "position 1 is gone or was changed since it was read. The old query goes on")
	if q, _ := b.s.Query("q"); !q.running() {
		t.Error("the query has ended")
	}
	if err := os.Rename(filepath.Join(b.dir, "f001.csv"), gone); err != nil {
		t.Fatal(err)
	}
	b.more(1)
	b.check("as it was", bootCount)
	b.exec(b.s, "START STREAMING QUERY q WITH BOOTSTRAP")
	b.fails(b.s, "ALTER STREAMING QUERY q WITH BOOTSTRAP AS INSERT INTO out SELECT k, nothing FROM ev", "nothing")
	b.exec(b.s, "CREATE OR REPLACE STREAMING QUERY q OUTPUT MODE update WITH BOOTSTRAP AS INSERT INTO out "+bootMax)
	b.check("replaced", bootMax)
	b.close(b.s)
}

// TestBootstrapOfASocketIsRefused: what was read from it is not kept.
func TestBootstrapOfASocketIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err == nil {
			_, _ = c.Write([]byte("a\nb\na\n"))
			<-over
			_ = c.Close()
		}
	}()
	b := newBootBed(t)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	b.exec(b.s, `CREATE TABLE lines (value STRING) WITH ('connector'='socket','host'='127.0.0.1','port'='`+port+`')`)
	b.exec(b.s, "CREATE STREAMING QUERY q OUTPUT MODE update AS INSERT INTO out SELECT value, count(*) FROM lines GROUP BY value")
	for len(b.rows(b.s, "SELECT * FROM out")) == 0 { // the lines come when they come
		b.drained(b.s, "q")
	}
	b.fails(b.s, "ALTER STREAMING QUERY q WITH BOOTSTRAP AS INSERT INTO out SELECT value, count(*) * 2 FROM lines WHERE value > 'a' GROUP BY value", "source lines#0: the connector 'socket' does not keep what was read")
	b.close(b.s)
	close(over)
	<-served
}

// TestBootstrapByTheView: the text of a query stays, and a view that it reads changes.
func TestBootstrapByTheView(t *testing.T) {
	b := newBootBed(t)
	b.more(3)
	b.exec(b.s, "CREATE VIEW seen AS SELECT k, v FROM ev; CREATE STREAMING QUERY q OUTPUT MODE update AS INSERT INTO out SELECT k, sum(v) AS n FROM seen GROUP BY k")
	b.drained(b.s, "q")
	b.exec(b.s, "CREATE OR REPLACE VIEW seen AS SELECT k, v FROM ev WHERE v > 10 AND k < 'k4'; START STREAMING QUERY q WITH BOOTSTRAP")
	b.more(1)
	b.check("by the new view", "SELECT k, sum(v) AS n FROM seen GROUP BY k")
	b.close(b.s)
}

// TestLeftOverBatchesOfAChangedQuery: a query that was ended in the middle is finished
// by the plan before, wherever its checkpoint lies, and then bootstrapped.
func TestLeftOverBatchesOfAChangedQuery(t *testing.T) {
	b := newBootBed(t)
	b.exec(b.s, "CREATE TABLE bag (k STRING, n BIGINT) WITH ('connector'='filesystem','path'='"+b.dir+"/bag','format'='json')")
	b.more(6)
	text := "CREATE OR REPLACE STREAMING QUERY q OUTPUT MODE complete CHECKPOINT 'below/q' WITH BOOTSTRAP AS INSERT INTO bag "
	for n, query := range []string{bootCount, bootSome, bootMax, bootCount} {
		b.exec(b.s, "SET 'checkpoint.interval' = '1h'; "+text+query)
		q, _ := b.s.Query("q")
		if n%2 == 0 {
			b.drained(b.s, "q")
			b.more(1)
		}
		q.Abandon()
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.exec(b.s, text+bootMax)
	b.drained(b.s, "q")
	b.same("at last", b.rows(b.s, "SELECT k, n FROM bag"), b.rows(b.s, bootMax))
	b.close(b.s)
}

// adopt changes the query to a text as a start does, and ends as a process that is
// killed then: the log has the change, and nobody has shown its output.
func (b *bootBed) adopt(text string) {
	b.t.Helper()
	stmts, err := parser.Parse(text, b.s.parserOptions())
	if err != nil {
		b.t.Fatal(err)
	}
	d, err := b.s.declare(stmts[0].(*ast.CreateStreamingQuery))
	if err != nil {
		b.t.Fatal(err)
	}
	pq, targets, hash, err := b.s.planWhole(d)
	if err != nil {
		b.t.Fatal(err)
	}
	log, err := b.s.logs.Open(b.t.Context(), b.s.dir(d), filelog.Metadata{
		Name: d.name, PlanHash: hash, SQL: d.text, Sources: sourceNames(pq), Sinks: sinkNames(targets), KeyGroups: batch.KeyGroups, Engine: Version,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	q := &Query{s: b.s, def: d, plan: pq, hash: hash, dir: b.s.dir(d), log: log, targets: targets}
	if err := errors.Join(b.s.takeUp(b.t.Context(), q, targets), q.cleanUp()); err != nil {
		b.t.Fatal(err)
	}
}

// TestAdoptedAndNotShown: a query that is killed when it has become another one, and
// before its sinks show how the result differs, and is then changed once more.
func TestAdoptedAndNotShown(t *testing.T) {
	for name, third := range map[string]string{"the same sink": "bag", "another sink": "bag2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBootBed(t, "state.evolution=bootstrap")
			for _, bag := range []string{"bag", "bag2"} {
				b.exec(b.s, "CREATE TABLE "+bag+" (k STRING, n BIGINT, op STRING) WITH ('connector'='filesystem','path'='"+b.dir+"/"+bag+"','format'='csv')")
				b.exec(b.s, "CREATE TABLE to_"+bag+" (k STRING, n BIGINT) WITH ('connector'='filesystem','path'='"+b.dir+"/"+bag+"','format'='csv', 'changelog.op-column'='op')")
			}
			held := func(bag string) []string {
				return b.rows(b.s, "SELECT k, n FROM (SELECT k, n, sum(CASE WHEN op IN ('+I', '+U') THEN 1 ELSE -1 END) AS c FROM "+bag+" GROUP BY k, n) WHERE c <> 0")
			}
			create := func(sink, text string) string {
				return "CREATE STREAMING QUERY q OUTPUT MODE changelog AS INSERT INTO to_" + sink + " " + text
			}
			b.more(3)
			b.exec(b.s, create("bag", bootCount))
			b.drained(b.s, "q")
			b.exec(b.s, "STOP STREAMING QUERY q; DROP STREAMING QUERY q")
			b.adopt(create("bag", bootSome))
			b.exec(b.s, create(third, bootMax))
			b.drained(b.s, "q")
			b.exec(b.s, "STOP STREAMING QUERY q")
			b.same("the third text", held(third), b.rows(b.s, bootMax))
			if third != "bag" {
				b.same("the second text", held("bag"), b.rows(b.s, bootSome))
			}
			b.close(b.s)
		})
	}
}
