package kafka

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// rounds is how often something is killed in each test.
func rounds() int {
	if testing.Short() {
		return 2
	}
	return 5
}

// pipeline copies rows and counts them, with small batches and checkpoints far apart,
// so that there is much to run again.
func (c *cluster) pipeline(t testing.TB, in, out, counts string) string {
	t.Helper()
	return c.pipelineOf(t, in, out, counts, "300")
}

func (c *cluster) pipelineOf(t testing.TB, in, out, counts, rows string) string {
	t.Helper()
	const quick = ", 'request-timeout'='5s'"
	text := "SET 'checkpoint.interval' = '300ms';\n" +
		c.table("src", "id BIGINT, k STRING", in, ", 'max-offsets-per-trigger'='"+rows+"', 'discovery-interval'='100ms'"+quick) +
		c.table("dst", "id BIGINT, k STRING", out, ", 'key-columns'='k', 'transaction-timeout'='1s'"+quick) +
		c.table("counts", "k STRING, n BIGINT, PRIMARY KEY (k) NOT ENFORCED", counts, ", 'transaction-timeout'='1s'"+quick) +
		"CREATE STREAMING QUERY copies AS INSERT INTO dst SELECT id, k FROM src;\n" +
		"CREATE STREAMING QUERY counting OUTPUT MODE update AS INSERT INTO counts SELECT k, count(*) AS n FROM src GROUP BY k;\n"
	path := filepath.Join(t.TempDir(), "p.sql")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// row is what the pipeline writes.
type row struct {
	ID int64
	K  string
	N  int64
}

func rowOf(t testing.TB, rec *kgo.Record) (r row) {
	t.Helper()
	if err := json.Unmarshal(rec.Value, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// checkCopies holds the copies against the input: each once, and of each key in order.
func checkCopies(t testing.TB, recs []*kgo.Record, n int) {
	t.Helper()
	seen := make([]int, n)
	last := map[string]int64{}
	for _, rec := range recs {
		r := rowOf(t, rec)
		if r.ID >= int64(n) {
			t.Fatalf("row %+v was never produced", r)
		}
		seen[r.ID]++
		if was, ok := last[r.K]; ok && r.ID <= was {
			t.Errorf("of key %s, %d comes behind %d", r.K, r.ID, was)
		}
		last[r.K] = r.ID
	}
	wrong := 0
	for id, times := range seen {
		if times != 1 {
			if wrong++; wrong < 10 {
				t.Errorf("row %d is there %d times", id, times)
			}
		}
	}
}

// checkCounts: each key's count only grows, and ends with how many there are.
func checkCounts(t testing.TB, recs []*kgo.Record, n int) {
	t.Helper()
	last := map[string]int64{}
	for _, rec := range recs {
		r := rowOf(t, rec)
		if r.N <= last[r.K] {
			t.Errorf("the count of %s goes from %d to %d", r.K, last[r.K], r.N)
		}
		last[r.K] = r.N
	}
	if sum := sumOf(t, recs); sum != int64(n) {
		t.Errorf("the counts add up to %d, want %d", sum, n)
	}
}

// sumOf adds the newest counts up.
func sumOf(t testing.TB, recs []*kgo.Record) (sum int64) {
	t.Helper()
	last := map[string]int64{}
	for _, rec := range recs {
		r := rowOf(t, rec)
		sum += r.N - last[r.K]
		last[r.K] = r.N
	}
	return sum
}

// finish lets an engine do the rest, and checks all of it.
func (c *cluster) finish(t *testing.T, script, out, counts string, n int) {
	t.Helper()
	c.finishAt(t, script, beside(script), out, counts, n)
}

func (c *cluster) finishAt(t *testing.T, script, checkpoints, out, counts string, n int) {
	t.Helper()
	if err := runScript(t.Context(), script, checkpoints, true); err != nil {
		t.Fatal(err)
	}
	copies, counted := c.reader(t, out), c.reader(t, counts)
	copies.toEnd(out)
	counted.toEnd(counts)
	checkCopies(t, copies.recs, n)
	checkCounts(t, counted.recs, n)
}

// TestKilledEngine kills the engine at random moments, while rows come.
func TestKilledEngine(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		script, cl := c.pipeline(t, in, out, counts), c.client(t)
		watch := c.reader(t, out)
		rng := rand.New(rand.NewPCG(7, 7))
		n := 0
		for range rounds() {
			e := startEngine(t, script)
			for range 1 + rng.IntN(4) {
				produce(t, cl, in, n, n+500)
				n += 500
			}
			// Killed somewhere between its start and the end of what there is.
			want := len(watch.recs) + rng.IntN(1000)
			watch.until(func() bool { e.alive(); return len(watch.recs) >= want || len(watch.recs) >= n })
			e.kill()
		}
		c.finish(t, script, out, counts, n)
	})
}

// TestStoppedEngine stops the engine for longer than its transactions may last: the
// broker gives them up, and nothing is lost.
func TestStoppedEngine(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) { // kfake's transactions are not given up in time
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		script, cl := c.pipeline(t, in, out, counts), c.client(t)
		watch := c.reader(t, out)
		e := startEngine(t, script)
		n := 0
		for range 2 {
			produce(t, cl, in, n, n+2000)
			watch.until(func() bool { e.alive(); return len(watch.recs) > n })
			e.signal(syscall.SIGSTOP)
			n += 2000
			<-time.After(2 * time.Second) // it is stopped, wherever it was: the longer, the later the broker's time-out
			e.signal(syscall.SIGCONT)
		}
		watch.until(func() bool { e.alive(); return len(watch.recs) >= n })
		e.kill()
		c.finish(t, script, out, counts, n)
	})
}

// watched is an engine that is started again when it gives up, as whoever watches
// over processes does.
type watched struct {
	*engine
	script   string
	restarts int
}

func watch(t testing.TB, script string) *watched {
	t.Helper()
	return &watched{engine: startEngine(t, script), script: script}
}

const restartsMax = 10

func (w *watched) goesOn() {
	w.t.Helper()
	select {
	case <-w.ended:
		if w.restarts++; w.restarts > restartsMax {
			w.t.Fatalf("the engine gives up again and again: %s", w.errors)
		}
		w.t.Logf("the engine gave up, and is started again: %s", w.errors)
		w.engine = startEngine(w.t, w.script)
	default:
	}
}

// TestKilledBroker kills the broker while the engine works.
func TestKilledBroker(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) {
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		script, cl := c.pipeline(t, in, out, counts), c.client(t)
		e := watch(t, script)
		n := 0
		for range max(1, rounds()/4) {
			seen := c.reader(t, out)
			produce(t, cl, in, n, n+3000)
			seen.until(func() bool { e.goesOn(); return len(seen.recs) > n+300 })
			n += 3000
			c.real.kill(t)
			c.real.up(t)
			seen.until(func() bool { e.goesOn(); return len(seen.recs) >= n })
		}
		e.kill()
		c.finish(t, script, out, counts, n)
	})
}

// TestTargetAheadOfLog: a target that holds more than the log is refused.
func TestTargetAheadOfLog(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out := name(t, "in"), name(t, "out")
		c.create(t, 1, in, out)
		dir := t.TempDir()
		script := c.table("src", "id BIGINT, k STRING", in, "") + c.table("dst", "id BIGINT, k STRING", out, "") +
			"CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id, k FROM src;\n"
		cl := c.client(t)
		produce(t, cl, in, 0, 10)
		runOnce(t, dir, script)
		copied := filepath.Join(t.TempDir(), "ck")
		if err := os.CopyFS(copied, os.DirFS(filepath.Join(dir, "ck"))); err != nil {
			t.Fatal(err)
		}
		for i := 1; i < 4; i++ {
			produce(t, cl, in, i*10, i*10+10)
			runOnce(t, dir, script)
		}
		path := filepath.Join(filepath.Dir(copied), "p.sql")
		if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		err := runScript(t.Context(), path, copied, true)
		if err == nil || !strings.Contains(err.Error(), "holds batch") {
			t.Fatalf("an older checkpoint beside a newer target gave %v", err)
		}
		r := c.reader(t, out)
		r.toEnd(out)
		checkCopies(t, r.recs, 40)
	})
}
