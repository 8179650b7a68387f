package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/invariants"
)

// patience is how long anything may take before a test gives up; a loaded
// machine is slow, and nothing here waits for it to pass.
const patience = 4 * time.Minute

// Exit codes of the command.
const (
	done   = 0
	failed = 1
	usage  = 2
)

// bin is the binary under test, built once.
var bin string

// slots bounds how many processes are waited for at the same time. One that a test
// starts and talks to has none: a test with a slot would wait for another one.
var slots = make(chan struct{}, 4)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sluice-cli-*")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = filepath.Join(dir, "sluice")
		if runtime.GOOS == "windows" {
			bin += ".exe"
		}
		args := []string{"build", "-o", bin}
		if invariants.Enabled { // the binary checks what the tests of this run check
			args = append(args, "-tags", "invariants")
		}
		cmd := exec.Command("go", append(args, "github.com/sluice-stream/sluice/cmd/sluice")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// result is what a process left.
type result struct {
	code     int // -1: killed by a signal
	out, err string
}

// process is a running binary.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *watched
	ended    chan struct{}
	state    error
}

// watched gathers output and can be read while it grows.
type watched struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// start runs the binary in dir. The process is gone when the test is.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startCommand(t, dir, "", exec.Command(bin, args...))
}

func startCommand(t *testing.T, dir, stdin string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, out: &watched{}, err: &watched{}, ended: make(chan struct{})}
	cmd.Dir = dir
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	if cmd.Stdout == nil {
		cmd.Stdout = p.out
	}
	cmd.Stderr = p.err
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.state = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, mostly
		<-p.ended
	})
	return p
}

// wait returns what the process left, which is never a trace of goroutines.
func (p *process) wait() result {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines say where it hangs
		<-p.ended
		p.t.Fatalf("%v does not end\nstdout: %s\nstderr: %s", p.cmd.Args[1:], tail(p.out.String()), tail(p.err.String()))
	}
	r := result{code: p.cmd.ProcessState.ExitCode(), out: p.out.String(), err: p.err.String()}
	var exit *exec.ExitError
	if p.state != nil && !errors.As(p.state, &exit) {
		p.t.Fatal(p.state)
	}
	for _, trace := range []string{"panic:", "goroutine ", "runtime error", "SIGSEGV"} {
		if strings.Contains(r.err, trace) || strings.Contains(r.out, trace) {
			p.t.Errorf("%v shows a trace:\n%s%s", p.cmd.Args[1:], tail(r.out), tail(r.err))
		}
	}
	return r
}

func tail(s string) string { return s[max(0, len(s)-20_000):] }

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// until waits for a condition that the process brings about, and fails when it ends before.
func (p *process) until(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-p.ended:
			if holds() {
				return
			}
			p.t.Fatalf("ended before: %s\nstdout: %s\nstderr: %s", what, tail(p.out.String()), tail(p.err.String()))
		case <-late:
			p.t.Fatalf("waited in vain: %s\nstdout: %s\nstderr: %s", what, tail(p.out.String()), tail(p.err.String()))
		}
	}
}

// untilOutput waits for a text on standard output.
func (p *process) untilOutput(text string) {
	p.t.Helper()
	p.until("output "+text, func() bool { return strings.Contains(p.out.String(), text) })
}

// sluice runs the binary to its end.
func sluice(t *testing.T, dir string, args ...string) result {
	t.Helper()
	slots <- struct{}{}
	defer func() { <-slots }()
	return start(t, dir, args...).wait()
}

// ok runs the binary, which must end well, and returns its output.
func ok(t *testing.T, dir string, args ...string) string {
	t.Helper()
	r := sluice(t, dir, args...)
	if r.code != done {
		t.Fatalf("sluice %s: exit code %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.code, tail(r.out), tail(r.err))
	}
	return r.out
}

// refuses runs the binary, which must end with the code and an error that
// matches all patterns.
func refuses(t *testing.T, dir string, code int, patterns []string, args ...string) result {
	t.Helper()
	r := sluice(t, dir, args...)
	r.check(t, code, patterns...)
	return r
}

// check compares a result with an exit code and with patterns of its error.
func (r result) check(t *testing.T, code int, patterns ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, tail(r.out), tail(r.err))
	}
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(r.err) {
			t.Errorf("stderr does not match %q:\n%s", p, tail(r.err))
		}
	}
}

// write makes a file and the folders above it.
func write(t *testing.T, parts ...string) {
	t.Helper()
	name, text := filepath.Join(parts[:len(parts)-1]...), parts[len(parts)-1]
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// flip inverts one bit of a file.
func flip(t *testing.T, name string, at func(size int) int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at(len(b))] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// visible lists what a plain reader of a directory sees: files whose names and
// folders do not start with "_" or ".".
func visible(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case path != dir && strings.ContainsAny(d.Name()[:1], "_."):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case !d.IsDir():
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// csvRows are the rows of all visible CSV files of a directory, without headers.
func csvRows(t *testing.T, dir string) [][]string {
	t.Helper()
	var out [][]string
	for _, name := range visible(t, dir) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, parseCSV(t, string(b))[1:]...)
	}
	return out
}

func parseCSV(t *testing.T, text string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("%v in %q", err, tail(text))
	}
	return rows
}

// column is one column of rows.
func column(rows [][]string, i int) []string {
	out := make([]string, len(rows))
	for r := range rows {
		out[r] = rows[r][i]
	}
	return out
}
