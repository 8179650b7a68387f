package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/proctest"
)

// scene is a cluster with a query that counts.
type scene struct {
	t       *testing.T
	dir     string
	set     string // settings of the pipeline
	join    string // where workers join
	url     string // of the driver
	driver  *proctest.Process
	workers map[string]*proctest.Process
	files   int
	given   int
}

func newScene(t *testing.T) *scene {
	s := newEmptyScene(t)
	s.startDriver()
	return s
}

// newEmptyScene has no driver yet.
func newEmptyScene(t *testing.T) *scene {
	s := &scene{t: t, dir: t.TempDir(), join: "127.0.0.1:0", workers: map[string]*proctest.Process{}}
	for _, d := range []string{"in", "out"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// begun is what a driver says first: where workers and where clients reach it.
const begun = `(?m)^(127\S+ http://\S+)$`

func (s *scene) startDriver() {
	s.driver = start(s.t, "driver "+filepath.Join(s.dir, "d1")+" "+s.join)
	s.join, s.url, _ = strings.Cut(s.driver.Says(begun), " ")
}

func (s *scene) startWorker(id string) { s.workers[id] = start(s.t, "worker "+id+" "+s.join) }

// give adds files of numbers.
func (s *scene) give(files int) {
	for range files {
		var b strings.Builder
		for range 50 {
			fmt.Fprintf(&b, "%d,%d\n", s.given%7, s.given)
			s.given++
		}
		s.files++
		hidden := filepath.Join(s.dir, "hidden")
		if err := os.WriteFile(hidden, []byte(b.String()), 0o600); err != nil {
			s.t.Fatal(err)
		}
		if err := os.Rename(hidden, filepath.Join(s.dir, "in", fmt.Sprintf("%06d.csv", s.files))); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *scene) expand(text string) string { return strings.ReplaceAll(text, "$DIR", s.dir) }

func (s *scene) submit() {
	s.t.Helper()
	if code, said := s.post(s.url); code != http.StatusCreated {
		s.t.Fatalf("submit: %d %s", code, said)
	}
}

// post gives the pipeline to a driver.
func (s *scene) post(to string) (code int, said string) {
	s.t.Helper()
	text := s.expand(s.set + `
CREATE TABLE numbers (digit BIGINT, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/in', 'format' = 'csv', 'csv.header' = 'false', 'max-files-per-trigger' = '1');
CREATE TABLE counts (digit BIGINT, rows BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out', 'format' = 'csv', 'csv.header' = 'false', 'changelog.op-column' = 'op');
CREATE STREAMING QUERY counting OUTPUT MODE changelog TRIGGER EVERY '10 ms' AS INSERT INTO counts SELECT digit, count(*), sum(n) FROM numbers GROUP BY digit;`)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, to+"/api/pipelines/numbers", strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, fmt.Sprint(string(b), err)
}

// check waits until the output is that of all numbers that were given: of each digit one
// row is in force, once, and every other one that was shown has been taken back.
func (s *scene) check(when string) {
	s.t.Helper()
	rows, total := map[int]int{}, map[int]int{}
	for i := range s.given {
		rows[i%7]++
		total[i%7] += i
	}
	var want []string
	for d := range 7 {
		want = append(want, fmt.Sprint([]any{int64(d), int64(rows[d]), int64(total[d]), int64(1)}))
	}
	proctest.Until(s.t, "the output is right "+when, func() (bool, string) {
		got, err := s.output()
		return err == nil && slices.Equal(got, want), fmt.Sprintf("%v %v\nwant %v", got, err, want)
	})
}

// output is what is in force, with how often.
func (s *scene) output() (out []string, err error) {
	db, err := sluice.NewSession(sluice.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx := s.t.Context()
	if err := db.Exec(ctx, s.expand(`CREATE TABLE shown (op STRING, digit BIGINT, rows BIGINT, total BIGINT)
		WITH ('connector' = 'filesystem', 'path' = '$DIR/out', 'format' = 'csv', 'csv.header' = 'false')`)); err != nil {
		return nil, err
	}
	df, err := db.SQL(ctx, `SELECT * FROM (SELECT digit, rows, total, sum(CASE WHEN op IN ('+I', '+U') THEN 1 ELSE -1 END) AS alive
		FROM shown GROUP BY digit, rows, total) WHERE alive <> 0 ORDER BY digit, rows`)
	if err != nil {
		return nil, err
	}
	list, err := df.Collect(ctx)
	for _, row := range list {
		out = append(out, fmt.Sprint([]any(row)))
	}
	return out, err
}

// workersOf lists the workers that the driver counts on.
func (s *scene) workersOf() (ids []string) {
	resp, err := http.Get(s.url + "/api/workers")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list []struct{ ID, State string }
	if json.NewDecoder(resp.Body).Decode(&list) != nil {
		return nil
	}
	for _, w := range list {
		if w.State == "joined" {
			ids = append(ids, w.ID)
		}
	}
	return ids
}

func (s *scene) joined(ids ...string) {
	s.t.Helper()
	proctest.Until(s.t, fmt.Sprintf("the workers are %v", ids), func() (bool, string) {
		got := s.workersOf()
		return slices.Equal(got, ids), fmt.Sprint(got)
	})
}

func TestProcessesEndInAllWays(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.give(3)
	s.submit()
	s.startWorker("w1")
	s.startWorker("w2")
	s.joined("w1", "w2")
	s.give(3)
	s.check("on two workers")

	s.give(4)
	s.workers["w1"].Kill()
	s.check("after a worker was killed")

	s.startWorker("w3")
	s.joined("w2", "w3")
	s.give(4)
	s.driver.Kill()
	s.give(2)
	s.startDriver()
	s.joined("w2", "w3")
	s.check("after the driver was killed")

	// A worker that is stopped is lost after its lease; when it goes on it has nothing to
	// say any more, whatever it was doing, and joins anew (C17, C18).
	s.give(4)
	s.workers["w2"].Signal(syscall.SIGSTOP)
	s.joined("w3")
	s.give(2)
	s.check("while a worker is stopped")
	s.workers["w2"].Signal(syscall.SIGCONT)
	s.joined("w2", "w3")
	s.give(3)
	s.check("after a stopped worker has gone on")

	s.give(3)
	if err := s.workers["w3"].Stop(); err != nil {
		t.Errorf("a worker that drains ends with %v", err)
	}
	s.joined("w2")
	s.give(1)
	s.check("after a worker has left")
	if err := s.driver.Stop(); err != nil {
		t.Errorf("the driver ends with %v", err)
	}
}
