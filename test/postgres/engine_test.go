package postgres

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
)

// engineVar makes this test binary an engine that runs the script it names.
const engineVar = "SLUICE_TEST_POSTGRES_ENGINE"

// programDir is where the command is built for the tests that need it.
var programDir string

func TestMain(m *testing.M) {
	if script := os.Getenv(engineVar); script != "" {
		if err := runScript(context.Background(), script, filepath.Dir(script)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if flag.Parse(); testing.Short() {
		inputRows = 3000
	}
	dir, err := os.MkdirTemp("", "sluice-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programDir = dir
	code := m.Run()
	if err := errors.Join(sharedServer.remove(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// runScript runs the streaming queries of a script until they end.
func runScript(ctx context.Context, script, dir string) (err error) {
	text, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: filepath.Join(dir, "ck"), Pipeline: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Run(ctx, string(text), func(*sluice.Result) error { return nil }); err != nil {
		return err
	}
	if err := s.AwaitAll(ctx); err != nil {
		return err
	}
	return s.Run(ctx, "SHOW VERSIONS FOR q", func(r *sluice.Result) error { return printRows(ctx, r) })
}

// printRows prints an answer of texts, a line for each row.
func printRows(ctx context.Context, r *sluice.Result) error {
	defer r.Rows.Close()
	for {
		rec, err := r.Rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range int(rec.NumRows()) {
			fmt.Println(rec.Column(0).ValueStr(i), rec.Column(1).ValueStr(i))
		}
		rec.Release()
	}
}

// engine is a process that runs a script. At its end it says what SHOW VERSIONS does.
type engine struct {
	t        testing.TB
	cmd      *exec.Cmd
	versions *lines
	errors   *lines
	ended    chan struct{}
}

// lines keeps what a process says.
type lines struct {
	sync.Mutex
	text []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *lines) String() string {
	l.Lock()
	defer l.Unlock()
	return string(l.text)
}

func startEngine(t testing.TB, script string) *engine {
	t.Helper()
	e := &engine{t: t, cmd: exec.Command(os.Args[0]), versions: &lines{}, errors: &lines{}, ended: make(chan struct{})}
	e.cmd.Env = append(os.Environ(), engineVar+"="+script)
	e.cmd.Stdout, e.cmd.Stderr = e.versions, e.errors
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // joined by kill
		_ = e.cmd.Wait()
		close(e.ended)
	}()
	t.Cleanup(func() {
		if t.Failed() { // what was it doing?
			_ = e.cmd.Process.Signal(syscall.SIGQUIT)
			select {
			case <-e.ended:
			case <-time.After(5 * time.Second):
			}
			t.Logf("the engine says:\n%s", e.errors)
		}
		e.kill()
	})
	return e
}

// kill ends the engine without any warning.
func (e *engine) kill() {
	_ = e.cmd.Process.Kill()
	<-e.ended
}

// over reports whether the engine has ended, and fails the test if it did so with an error.
func (e *engine) over() bool {
	e.t.Helper()
	select {
	case <-e.ended:
		if !e.cmd.ProcessState.Success() {
			e.t.Fatalf("the engine ended by itself:\n%s", e.errors)
		}
		return true
	default:
		return false
	}
}

func (e *engine) signal(s syscall.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.t.Fatal(err)
	}
}
