package crash

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// moment is the request to the store of checkpoints at which a process is killed.
type moment struct {
	method, folder string
	after          bool    // the store has done what was asked, and nobody is told
	n              int     // which of those requests
	then           *moment // the process lives on, up to this one
}

// moments are the phases of a query's life with a checkpoint in a bucket.
var moments = []moment{
	{"PUT", "/journal/", false, 1, nil},  // the first record: who owns the checkpoint
	{"PUT", "/journal/", true, 7, nil},   // a plan or a commit, of which nobody knows
	{"PUT", "/state/", false, 1, nil},    // an upload of a checkpoint
	{"PUT", "/state/", true, 5, nil},     // between the upload and the record of a checkpoint
	{"DELETE", "/state/", false, 1, nil}, // old files are removed
	{"GET", "/state/", false, 2, nil},    // state is restored
	{"GET", "/journal/", false, 20, nil}, // the log is read
}

// killer is a store that ends the process which asks it, at a moment.
type killer struct {
	next http.Handler
	mu   sync.Mutex // guards the rest
	at   *moment
	left int
	hit  chan struct{}
}

// ServeHTTP leaves the request of the moment without an answer.
func (k *killer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	m, hit := k.at, k.hit
	mine := m != nil && r.Method == m.method && strings.Contains(r.URL.Path, m.folder)
	if mine {
		k.left--
		mine = k.left == 0
	}
	if mine && m.then != nil {
		k.at, k.left, mine = m.then, m.then.n, false
	}
	k.mu.Unlock()
	if !mine {
		k.next.ServeHTTP(w, r)
		return
	}
	if m.after {
		k.next.ServeHTTP(httptest.NewRecorder(), r)
	}
	_, _ = io.Copy(io.Discard, r.Body) // the end of a connection is noticed behind the body
	close(hit)
	<-r.Context().Done() // the process is killed
}

// set arms the killer, or with nil leaves everyone alone.
func (k *killer) set(m *moment) chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at, k.hit = m, make(chan struct{})
	if m != nil {
		k.left = m.n
	}
	return k.hit
}

// oneSevenThree are the numbers of partitions of one life after another.
var oneSevenThree = [3]int{1, 7, 3}

// rescales are the phases of a change of parallelism while the query runs: nothing but it
// writes state here.
var rescales = []*moment{
	{method: "PUT", folder: "/state/", n: 1},              // the last checkpoint's first file
	{method: "PUT", folder: "/state/", after: true, n: 1}, // it is there, and nobody knows
	{method: "PUT", folder: "/state/", n: 1, then: &moment{method: "PUT", folder: "/journal/", n: 1}},
	{method: "PUT", folder: "/state/", n: 1, then: &moment{method: "PUT", folder: "/journal/", after: true, n: 1}},
	{method: "PUT", folder: "/state/", n: 1, then: &moment{method: "PUT", folder: "/journal/", after: true, n: 2}}, // with the new partitions
	{method: "PUT", folder: "/state/", n: 1, then: &moment{method: "PUT", folder: "/journal/", after: true, n: 3}},
}

// TestKillInEveryPhaseOfARescale kills a query while it goes from 1 partition to 7, to 3
// and back, at each step of the way, and starts it again with the number that it was to
// have, on a machine that may have none of its files: the result is that of no kill.
func TestKillInEveryPhaseOfARescale(t *testing.T) {
	todo := rescales
	if testing.Short() {
		todo = todo[2:5]
	}
	backend := s3mem.New()
	if err := backend.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	k := &killer{next: gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()}
	srv := httptest.NewServer(k)
	defer srv.Close()
	dir := t.TempDir()
	writeInput(t, filepath.Join(dir, "all"))
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	brought := 0
	bring := func(until int) {
		t.Helper()
		for ; brought < until; brought++ {
			name := fmt.Sprintf("part-%04d.csv", brought)
			if err := os.Rename(filepath.Join(dir, "all", name), filepath.Join(dir, "in", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, filepath.Join(dir, "p.sql"), saving("q", "out/counted", "CHECKPOINT 's3://lake/ck/q'"))
	cache := t.TempDir()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(bin, append([]string{"run", "--set", "checkpoint.interval=1h"}, args...)...)
		cmd.Env = append(cmd.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "XDG_CACHE_HOME="+cache, "HOME="+cache)
		return cmd
	}
	for life, m := range todo {
		bring(files * (life + 1) / (len(todo) + 1))
		if life%2 == 1 {
			cache = t.TempDir()
		}
		k.set(nil)
		l := live(t, command("--http", "127.0.0.1:0", "--set", fmt.Sprint("parallelism=", oneSevenThree[life%3]), "p.sql"), dir)
		hit := k.set(m)
		go func() {
			for n := 1; ; n++ { // one that comes before the first batch writes no state
				l.ask("parallelism", fmt.Sprintf(`{"parallelism": %d}`, oneSevenThree[(life+n)%3]))
				select {
				case <-l.Ended:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		select {
		case <-hit:
		case <-l.Ended:
			t.Fatalf("it ended by itself: %v\n%s", l.State, l.Said())
		case <-time.After(time.Minute):
			t.Fatalf("moment %d never comes\n%s", life, l.Said())
		}
		l.Kill()
	}
	k.set(nil)
	bring(files)
	cmd := command("--once", "--set", fmt.Sprint("parallelism=", oneSevenThree[len(todo)%3]), "p.sql")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := run(t, dir, bin, "sql", "--format", "csv", "-c", tables+"SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k ORDER BY k")
	ddl := "CREATE TABLE c (k STRING, n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='out/counted','format'='csv');\n"
	if got := run(t, dir, bin, "sql", "--format", "csv", "-c", ddl+"SELECT * FROM c ORDER BY k"); got != want {
		t.Errorf("after %d kills:\n%s\nwant\n%s", len(todo), got, want)
	}
}

// TestKillInEveryPhaseOfABucket kills a pipeline whose checkpoints lie in a bucket at
// requests of each kind, and starts it again with other partitions, on the same machine or
// on one that has none of the files.
func TestKillInEveryPhaseOfABucket(t *testing.T) {
	todo := moments
	if testing.Short() {
		todo = todo[2:5]
	}
	backend := s3mem.New()
	if err := backend.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	k := &killer{next: gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()}
	srv := httptest.NewServer(k)
	defer srv.Close()
	dir := t.TempDir()
	writeInput(t, filepath.Join(dir, "in"))
	write(t, filepath.Join(dir, "p.sql"), strings.ReplaceAll(pipeline, "CHECKPOINT 'ck/", "CHECKPOINT 's3://lake/ck/"))
	rng := rand.New(rand.NewPCG(1, uint64(len(todo))))
	cache, killed, lives := t.TempDir(), 0, 0
	start := func(m *moment) {
		t.Helper()
		lives++
		if rng.IntN(2) == 0 {
			cache = t.TempDir()
		}
		hit := k.set(m)
		cmd := exec.Command(bin, "run", "p.sql", "--set", fmt.Sprint("parallelism=", oneSevenThree[lives%3]), "--set", "checkpoint.interval=20ms", "--set", "checkpoint.retain=1")
		cmd.Dir = dir
		cmd.Env = append(cmd.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "XDG_CACHE_HOME="+cache, "HOME="+cache)
		p := proctest.Start(t, cmd)
		select {
		case <-p.Ended:
			if p.State != nil {
				t.Fatalf("after %d kills: %v", killed, p.State)
			}
		case <-hit:
			p.Kill()
			killed++
		}
	}
	for i := range todo {
		start(&todo[i])
	}
	start(nil)
	check(t, dir)
	if killed < len(todo)/2 {
		t.Errorf("%d kills at %d moments", killed, len(todo))
	}
}
