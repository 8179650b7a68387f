package sluice

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestInsertOverwrite(t *testing.T) {
	s, dir := openSession(t, Options{}), filepath.Join(t.TempDir(), "out")
	must(t, s, fmt.Sprintf("CREATE TABLE o (k BIGINT, v STRING) WITH ('connector'='filesystem', 'path'='%s', 'format'='csv')", dir))
	must(t, s, "INSERT INTO o VALUES (1, 'a'), (2, 'b')")
	must(t, s, "INSERT OVERWRITE o VALUES (3, 'c')")
	same(t, "overwritten", query(t, s, "SELECT * FROM o"), "3|c")
	must(t, s, "INSERT INTO o VALUES (4, 'd')")
	must(t, s, "INSERT OVERWRITE o SELECT k + 10, v FROM o")
	same(t, "from itself", query(t, s, "SELECT * FROM o ORDER BY k"), "13|c", "14|d")
	must(t, s, "INSERT OVERWRITE o SELECT * FROM o WHERE false")
	same(t, "by nothing", query(t, s, "SELECT * FROM o"))
	must(t, s, "INSERT INTO o (v) VALUES ('no key')")
	same(t, "a column list", query(t, s, "SELECT * FROM o"), "NULL|no key")
	must(t, s, fmt.Sprintf("CREATE OR REPLACE TABLE o WITH ('connector'='filesystem', 'path'='%s', 'format'='json') AS SELECT 7 AS x", dir))
	same(t, "replaced by a query", query(t, s, "SELECT * FROM o"), "7")

	parts := filepath.Join(t.TempDir(), "parts")
	must(t, s, fmt.Sprintf("CREATE TABLE p (k BIGINT, d STRING) PARTITIONED BY (d) WITH ('connector'='filesystem', 'path'='%s', 'overwrite'='partitions')", parts))
	must(t, s, "INSERT INTO p VALUES (1, 'x'), (2, 'y')")
	must(t, s, "INSERT OVERWRITE p VALUES (3, 'y'), (4, 'z')")
	same(t, "partitions", query(t, s, "SELECT * FROM p ORDER BY k"), "1|x", "3|y", "4|z")
}

// TestAStreamStopsAtAnOverwrite: a stream of files only grows. An overwrite refuses it at
// its start, and stops it where it runs; what it has put out before stays.
func TestAStreamStopsAtAnOverwrite(t *testing.T) {
	s, dir := openSession(t, Options{}), filepath.Join(t.TempDir(), "out")
	must(t, s, fmt.Sprintf("CREATE TABLE o (k BIGINT) WITH ('connector'='filesystem', 'path'='%s', 'poll-interval'='1h')", dir))
	must(t, s, "INSERT INTO o VALUES (1), (2)")
	q := start(t, s.Table("o").WriteToMemory("seen").Name("seen"))
	if err := q.ProcessAllAvailable(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "before", query(t, s, "SELECT * FROM seen ORDER BY k"), "1", "2")
	must(t, s, "INSERT OVERWRITE o VALUES (3)")
	wantError(t, q.ProcessAllAvailable(t.Context()), "was overwritten (INSERT OVERWRITE")
	same(t, "behind it", query(t, s, "SELECT * FROM seen ORDER BY k"), "1", "2")
	_, err := s.Table("o").WriteToMemory("more").Name("more").Start(t.Context())
	wantError(t, err, "start the query anew")
	same(t, "as a table", query(t, s, "SELECT * FROM o"), "3")
	must(t, s, fmt.Sprintf("CREATE TABLE found WITH ('connector'='filesystem', 'path'='%s')", dir))
	same(t, "with columns of its files", query(t, s, "SELECT * FROM found"), "3")
}

// TestReadersSeeOldOrNewWhileATableIsOverwritten: every version has rows of one kind.
func TestReadersSeeOldOrNewWhileATableIsOverwritten(t *testing.T) {
	s, dir := openSession(t, Options{}), filepath.Join(t.TempDir(), "out")
	declare := fmt.Sprintf("CREATE TABLE o (version BIGINT, i BIGINT) WITH ('connector'='filesystem', 'path'='%s')", dir)
	must(t, s, declare)
	version := func(n int) string { return fmt.Sprintf("INSERT OVERWRITE o SELECT %d, id FROM range(1000)", n) }
	must(t, s, version(0))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		defer stop()
		for n := 1; n <= 12; n++ {
			if err := s.Exec(t.Context(), version(n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	reads := 0
	for ctx.Err() == nil {
		got := query(t, s, "SELECT count(*), count(DISTINCT version) FROM o")
		if len(got) != 1 || got[0] != "1000|1" {
			t.Fatalf("a reader saw %v", got)
		}
		reads++
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d reads", reads)
	same(t, "the last", query(t, s, "SELECT DISTINCT version FROM o"), "12")
}

// overwriteDir makes the test binary overwrite a directory for ever.
const overwriteDir = "SLUICE_TEST_OVERWRITE_DIR"

// TestOverwriteLoop is the process that TestKillWhileOverwriting kills.
func TestOverwriteLoop(t *testing.T) {
	dir := os.Getenv(overwriteDir)
	if dir == "" {
		t.Skip("it is run by TestKillWhileOverwriting")
	}
	s := openSession(t, Options{})
	must(t, s, fmt.Sprintf("CREATE TABLE o (version BIGINT, i BIGINT) WITH ('connector'='filesystem', 'path'='%s', 'format'='csv', 'sink.file-size'='2KiB')", dir))
	for n := 0; ; n++ {
		must(t, s, fmt.Sprintf("INSERT OVERWRITE o SELECT %d, id FROM range(2000)", n))
		fmt.Println("done", n)
	}
}

// TestKillWhileOverwriting kills a process at random moments of its statements and
// looks at the directory: all rows of one version, and not an older one than it had reported.
func TestKillWhileOverwriting(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	dir := filepath.Join(t.TempDir(), "out")
	s := openSession(t, Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOverwriteLoop$")
		cmd.Env = append(os.Environ(), overwriteDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, last, want := bufio.NewScanner(out), -1, 1+rng.IntN(3)
		for last < want && lines.Scan() {
			if n, _ := fmt.Sscanf(lines.Text(), "done %d", &last); n == 0 {
				t.Logf("%s", lines.Text())
			}
		}
		for range rng.IntN(200_000) { // somewhere in the next statement
			_ = rng.Uint64()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			_, _ = fmt.Sscanf(lines.Text(), "done %d", &last)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Fatalf("the process ended: %v", err)
		}
		must(t, s, fmt.Sprintf("CREATE OR REPLACE TABLE o (version BIGINT, i BIGINT) WITH ('connector'='filesystem', 'path'='%s', 'format'='csv')", dir))
		got := query(t, s, fmt.Sprintf("SELECT count(*), count(DISTINCT i), count(DISTINCT version), min(version) >= %d FROM o", last))
		if len(got) != 1 || got[0] != "2000|2000|1|true" {
			t.Fatalf("round %d: after version %d there is %v", round, last, got)
		}
	}
}
