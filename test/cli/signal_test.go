package cli

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manyBatches is a pipeline of batches with rows of ids from 1 to rows, and a
// second query beside it whose counts change with every batch.
func manyBatches(rows, perBatch int) string {
	return fmt.Sprintf(`
CREATE TABLE g (id BIGINT, k BIGINT) WITH ('connector'='datagen','number-of-rows'='%d','max-rows-per-trigger'='%d',
  'fields.id.kind'='sequence','fields.id.start'='1','fields.k.min'='0','fields.k.max'='4');
CREATE TABLE ids (id BIGINT) WITH ('connector'='filesystem','path'='out/ids','format'='csv');
CREATE TABLE sums (n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='out/sums','format'='csv');
CREATE STREAMING QUERY ids TRIGGER AVAILABLE NOW AS INSERT INTO ids SELECT id FROM g;
CREATE STREAMING QUERY sums TRIGGER AVAILABLE NOW OUTPUT MODE complete AS INSERT INTO sums SELECT count(*), sum(id) FROM g;
`, rows, perBatch)
}

// noDuplicates says whether each id is visible at most once.
func noDuplicates(t *testing.T, dir string) []int {
	t.Helper()
	var ids []int
	for _, s := range column(csvRows(t, filepath.Join(dir, "out", "ids")), 0) {
		id, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for i := range ids {
		if i > 0 && ids[i] == ids[i-1] {
			t.Fatalf("id %d is there twice", ids[i])
		}
	}
	return ids
}

// complete says whether the pipeline's output is that of an undisturbed run.
func complete(t *testing.T, dir string, rows int) {
	t.Helper()
	ids := noDuplicates(t, dir)
	if len(ids) != rows || ids[0] != 1 || ids[rows-1] != rows {
		t.Errorf("%d ids, want 1 to %d", len(ids), rows)
	}
	want := fmt.Sprintf("[[%d %d]]", rows, rows*(rows+1)/2)
	if got := fmt.Sprint(csvRows(t, filepath.Join(dir, "out", "sums"))); got != want {
		t.Errorf("sums are %s, want %s", got, want)
	}
}

// TestInterruptOnce finishes the running batch, with SIGINT and SIGTERM alike,
// and the next start goes on.
func TestInterruptOnce(t *testing.T) {
	t.Parallel()
	const rows = 40_000
	dir := t.TempDir()
	write(t, dir, "p.sql", manyBatches(rows, 100))
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		before := len(visible(t, filepath.Join(dir, "out", "ids")))
		p := start(t, dir, "run", "p.sql")
		p.Until("some batches", func() bool { return len(visible(t, filepath.Join(dir, "out", "ids"))) > before+3 })
		p.Signal(sig)
		p.wait().check(t, done, "stopping after the running batch", `ids: \d+ batches`)
		if n := len(noDuplicates(t, dir)); n == 0 || n%100 != 0 || n == rows {
			t.Errorf("%d rows are visible after %v", n, sig)
		}
		if out := ok(t, dir, "checkpoint", "verify", "checkpoints/ids"); !strings.Contains(out, "all sound") {
			t.Error(out)
		}
	}
	ok(t, dir, "run", "p.sql")
	complete(t, dir, rows)
}

// TestInterruptTwice stops at once; what was not committed is run again.
func TestInterruptTwice(t *testing.T) {
	t.Parallel()
	const rows = 20_000
	dir := t.TempDir()
	write(t, dir, "p.sql", manyBatches(rows, 100))
	p := start(t, dir, "run", "p.sql")
	p.Until("some batches", func() bool { return len(visible(t, filepath.Join(dir, "out", "ids"))) > 3 })
	p.Signal(os.Interrupt)
	p.Until("the message", func() bool { return strings.Contains(p.Err.String(), "stopping after") })
	p.Signal(os.Interrupt)
	// Else the batch was over before, or all was and the process was about to end.
	if r := p.wait(); r.code != done && !(r.code == -1 && strings.Contains(r.err, " rows in, ")) {
		r.check(t, failed, "stopped at once: what was not committed is run again at the next start")
	}
	noDuplicates(t, dir)
	ok(t, dir, "run", "p.sql")
	complete(t, dir, rows)
}

// TestInterruptAtAnyMoment interrupts once or twice at random moments, from the
// start of the process on, and compares the results with those of a quiet run.
func TestInterruptAtAnyMoment(t *testing.T) {
	t.Parallel()
	cycles, rows := 12, 60_000
	if testing.Short() {
		cycles, rows = 3, 20_000
	}
	dir := t.TempDir()
	write(t, dir, "p.sql", manyBatches(rows, 100))
	rng := rand.New(rand.NewPCG(7, uint64(cycles)))
	for range cycles {
		p := start(t, dir, "run", "p.sql")
		twice := rng.IntN(2) == 0
		select {
		case <-p.Ended:
		case <-time.After(time.Duration(rng.IntN(300)) * time.Millisecond):
			p.Signal(os.Interrupt)
			if twice {
				select {
				case <-p.Ended:
				case <-time.After(time.Duration(rng.IntN(3000)) * time.Microsecond):
					p.Signal(os.Interrupt)
				}
			}
		}
		// -1: the signal came before the process could take it.
		if r := p.wait(); r.code != done && r.code != -1 && !(twice && r.code == failed) {
			t.Errorf("exit code %d\n%s", r.code, r.err)
		}
		noDuplicates(t, dir)
	}
	ok(t, dir, "run", "p.sql")
	complete(t, dir, rows)
}

// TestInterruptOfAStatement cancels a query that runs once.
func TestInterruptOfAStatement(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir, "sql", "--format", "csv", "-c", `
CREATE TABLE g (a BIGINT) WITH ('connector'='datagen','number-of-rows'='100000000000');
CREATE TABLE o (a BIGINT) WITH ('connector'='filesystem','path'='out','format'='csv');
SELECT 1 AS ready;
INSERT INTO o SELECT a FROM g;`)
	p.untilOutput("ready")
	p.Signal(os.Interrupt)
	// The signal may come before the INSERT has begun: then nothing was cut off.
	if r := p.wait(); r.code != done {
		r.check(t, failed, "interrupted: the statement was not finished")
	}
	if got := visible(t, filepath.Join(dir, "out")); len(got) > 0 {
		t.Errorf("output: %v", got)
	}
}

// TestInterruptBetweenStatements starts none of those that follow.
func TestInterruptBetweenStatements(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", `
CREATE TABLE g (a BIGINT) WITH ('connector'='datagen','number-of-rows'='3000000');
CREATE TABLE o (a BIGINT) WITH ('connector'='blackhole');
SELECT 1 AS ready;
SELECT count(a) AS n FROM g WHERE sqrt(abs(a)) > 0;
SELECT 2 AS late;
CREATE STREAMING QUERY q AS INSERT INTO o SELECT a FROM g;`)
	p := start(t, dir, "run", "--format", "csv", "p.sql")
	p.untilOutput("ready")
	p.Signal(os.Interrupt)
	r := p.wait()
	r.check(t, done, "stopping")
	if strings.Contains(r.out, "late") || strings.Contains(r.err, "started") {
		t.Errorf("later statements ran: %s%s", r.out, r.err)
	}
}

// TestInterruptOfStreamsInSQL is the same for streams that `sluice sql` started.
func TestInterruptOfStreamsInSQL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir, "sql", "-c", `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','rows-per-second'='1000','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE c (id BIGINT) WITH ('connector'='console','format'='json');
CREATE STREAMING QUERY q AS INSERT INTO c SELECT id FROM g;`)
	p.untilOutput(`"id":1}`)
	p.Signal(os.Interrupt)
	r := p.wait()
	r.check(t, done, "stopping after the running batch")
	if !strings.HasSuffix(r.out, "\n") {
		t.Errorf("half a line: %q", tail(r.out))
	}
}
