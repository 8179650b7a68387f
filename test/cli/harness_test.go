package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/internal/proctest"
)

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
	code, err := proctest.Main(m, &bin, proctest.Checked()...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// result is what a process left.
type result struct {
	code     int // -1: killed by a signal
	out, err string
}

// process is a running binary.
type process struct {
	*proctest.Process
	t *testing.T
}

// start runs the binary in dir. The process is gone when the test is.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startCommand(t, dir, "", exec.Command(bin, args...))
}

func startCommand(t *testing.T, dir, stdin string, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.Dir = dir
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	return &process{proctest.Start(t, cmd), t}
}

// wait returns what the process left, which is never a trace of goroutines.
func (p *process) wait() result {
	p.t.Helper()
	p.AwaitEnd()
	r := result{code: p.Cmd.ProcessState.ExitCode(), out: p.Out.String(), err: p.Err.String()}
	var exit *exec.ExitError
	if p.State != nil && !errors.As(p.State, &exit) {
		p.t.Fatal(p.State)
	}
	for _, trace := range []string{"panic:", "goroutine ", "runtime error", "SIGSEGV"} {
		if strings.Contains(r.err, trace) || strings.Contains(r.out, trace) {
			p.t.Errorf("%v shows a trace:\n%s%s", p.Cmd.Args[1:], tail(r.out), tail(r.err))
		}
	}
	return r
}

func tail(s string) string { return s[max(0, len(s)-20_000):] }

// untilOutput waits for a text on standard output.
func (p *process) untilOutput(text string) {
	p.t.Helper()
	p.Until("output "+text, func() bool { return strings.Contains(p.Out.String(), text) })
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
