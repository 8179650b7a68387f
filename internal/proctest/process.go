package proctest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/clock"
)

// Output gathers what a process says and can be read while it grows.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String is what was said so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Process is a program that runs, or has.
type Process struct {
	Cmd      *exec.Cmd
	Out, Err *Output       // what it says, unless the command had places for it
	Ended    chan struct{} // closed when the process has ended, with State
	State    error         // that of Cmd.Wait

	t testing.TB
}

// Start starts a command, which ends with the test at the latest. What it has said is
// shown if the test fails.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, Out: &Output{}, Err: &Output{}, Ended: make(chan struct{}), t: t}
	if cmd.Stdout == nil {
		cmd.Stdout = p.Out
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.Err
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.follow(func() {})
	return p
}

// Started is Start for a command that was started already, such as on a terminal; read
// takes in what it says there, up to the end.
func Started(t testing.TB, cmd *exec.Cmd, read func(out io.Writer)) *Process {
	p := &Process{Cmd: cmd, Out: &Output{}, Err: &Output{}, Ended: make(chan struct{}), t: t}
	p.follow(func() { read(p.Out) })
	return p
}

func (p *Process) follow(read func()) {
	go func() { // joined at the end of the test
		read()
		p.State = p.Cmd.Wait()
		close(p.Ended)
	}()
	p.t.Cleanup(func() {
		p.Kill()
		if p.t.Failed() {
			p.t.Logf("%v %v\n%s", p.Cmd.Args, p.Cmd.ProcessState, p.Said())
		}
	})
}

// tail is how much of what was said is shown.
const tail = 20_000

// Said is the end of what the process has said.
func (p *Process) Said() string {
	cut := func(s string) string { return s[max(0, len(s)-tail):] }
	return strings.TrimSpace(cut(p.Out.String()) + "\n" + cut(p.Err.String()))
}

// Over reports whether the process has ended.
func (p *Process) Over() bool {
	select {
	case <-p.Ended:
		return true
	default:
		return false
	}
}

// Kill ends the process without any warning, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // of one that has ended there is nothing to kill
	<-p.Ended
}

// KillAfter lets the process be for a while and kills it then. It reports whether there
// was something to kill; how the process ended by itself is State.
func (p *Process) KillAfter(d time.Duration) bool {
	select {
	case <-p.Ended:
		return false
	case <-time.After(d):
		p.Kill()
		return true
	}
}

// Killed reports whether it was by a kill that the process has ended.
func (p *Process) Killed() bool {
	s, ok := p.Cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && s.Signaled() && s.Signal() == syscall.SIGKILL
}

// Signal sends a signal; a process that has ended does not get it.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("signal %s: %v", s, err)
	}
}

// Stop ends the process in good order, as an operator does, and returns how it ended.
func (p *Process) Stop() error {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	p.AwaitEnd()
	return p.State
}

// AwaitEnd waits until the process has ended.
func (p *Process) AwaitEnd() {
	p.t.Helper()
	select {
	case <-p.Ended:
	case <-time.After(Patience):
		p.Signal(syscall.SIGQUIT) // its goroutines say where it hangs
		<-p.Ended
		p.t.Fatalf("%v does not end", p.Cmd.Args)
	}
}

// Until waits for what the process brings about, and fails when it ends before.
func (p *Process) Until(what string, holds func() bool) {
	p.t.Helper()
	for end := time.After(Patience); !holds(); {
		select {
		case <-time.After(pause):
		case <-p.Ended:
			if !holds() {
				p.t.Fatalf("%v has ended before: %s", p.Cmd.Args, what)
			}
			return
		case <-end:
			p.t.Fatalf("%v is waited for in vain: %s", p.Cmd.Args, what)
		}
	}
}

// Says waits for what the process says on either stream, and returns what the last group
// of the expression finds in it.
func (p *Process) Says(expr string) (found string) {
	p.t.Helper()
	re := regexp.MustCompile(expr)
	p.Until("it says "+expr, func() bool {
		for _, o := range []*Output{p.Out, p.Err} {
			if groups := re.FindStringSubmatch(o.String()); groups != nil {
				found = groups[len(groups)-1]
				return true
			}
		}
		return false
	})
	return found
}

// Patience is how long anything may take before a test gives up. A loaded machine is
// slow, and nobody waits for it to pass.
const Patience = 4 * time.Minute

// pause is how long a condition is left alone before it is looked at again.
const pause = 5 * time.Millisecond

// Until waits for a condition, which says how far it is.
func Until(t testing.TB, what string, ok func() (bool, string)) {
	t.Helper()
	for end := time.Now().Add(Patience); ; {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waiting until %s: it is %s", what, state)
		}
		if err := clock.Wait(t.Context(), clock.System(), pause); err != nil {
			t.Fatal(err)
		}
	}
}
