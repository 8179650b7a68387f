//go:build linux

package partition

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/invariants"
)

// built is the command under test, made once for the package.
var built struct {
	sync.Once
	dir, bin string
	err      error
}

var foreignProgram = flag.String("program", "", "the sluice to test; by default it is built from this source")

func program(t testing.TB) string {
	t.Helper()
	if *foreignProgram != "" {
		return *foreignProgram
	}
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "sluice-partition-*"); built.err != nil {
			return
		}
		built.bin = filepath.Join(built.dir, "sluice")
		args := []string{"build", "-ldflags", "-s -w", "-o", built.bin}
		if invariants.Enabled { // the binary checks what the tests of this run check
			args = append(args, "-tags", "invariants")
		}
		if out, err := exec.Command("go", append(args, "github.com/sluice-stream/sluice/cmd/sluice")...).CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.bin
}

func forget() error {
	if built.dir == "" {
		return nil
	}
	return os.RemoveAll(built.dir)
}

// node is a driver or a worker, which is started again whenever it has ended.
type node struct {
	*place
	id    string
	t     *testing.T
	args  []string
	log   string // a file
	clock string // a file, by which its clock is set wrong
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has
	kept  bool          // it is to run: who watches over processes starts it again
	exits []string      // how it has ended by itself
	again time.Time     // when it is started again, if it has
}

// run starts the node's process.
func (n *node) run() {
	n.t.Helper()
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	cmd := dies(exec.Command(program(n.t), n.args...))
	cmd.Env = append(os.Environ(), "SLUICE_CLOCK_SKEW="+n.clock)
	cmd.Stderr = out
	if err := n.start(cmd); err != nil {
		n.t.Fatalf("start %s: %v", n.name, err)
	}
	ended := make(chan struct{})
	go func() { // joined by kill
		_ = cmd.Wait()
		close(ended)
	}()
	n.cmd, n.ended, n.kept, n.again = cmd, ended, true, time.Time{}
}

func (n *node) runs() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// watch starts the node again if it has ended by itself, a moment later, as whoever
// watches over processes does.
func (n *node) watch() {
	switch now := time.Now(); {
	case !n.kept || n.runs():
	case n.again.IsZero():
		n.again = now.Add(againAfter)
		if n.exits = append(n.exits, n.cmd.ProcessState.String()); len(n.exits) > exitsMax {
			n.t.Fatalf("%s ends again and again: %v", n.name, n.exits)
		}
	case now.After(n.again):
		n.run()
	}
}

const (
	// exitsMax bounds how often a node may end by itself in a round: a driver whose disk
	// is full ends whenever it is started, and that lasts for up to 55 s.
	exitsMax   = 120
	againAfter = 500 * time.Millisecond
)

// kill ends the process without any warning.
func (n *node) kill() {
	n.kept = false
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // of one that has ended there is nothing to kill
	<-n.ended
}

// signal sends a signal; a process that has just ended by itself does not get it.
func (n *node) signal(s syscall.Signal) {
	if n.runs() {
		_ = n.cmd.Process.Signal(s)
	}
}

// said is the end of what the node has logged.
func (n *node) said(lines int) string {
	b, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	all := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(b)), "\n"), func(line string) bool {
		return strings.Contains(line, `"batch done"`) || strings.Contains(line, `"state checkpointed"`)
	})
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// command runs the command to its end and returns what it prints.
func command(ctx context.Context, t testing.TB, args ...string) (string, error) {
	cmd := dies(exec.CommandContext(ctx, program(t), args...))
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("sluice %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

func must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := command(t.Context(), t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
