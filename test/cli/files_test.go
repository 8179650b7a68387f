package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const following = `
CREATE TABLE src (id BIGINT, k STRING) WITH ('connector'='filesystem', 'path'='in', 'format'='csv', 'poll-interval'='20ms');
CREATE TABLE dst (id BIGINT, k STRING) WITH ('connector'='filesystem', 'path'='out', 'format'='csv');
CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id, k FROM src;
`

// TestNewFilesWhileRunning: each file that arrives is read exactly once, however
// it arrives: linked under its name, renamed into place, in a new folder, with
// and without a restart in between.
func TestNewFilesWhileRunning(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", following)
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	next := 0
	add := func(p *process, folder string, rename bool) {
		t.Helper()
		next++
		name := filepath.Join(dir, "in", folder, fmt.Sprintf("f%d.csv", next))
		text := fmt.Sprintf("id,k\n%d,a\n%d,b\n", 2*next, 2*next+1)
		if rename {
			write(t, dir, "in", ".coming", text) // hidden: not seen before it is whole
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "in", ".coming"), name); err != nil {
				t.Fatal(err)
			}
		} else {
			write(t, dir, "in", ".coming", text)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(filepath.Join(dir, "in", ".coming"), name); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, "in", ".coming")); err != nil {
				t.Fatal(err)
			}
		}
		if p != nil {
			p.Until("rows of "+name, func() bool { return len(csvRows(t, filepath.Join(dir, "out"))) == 2*next })
		}
	}
	for range 2 {
		p := start(t, dir, "run", "p.sql")
		for i := range 4 {
			add(p, "", i%2 == 0)
		}
		add(p, fmt.Sprintf("day=%d/deep", next), true)
		p.Signal(os.Interrupt)
		p.wait().check(t, done)
		add(nil, "", true) // while nothing runs
	}
	ok(t, dir, "run", "--once", "p.sql")
	seen := map[string]int{}
	for _, id := range column(csvRows(t, filepath.Join(dir, "out")), 0) {
		seen[id]++
	}
	for id := 2; id < 2*next+2; id++ {
		if seen[fmt.Sprint(id)] != 1 {
			t.Errorf("row %d is there %d times", id, seen[fmt.Sprint(id)])
		}
	}
	if len(seen) != 2*next {
		t.Errorf("%d rows, want %d", len(seen), 2*next)
	}
}

// planned runs a pipeline over one file and lets a second one fail in the
// middle of a batch that is planned and not committed.
func planned(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "p.sql", following)
	write(t, dir, "in", "a.csv", "id,k\n1,a\n")
	ok(t, dir, "run", "--once", "p.sql")
	write(t, dir, "in", "b.csv", "id,k\nx,b\n")
	refuses(t, dir, failed, []string{`b\.csv", line 2`}, "run", "--once", "p.sql")
	return dir
}

// TestFileRepaired changes the file that stopped the query: no batch had it, so
// it is read as it is now, and the log says so.
func TestFileRepaired(t *testing.T) {
	t.Parallel()
	dir := planned(t)
	write(t, dir, "in", "b.csv", "id,k\n22,b\n")
	repaired(t, dir, `file \\"in/b\.csv\\" was changed before any batch had it`, "[[1 a] [22 b]]")
	write(t, dir, "in", "b.csv", "id,k\n23,b\n")
	refuses(t, dir, failed, []string{`file "in/b\.csv" was changed after it was (listed|taken): it had 10 bytes`}, "run", "--once", "p.sql")
}

// TestFileRemovedBeforeRead removes the file that stopped the query.
func TestFileRemovedBeforeRead(t *testing.T) {
	t.Parallel()
	dir := planned(t)
	if err := os.Remove(filepath.Join(dir, "in", "b.csv")); err != nil {
		t.Fatal(err)
	}
	repaired(t, dir, `file \\"in/b\.csv\\" was removed before any batch had it`, "[[1 a]]")
}

// repaired runs the pipeline to its end and looks at its warning and its rows.
func repaired(t *testing.T, dir, warning, rows string) {
	t.Helper()
	r := sluice(t, dir, "run", "--once", "p.sql")
	if r.code != done || !regexp.MustCompile(warning).MatchString(r.err) {
		t.Errorf("exit code %d, no warning like %q in\n%s", r.code, warning, r.err)
	}
	if got := fmt.Sprint(csvRows(t, filepath.Join(dir, "out"))); got != rows {
		t.Errorf("rows %s, want %s", got, rows)
	}
}

// TestFileDeletedAfterRead is nobody's business: its rows are out already.
func TestFileDeletedAfterRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", following)
	write(t, dir, "in", "a.csv", "id,k\n1,a\n")
	ok(t, dir, "run", "--once", "p.sql")
	if err := os.Remove(filepath.Join(dir, "in", "a.csv")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "in", "b.csv", "id,k\n2,b\n")
	ok(t, dir, "run", "--once", "p.sql")
	if got := fmt.Sprint(csvRows(t, filepath.Join(dir, "out"))); got != "[[1 a] [2 b]]" {
		t.Errorf("rows %s", got)
	}
}

// TestFileChangedAfterRead: a changed file is an error that names it; its old rows stay.
func TestFileChangedAfterRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", following)
	write(t, dir, "in", "a.csv", "id,k\n1,a\n")
	ok(t, dir, "run", "--once", "p.sql")
	write(t, dir, "in", "a.csv", "id,k\n1,a\n2,b\n")
	old := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "in", "a.csv"), old, old); err != nil {
		t.Fatal(err)
	}
	r := sluice(t, dir, "run", "--once", "p.sql")
	if r.code != failed || !strings.Contains(r.err, `"in/a.csv"`) {
		t.Errorf("exit code %d, errors %s", r.code, r.err)
	}
	if got := fmt.Sprint(csvRows(t, filepath.Join(dir, "out"))); got != "[[1 a]]" {
		t.Errorf("rows %s", got)
	}
}
