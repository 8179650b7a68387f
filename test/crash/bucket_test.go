package crash

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// moment is the request to the store of checkpoints at which a process is killed.
type moment struct {
	method, folder string
	after          bool // the store has done what was asked, and nobody is told
	n              int  // which of those requests
}

// moments are the phases of a query's life with a checkpoint in a bucket.
var moments = []moment{
	{"PUT", "/journal/", false, 1},  // the first record: who owns the checkpoint
	{"PUT", "/journal/", true, 7},   // a plan or a commit, of which nobody knows
	{"PUT", "/state/", false, 1},    // an upload of a checkpoint
	{"PUT", "/state/", true, 5},     // between the upload and the record of a checkpoint
	{"DELETE", "/state/", false, 1}, // old files are removed
	{"GET", "/state/", false, 2},    // state is restored
	{"GET", "/journal/", false, 20}, // the log is read
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
	bin, dir := binary(t), t.TempDir()
	writeInput(t, filepath.Join(dir, "in"))
	write(t, filepath.Join(dir, "p.sql"), strings.ReplaceAll(pipeline, "CHECKPOINT 'ck/", "CHECKPOINT 's3://lake/ck/"))
	rng := rand.New(rand.NewPCG(1, uint64(len(todo))))
	cache, killed := t.TempDir(), 0
	start := func(m *moment) {
		t.Helper()
		if rng.IntN(2) == 0 {
			cache = t.TempDir()
		}
		hit := k.set(m)
		cmd := exec.Command(bin, "run", "p.sql", "--set", fmt.Sprint("parallelism=", 1+rng.IntN(7)), "--set", "checkpoint.interval=20ms", "--set", "checkpoint.retain=1")
		cmd.Dir = dir
		cmd.Env = append(cmd.Environ(), "AWS_ENDPOINT_URL="+srv.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "XDG_CACHE_HOME="+cache, "HOME="+cache)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("after %d kills: %v\n%s", killed, err, errOut.String())
			}
		case <-hit:
			_ = cmd.Process.Kill()
			<-done
			killed++
		}
	}
	for i := range todo {
		start(&todo[i])
	}
	start(nil)
	check(t, bin, dir)
	if killed < len(todo)/2 {
		t.Errorf("%d kills at %d moments", killed, len(todo))
	}
}
