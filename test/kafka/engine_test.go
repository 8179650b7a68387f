package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
)

// engineVar makes this test binary an engine that runs the script it names, with
// checkpoints where checkpointVar says, by default beside the script.
const (
	engineVar     = "SLUICE_TEST_KAFKA_ENGINE"
	checkpointVar = "SLUICE_TEST_KAFKA_CHECKPOINT"
)

func TestMain(m *testing.M) {
	if script := os.Getenv(engineVar); script != "" {
		checkpoints := cmp.Or(os.Getenv(checkpointVar), beside(script))
		if err := runScript(context.Background(), script, checkpoints, false); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if role := os.Getenv(nodeVar); role != "" {
		fmt.Fprintln(os.Stderr, runNode(context.Background(), strings.Fields(role)))
		os.Exit(1)
	}
	code := m.Run()
	if err := sharedBroker.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// beside is where checkpoints are if nothing is said.
func beside(script string) string { return filepath.Join(filepath.Dir(script), "ck") }

// runScript runs the streaming queries of a script until they end: with once, when all
// that is there is read.
func runScript(ctx context.Context, script, checkpoints string, once bool) (err error) {
	text, err := os.ReadFile(script)
	if err != nil {
		return err
	}
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: checkpoints, Pipeline: true, Once: once, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Run(ctx, string(text), func(*sluice.Result) error { return nil }); err != nil {
		return err
	}
	return s.AwaitAll(ctx)
}

// engine is a process that runs a script.
type engine struct {
	t      testing.TB
	cmd    *exec.Cmd
	errors *lines
	ended  chan struct{}
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

func startEngine(t testing.TB, script string, env ...string) *engine {
	t.Helper()
	e := &engine{t: t, cmd: exec.Command(os.Args[0]), errors: &lines{}, ended: make(chan struct{})}
	e.cmd.Env = append(append(os.Environ(), engineVar+"="+script), env...)
	e.cmd.Stderr = e.errors
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

// alive fails the test if the engine has ended by itself.
func (e *engine) alive() {
	e.t.Helper()
	select {
	case <-e.ended:
		e.t.Fatalf("the engine ended by itself:\n%s", e.errors)
	default:
	}
}

func (e *engine) signal(s syscall.Signal) {
	e.t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		e.t.Fatal(err)
	}
}
