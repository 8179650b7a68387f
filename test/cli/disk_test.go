package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestFileSizeLimit is a quota: a write that goes too far is an error that names
// the file, not the silent end that the signal of the limit would be.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil || runtime.GOOS != "linux" {
		t.Skip("needs a shell with ulimit")
	}
	const rows = 300_000
	dir := t.TempDir()
	write(t, dir, "p.sql", manyBatches(rows, 150_000))
	p := startCommand(t, dir, "", exec.Command("sh", "-c", `ulimit -f 100 && exec "$0" run p.sql`, bin))
	p.wait().check(t, failed, `query "ids": .*file too large`, `out/ids`)
	if got := visible(t, filepath.Join(dir, "out", "ids")); len(got) > 0 {
		t.Errorf("half-written output: %v", got)
	}
	ok(t, dir, "run", "p.sql")
	complete(t, dir, rows)
}

// TestFullDisk fills a small disk in the middle of a stream. What is visible is
// whole batches; with room made the same command goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=3m", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("no small disk can be made here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	const rows, perBatch = 400_000, 4_000
	write(t, dir, "p.sql", manyBatches(rows, perBatch))
	for range 2 { // it is still full the second time
		r := sluice(t, dir, "run", "p.sql")
		r.check(t, failed, "no space left on device")
		if n := len(noDuplicates(t, dir)); n%perBatch != 0 || n == rows {
			t.Errorf("%d rows are visible", n)
		}
	}
	if r := sluice(t, dir, "checkpoint", "verify", "checkpoints/ids"); r.code != done {
		t.Errorf("the checkpoint of a full disk: %s", r.err)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=64m", dir).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v %s", err, out)
	}
	ok(t, dir, "run", "p.sql")
	complete(t, dir, rows)
}

// TestNoTemporaryFolder: there is nowhere to put what does not fit into memory.
func TestNoTemporaryFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := sluice(t, dir, "sql", "--set", "spill.dir="+filepath.Join(dir, "nowhere"), "-c", "SELECT 1")
	if r.code == done || !strings.Contains(r.err, "nowhere") || !strings.Contains(r.err, "spill.dir") {
		t.Errorf("exit code %d, errors %s", r.code, r.err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestMemoryLimit: a query that cannot be done within the limit says so.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := sluice(t, dir, "sql", "--set", "memory_limit=1MiB", "--set", "spill.dir="+dir, "--format", "csv", "-c", `
CREATE TABLE g (a BIGINT, b STRING) WITH ('connector'='datagen','number-of-rows'='200000');
SELECT count(*) AS n FROM (SELECT a, max(b) AS m FROM g GROUP BY a) x`)
	switch {
	case r.code == done && r.out == "n\n200000\n":
	case r.code == failed && strings.Contains(r.err, "memory"):
	default:
		t.Errorf("exit code %d, output %s, errors %s", r.code, r.out, r.err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
