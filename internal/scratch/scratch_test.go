package scratch

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestRemoveDead makes folders of a process that has ended, of this one, of one
// that has this one's number but another start, and of another machine.
func TestRemoveDead(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe, "-test.run=^$")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := func(machine string, pid int, began string) string {
		p := filepath.Join(dir, strings.Join([]string{prefix + machine, strconv.Itoa(pid), began, "1"}, "-"))
		if err := os.MkdirAll(filepath.Join(p, "task"), 0o700); err != nil {
			t.Fatal(err)
		}
		return p
	}
	self := os.Getpid()
	gone := []string{name(machine(), child.Process.Pid, "1")}
	stay := []string{name("elsewhere", child.Process.Pid, "1"), name(machine(), self, began(self)), filepath.Join(dir, prefix+"123")}
	if began(self) != unknown {
		gone = append(gone, name(machine(), self, "1"))
	}
	if err := os.Mkdir(stay[2], 0o700); err != nil {
		t.Fatal(err)
	}
	RemoveDead(dir)
	for _, p := range gone {
		if _, err := os.Stat(p); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", p, err)
		}
	}
	for _, p := range stay {
		if _, err := os.Stat(p); err != nil {
			t.Error(err)
		}
	}
	RemoveDead(filepath.Join(dir, "missing"))
}

// TestName pins that names differ, make nothing and are not taken for dead.
func TestName(t *testing.T) {
	dir := t.TempDir()
	a, b := Name(dir), Name(dir)
	if a == b || dead(filepath.Base(a)) {
		t.Fatalf("%s and %s", a, b)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Fatal(left, err)
	}
	if filepath.Dir(Name("")) != filepath.Clean(os.TempDir()) {
		t.Fatal(Name(""))
	}
}
