//go:build linux

package upgrade

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/clock"
)

// scene is a cluster of three drivers and two workers, and what its queries are given.
type scene struct {
	t     *testing.T
	dir   string
	host  string // an address of the loopback network of its own, so that ports stay theirs
	nodes map[string]*node
	given *given
	steps []step
}

// node is a process that runs.
type node struct {
	id    string
	cmd   *exec.Cmd
	log   string // a file
	ended chan struct{}
}

// step is when something of the upgrade began.
type step struct {
	what string
	at   time.Time
}

var driverIDs = []string{"d1", "d2", "d3"}

func newScene(t *testing.T) *scene {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	s := &scene{t: t, dir: t.TempDir(), host: fmt.Sprintf("127.%d.%d.%d", 1+b[0]%254, b[1], 1+b[2]%254), nodes: map[string]*node{}}
	for _, d := range []string{"in", "out", "logs"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if s.given != nil {
			s.given.stop()
		}
		for _, n := range s.nodes {
			_ = n.cmd.Process.Kill() // of one that has ended there is nothing to kill
			<-n.ended
		}
		if t.Failed() {
			for id := range s.nodes {
				t.Logf("%s said:\n%s", id, s.said(id))
			}
		}
	})
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) addresses(format string) string {
	var out []string
	for i, id := range driverIDs {
		out = append(out, strings.NewReplacer("ID", id, "HOST", s.host, "N", fmt.Sprint(i+1)).Replace(format))
	}
	return strings.Join(out, ",")
}

func (s *scene) web(driver string) string {
	return fmt.Sprintf("%s:800%d", s.host, 1+slices.Index(driverIDs, driver))
}

// start runs a node with a build.
func (s *scene) start(bin, id string) *node {
	s.t.Helper()
	args := []string{"worker", "--id", id, "--data", s.path(id), "--join", s.addresses("HOST:700N"), "--slots", "2", "--log", "info"}
	if id[0] == 'd' {
		args = []string{"driver", "--id", id, "--data", s.path(id), "--peers", s.addresses("ID=HOST:700N"), "--http", s.web(id),
			"--checkpoint-dir", s.path("checkpoints"), "--set", "checkpoint.interval=300ms", "--log", "info"}
	}
	n := &node{id: id, cmd: exec.Command(bin, args...), log: s.path("logs/" + id), ended: make(chan struct{})}
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	n.cmd.Stderr, n.cmd.Dir = out, s.dir
	if err := n.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { // joined by stop, or at the end of the test
		_ = n.cmd.Wait()
		close(n.ended)
	}()
	s.nodes[id] = n
	return n
}

// stop ends a node in good order, as an operator does.
func (s *scene) stop(id string) {
	s.t.Helper()
	n := s.nodes[id]
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatalf("%s: %v", id, err)
	}
	s.until(id+" ends", func() (bool, string) { return n.over(), "it runs" })
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("%s ends with %v\n%s", id, n.cmd.ProcessState, s.said(id))
	}
}

func (n *node) over() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}

func (s *scene) said(id string) string {
	b, err := os.ReadFile(s.path("logs/" + id))
	if err != nil {
		return err.Error()
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, `"batch done"`) && !strings.Contains(line, `"state checkpointed"`) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// command runs a program to its end.
func (s *scene) command(bin string, args ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), bin, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("sluice %s: %w: %s", args[0], err, errs.String())
	}
	return out.String(), nil
}

var client = http.Client{Timeout: time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// ask gets what a driver says; false if it says nothing itself.
func (s *scene) ask(driver, path string, into any) bool {
	resp, err := client.Get("http://" + s.web(driver) + path)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && (into == nil || json.NewDecoder(resp.Body).Decode(into) == nil)
}

// leader waits until all drivers that run say the same one.
func (s *scene) leader() (id string, term uint64) {
	s.t.Helper()
	s.until("the drivers agree on a leader", func() (bool, string) {
		id, term = "", 0
		for _, d := range driverIDs {
			var said struct {
				Leader string
				Term   uint64
			}
			if n := s.nodes[d]; n == nil || n.over() {
				continue
			}
			if !s.ask(d, "/api/drivers", &said) || said.Leader == "" || id != "" && (said.Leader != id || said.Term != term) {
				return false, fmt.Sprintf("%s says %+v", d, said)
			}
			id, term = said.Leader, said.Term
		}
		return id != "", "nobody"
	})
	return id, term
}

// member is what the leader says of a worker.
type member struct{ ID, State, Version string }

func (s *scene) members() (list []member) {
	for _, d := range driverIDs {
		if s.ask(d, "/api/workers", &list) {
			return slices.DeleteFunc(list, func(m member) bool { return m.State != "joined" })
		}
	}
	return nil
}

// joined waits until the leader counts on workers.
func (s *scene) joined(ids ...string) {
	s.t.Helper()
	s.until(fmt.Sprintf("the workers are %v", ids), func() (bool, string) {
		var got []string
		for _, m := range s.members() {
			got = append(got, m.ID)
		}
		slices.Sort(got)
		return slices.Equal(got, ids), fmt.Sprint(got)
	})
}

// patience is how long anything may take; slow machines take seconds, never that long.
const patience = 2 * time.Minute

func (s *scene) until(what string, ok func() (bool, string)) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waiting until %s: it is %s", what, state)
		}
		if err := clock.Wait(s.t.Context(), clock.System(), 10*time.Millisecond); err != nil {
			s.t.Fatal(err)
		}
	}
}

// begin notes what is done next.
func (s *scene) begin(format string, args ...any) {
	s.steps = append(s.steps, step{fmt.Sprintf(format, args...), time.Now()})
}

// given are the files that come while the upgrade goes on.
type given struct {
	cancel context.CancelFunc
	ended  chan struct{}
	files  int   // once it has ended
	err    error // the same
}

const (
	keys        = 7
	rowsPerFile = 35
	perFile     = 20 * time.Millisecond
)

// feed gives files without a pause until it is stopped.
func (s *scene) feed() {
	ctx, cancel := context.WithCancel(s.t.Context())
	g := &given{cancel: cancel, ended: make(chan struct{})}
	s.given = g
	go func() { // joined by stop
		defer close(g.ended)
		for g.err == nil && ctx.Err() == nil {
			if g.err = s.give(g, 0); g.err == nil {
				_ = clock.Wait(ctx, clock.System(), perFile) // its end is seen above
			}
		}
	}()
}

func (g *given) stop() {
	g.cancel()
	<-g.ended
}

// give adds a file, whose times are that much later than they would be.
func (s *scene) give(g *given, later time.Duration) error {
	var b strings.Builder
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(later)
	for i := range rowsPerFile {
		v := g.files*rowsPerFile + i
		fmt.Fprintf(&b, "%d,%d,%s\n", v%keys, v, begun.Add(time.Duration(v)*250*time.Millisecond).Format("2006-01-02 15:04:05.000"))
	}
	g.files++
	if err := os.WriteFile(s.path("hidden"), []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(s.path("hidden"), s.path(fmt.Sprintf("in/%08d.csv", g.files)))
}
