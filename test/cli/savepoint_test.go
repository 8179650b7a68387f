package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSavepointCommands: a savepoint stays while its query goes on, and another query
// goes on from it, so that both together count each event once.
func TestSavepointCommands(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	if out := ok(t, dir, "checkpoint", "save", "ck", "three-hours"); !strings.Contains(out, "savepoint three-hours of query q holds the state after batch") {
		t.Errorf("save: %s", out)
	}
	refuses(t, dir, failed, []string{"exists already"}, "checkpoint", "save", "ck", "three-hours")
	refuses(t, dir, failed, []string{"no name for a savepoint"}, "checkpoint", "save", "ck", "a/b")
	refuses(t, dir, usage, []string{"there is no checkpoint"}, "checkpoint", "save", "nowhere", "x")
	refuses(t, dir, usage, []string{"two arguments"}, "checkpoint", "save", "ck")
	for h := range 8 {
		writeEvents(t, dir, 3+h)
		ok(t, dir, "run", "--set", "checkpoint.retain=1", "p.sql")
	}
	checkCounts(t, dir, 11)
	if out := ok(t, dir, "checkpoint", "savepoints", "ck"); !strings.HasPrefix(out, "three-hours  query q  batch ") {
		t.Errorf("savepoints: %s", out)
	}
	fork := strings.NewReplacer("CHECKPOINT 'ck'", "CHECKPOINT 'ck2' FROM CHECKPOINT 'ck' SAVEPOINT 'three-hours'", "QUERY q ", "QUERY q2 ", "'path'='out'", "'path'='out2'").Replace(windowed)
	write(t, dir, "fork.sql", fork)
	ok(t, dir, "run", "fork.sql")
	first, all := column(csvRows(t, filepath.Join(dir, "out2")), 0), column(csvRows(t, filepath.Join(dir, "out")), 0)
	if len(all)-len(first) != 6*3-1 {
		t.Errorf("%d windows after the savepoint of %d", len(first), len(all))
	}
	// From here on neither needs the other: dropped and deleted, the fork goes on.
	ok(t, dir, "checkpoint", "drop", "ck", "three-hours")
	refuses(t, dir, usage, []string{"no savepoint"}, "checkpoint", "drop", "ck", "three-hours")
	if err := os.RemoveAll(filepath.Join(dir, "ck")); err != nil {
		t.Fatal(err)
	}
	writeEvents(t, dir, 11)
	ok(t, dir, "run", "fork.sql")
	if n := len(csvRows(t, filepath.Join(dir, "out2"))); n != len(first)+6 {
		t.Errorf("%d windows after another hour, %d before", n, len(first))
	}
	if out := ok(t, dir, "checkpoint", "describe", "ck2"); !strings.Contains(out, "adopted     the state after batch") || !strings.Contains(out, "savepoint three-hours") {
		t.Errorf("describe: %s", out)
	}
	if out := ok(t, dir, "checkpoint", "verify", "ck2"); !strings.Contains(out, "all sound") {
		t.Errorf("verify: %s", out)
	}
}

// TestDamagedSavepoint: one flipped bit is found by name, and nothing is deleted by
// a query that cannot tell what it needs.
func TestDamagedSavepoint(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	ok(t, dir, "checkpoint", "save", "ck", "s")
	file := filepath.Join(dir, "ck", "savepoints", "s.savepoint")
	flip(t, file, func(n int) int { return n / 2 })
	refuses(t, dir, failed, []string{`s\.savepoint.*the checksum is wrong`}, "checkpoint", "savepoints", "ck")
	for h := range 4 {
		writeEvents(t, dir, 3+h)
		ok(t, dir, "run", "--set", "checkpoint.retain=1", "p.sql")
	}
	checkCounts(t, dir, 7)
	flip(t, file, func(n int) int { return n / 2 })
	write(t, dir, "fork.sql", strings.NewReplacer("CHECKPOINT 'ck'", "CHECKPOINT 'ck2' FROM CHECKPOINT 'ck' SAVEPOINT s", "QUERY q ", "QUERY q2 ", "'path'='out'", "'path'='out2'").Replace(windowed))
	ok(t, dir, "run", "fork.sql")
}

// TestSaveARunningQuery by the process that runs it.
func TestSaveARunningQuery(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", strings.Replace(windowed, "TRIGGER AVAILABLE NOW", "", 1))
	writeEvents(t, dir, 0)
	writeEvents(t, dir, 1)
	p := start(t, dir, "run", "--http", "127.0.0.1:0", "p.sql")
	addr := p.address()
	p.Until("windows are out", func() bool { return len(visible(t, filepath.Join(dir, "out"))) > 0 })
	refuses(t, dir, failed, []string{"in use.*--http HOST:PORT"}, "checkpoint", "save", "ck", "s")
	if out := ok(t, dir, "checkpoint", "save", "--http", addr, "q", "s"); !strings.Contains(out, "savepoint s of query q") {
		t.Errorf("save: %s", out)
	}
	refuses(t, dir, failed, []string{"there is no query"}, "checkpoint", "save", "--http", addr, "r", "s")
	refuses(t, dir, failed, []string{"exists already"}, "checkpoint", "save", "--http", addr, "q", "s")
	p.Signal(os.Interrupt)
	p.wait().check(t, done, "stopping")
	if out := ok(t, dir, "checkpoint", "savepoints", "--json", "ck"); !strings.Contains(out, `"name": "s"`) {
		t.Errorf("savepoints: %s", out)
	}
}

// TestStateCommands: what the state holds can be read by people and programs.
func TestStateCommands(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	out := ok(t, dir, "state", "--top", "3", "ck")
	for _, want := range []string{"query       q\n", "aggregate-", "window_end TIMESTAMP_NTZ KEY", "count(*).0 BIGINT", "1 rows", "largest keys:", "2024-01-01"} {
		if !strings.Contains(out, want) {
			t.Errorf("state lacks %q:\n%s", want, out)
		}
	}
	var r struct {
		Operators []struct {
			Name   string
			Rows   int
			Growth []struct{ Rows int }
		}
	}
	if err := json.Unmarshal([]byte(ok(t, dir, "state", "--json", "ck")), &r); err != nil || len(r.Operators) != 1 || r.Operators[0].Rows != 1 || len(r.Operators[0].Growth) == 0 {
		t.Errorf("state --json: %+v, %v", r, err)
	}
	op := regexp.MustCompile(`aggregate-[0-9a-f]+`).FindString(out)
	rows := parseCSV(t, ok(t, dir, "sql", "--format", "csv", "-c", "SELECT window_end, `count(*).0` AS n FROM state('ck', '"+op+"')"))
	if len(rows) != 2 || !strings.HasPrefix(rows[1][0], "2024-01-01 03:00:00") || rows[1][1] != "3" {
		t.Errorf("state as a table: %v", rows)
	}
	refuses(t, dir, usage, []string{"no state of an operator"}, "sql", "-c", "SELECT * FROM state('ck', 'nothing')")
	refuses(t, dir, failed, []string{"has no state of an operator"}, "state", "--operator", "nothing", "ck")
	refuses(t, dir, usage, []string{"there is no checkpoint"}, "state", "nowhere")
}

// TestPlanDiff tells before anything is touched what a changed query would keep,
// and the start does as it says.
func TestPlanDiff(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	before := ok(t, dir, "checkpoint", "describe", "--json", "ck")
	for name, c := range map[string]struct {
		old, new string
		want     []string
	}{
		"the same":      {"", "", []string{`state   kept    aggregate-`, `source  kept    events#0`, `sink    kept    counts#0`, "goes on from this checkpoint"}},
		"a projection":  {"count(*)", "count(*) + 1", []string{`state   kept`, "goes on"}},
		"other windows": {"'10' MINUTE", "'5' MINUTE", []string{`state   rebuilt aggregate-`, `state   dropped aggregate-`, "is refused, unless it is started WITH BOOTSTRAP"}},
		"another sink":  {"'path'='out'", "'path'='elsewhere'", []string{`sink    rebuilt counts#0: it is new`, "goes on"}},
		"other input":   {"'path'='in'", "'path'='.'", []string{`refused source events#0 was read from`, "cannot go on"}},
		"more columns":  {"id BIGINT, ts", "id BIGINT, more STRING, ts", []string{"column more is new", "goes on"}},
		"wider columns": {"id BIGINT, ts", "id DECIMAL(20,0), ts", []string{"refused column id of source events#0 was BIGINT and is DECIMAL", "cannot go on"}},
	} {
		write(t, dir, "new.sql", strings.Replace(windowed, c.old, c.new, 1))
		out := ok(t, dir, "plan-diff", "ck", "new.sql")
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", name, w, out)
			}
		}
	}
	refuses(t, dir, failed, []string{`no streaming query "r"`}, "plan-diff", "--query", "r", "ck", "p.sql")
	if after := ok(t, dir, "checkpoint", "describe", "--json", "ck"); after != before {
		t.Errorf("the checkpoint was touched:\n%s\n%s", before, after)
	}
	// A column more, and the query goes on where it was.
	write(t, dir, "new.sql", strings.Replace(windowed, "id BIGINT, ts", "id BIGINT, more STRING, ts", 1))
	for h := 3; h < 5; h++ {
		writeEvents(t, dir, h)
		ok(t, dir, "run", "new.sql")
	}
	checkCounts(t, dir, 5)
}

// TestStartFromDamagedState: a start from state that cannot be taken over is refused
// by file, and once it can be, the same statement begins from it and not from nothing.
func TestStartFromDamagedState(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	ok(t, dir, "checkpoint", "save", "ck", "s")
	writeEvents(t, dir, 3)
	write(t, dir, "fork.sql", strings.NewReplacer("CHECKPOINT 'ck'", "CHECKPOINT 'ck2' FROM CHECKPOINT 'ck' SAVEPOINT s", "QUERY q ", "QUERY q2 ", "'path'='out'", "'path'='out2'").Replace(windowed))
	files, err := filepath.Glob(filepath.Join(dir, "ck", "state", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.Rename(f, filepath.Join(dir, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, dir, failed, []string{"start from checkpoint .*take over .*no such file"}, "run", "fork.sql")
	for _, f := range files {
		if err := os.Rename(filepath.Join(dir, filepath.Base(f)), f); err != nil {
			t.Fatal(err)
		}
	}
	ok(t, dir, "run", "fork.sql")
	if rows := csvRows(t, filepath.Join(dir, "out2")); len(rows) != 6 {
		t.Errorf("%d windows, want the six of the hour after the savepoint: %v", len(rows), rows)
	}
}

// TestChangeBeforeTheLastIsFinished: what was committed and is in no checkpoint has to
// be run again by the plan before, which the start of a changed query does first.
func TestChangeBeforeTheLastIsFinished(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	for h := 3; h < 12; h++ {
		writeEvents(t, dir, h)
	}
	p := start(t, dir, "run", "--set", "checkpoint.interval=1h", "p.sql")
	p.Until("windows are out", func() bool { return len(visible(t, filepath.Join(dir, "out"))) > 4 })
	p.Signal(os.Kill)
	p.wait()
	write(t, dir, "new.sql", strings.Replace(windowed, "SELECT window_start, count(*)", "SELECT window_start, count(*) + 0", 1))
	ok(t, dir, "run", "new.sql") // the plan before finishes what it had planned
	writeEvents(t, dir, 12)
	ok(t, dir, "run", "new.sql")
	checkCounts(t, dir, 13)
}
