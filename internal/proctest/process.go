package proctest

import (
	"bytes"
	"errors"
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
	go func() { // joined at the end of the test
		p.State = cmd.Wait()
		close(p.Ended)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%v %v\n%s", cmd.Args, cmd.ProcessState, p.Said())
		}
	})
	return p
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

// Says waits for what the process says on either stream, and returns what the last group
// of the expression finds in it.
func (p *Process) Says(expr string) string {
	p.t.Helper()
	re := regexp.MustCompile(expr)
	for end := time.After(Patience); ; {
		over := p.Over()
		for _, o := range []*Output{p.Out, p.Err} {
			if found := re.FindStringSubmatch(o.String()); found != nil {
				return found[len(found)-1]
			}
		}
		select {
		case <-time.After(pause):
		case <-end:
			over = true
		}
		if over {
			p.t.Fatalf("%v, over %t, does not say %q", p.Cmd.Args, p.Over(), expr)
		}
	}
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
