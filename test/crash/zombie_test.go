package crash

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestZombie stops a run in its tracks (SIGSTOP) and starts a second one: the lock
// of the checkpoint refuses it, naming who has it, and the first, woken again,
// goes on as if nothing had been.
func TestZombie(t *testing.T) {
	dir := t.TempDir()
	writeInput(t, filepath.Join(dir, "in"))
	write(t, filepath.Join(dir, "p.sql"), pipeline)
	write(t, filepath.Join(dir, "endless.sql"), strings.ReplaceAll(pipeline, "TRIGGER AVAILABLE NOW ", ""))
	first := start(t, dir, bin, "run", "--set", "checkpoint.interval=50ms", "endless.sql")
	// Stopped anywhere between its first batches; the rest of the test does not depend on where.
	for tries := 0; ; tries++ {
		if found, _ := filepath.Glob(filepath.Join(dir, "out/counted/*.parquet")); len(found) > 0 {
			break
		}
		select {
		case <-first.Ended:
			t.Fatalf("the first run ended early: %v", first.State)
		case <-time.After(2 * time.Millisecond):
		}
		if tries > 100_000 {
			t.Fatal("the first run shows nothing")
		}
	}
	first.Signal(syscall.SIGSTOP)
	pid := first.Cmd.Process.Pid
	awaitStop(t, pid)
	before := listing(t, dir)
	for range 3 {
		second := exec.Command(bin, "run", "p.sql")
		second.Dir = dir
		out, err := second.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is in use by process "+fmt.Sprint(pid)) {
			t.Errorf("a second run beside a stopped one: %v\n%s", err, out)
		}
	}
	if after := listing(t, dir); after != before {
		t.Errorf("the refused runs have changed something:\n%s\nwas\n%s", after, before)
	}
	first.Signal(syscall.SIGCONT)
	for limit := time.After(4 * time.Minute); len(listed(t, dir, "out/copied/*.parquet")) < files/2; { // two files a batch
		select {
		case <-first.Ended:
			t.Fatalf("the first run, woken, ended: %v", first.State)
		case <-limit:
			t.Fatalf("the first run, woken, has shown %d files", len(listed(t, dir, "out/copied/*.parquet")))
		case <-time.After(2 * time.Millisecond):
		}
	}
	first.Signal(os.Interrupt)
	if first.AwaitEnd(); first.State != nil {
		t.Fatalf("the first run, woken: %v", first.State)
	}
	run(t, dir, bin, "run", "p.sql") // windows that the last rows have closed
	check(t, dir)
}

// awaitStop returns when every thread of a process has stopped: the signal is
// delivered at once, but a thread in a system call finishes that first.
func awaitStop(t *testing.T, pid int) {
	t.Helper()
	for range 100_000 {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		running := 0
		for _, name := range stats {
			b, err := os.ReadFile(name)
			if err != nil {
				continue // the thread has ended
			}
			// The state follows the name, which stands in parentheses.
			if at := bytes.LastIndexByte(b, ')'); at < 0 || at+2 >= len(b) || b[at+2] != 'T' {
				running++
			}
		}
		if running == 0 {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	t.Fatal("the process does not stop")
}

func listed(t *testing.T, dir, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// listing shows names and sizes of what the query writes.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, pattern := range []string{"out/*", "out/*/*", "ck/*/log/*", "ck/*/state/*", "ck/*/sources/*/*", "ck/*/checkpoint.meta"} {
		for _, f := range listed(t, dir, pattern) {
			fmt.Fprintln(&b, f, size(t, f))
		}
	}
	return b.String()
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
