package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// windowed counts events by window, so that its checkpoint holds state.
const windowed = `
CREATE TABLE events (id BIGINT, ts TIMESTAMP_NTZ, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE)
WITH ('connector'='filesystem','path'='in','format'='csv','max-files-per-trigger'='1');
CREATE TABLE counts (window_start TIMESTAMP_NTZ, n BIGINT) WITH ('connector'='filesystem','path'='out','format'='csv');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW CHECKPOINT 'ck' AS
INSERT INTO counts SELECT window_start, count(*) FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' MINUTE)
GROUP BY window_start, window_end;
`

// writeEvents makes a file of twenty events of one hour.
func writeEvents(t *testing.T, dir string, hour int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("id,ts\n")
	for i := range 20 {
		at := time.Date(2024, 1, 1, hour, 3*i, 0, 0, time.UTC)
		fmt.Fprintf(&b, "%d,%s\n", 20*hour+i, at.Format("2006-01-02 15:04:05"))
	}
	write(t, dir, "in", fmt.Sprintf("e%02d.csv", hour), b.String())
}

// checkpointed is a folder with a pipeline that has run over three files.
func checkpointed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "p.sql", windowed)
	for h := range 3 {
		writeEvents(t, dir, h)
	}
	ok(t, dir, "run", "p.sql")
	return dir
}

// checkCounts says whether the output is that of n hours: all windows but the
// last, each once.
func checkCounts(t *testing.T, dir string, hours int) {
	t.Helper()
	seen := map[string]string{}
	for _, r := range csvRows(t, filepath.Join(dir, "out")) {
		start := strings.TrimSuffix(strings.Replace(r[0], "T", " ", 1), ".000")
		if seen[start] != "" {
			t.Errorf("window %s is there twice", start)
		}
		seen[start] = r[1]
	}
	for w := range 6*hours - 1 {
		at := time.Date(2024, 1, 1, 0, 10*w, 0, 0, time.UTC).Format("2006-01-02 15:04:05")
		want := "3"
		if w%3 == 0 {
			want = "4" // 20 events in 6 windows: minutes 0, 3, 6 and 9
		}
		if seen[at] != want {
			t.Errorf("window %s counts %q, want %s", at, seen[at], want)
		}
	}
	if len(seen) != 6*hours-1 {
		t.Errorf("%d windows, want %d: %v", len(seen), 6*hours-1, seen)
	}
}

func TestCheckpointCommands(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	checkCounts(t, dir, 3)
	if out := ok(t, dir, "checkpoint", "list", "."); !strings.HasPrefix(out, "ck  query q  committed batch ") {
		t.Errorf("list: %s", out)
	}
	var list []struct {
		Dir, Query string
		Committed  int
		Damage     []string
	}
	if err := json.Unmarshal([]byte(ok(t, dir, "checkpoint", "list", "--json", ".")), &list); err != nil || len(list) != 1 ||
		list[0].Query != "q" || list[0].Dir != "ck" || list[0].Committed < 2 || len(list[0].Damage) != 0 {
		t.Errorf("list --json: %+v, %v", list, err)
	}
	out := ok(t, dir, "checkpoint", "describe", "ck")
	for _, want := range []string{"query       q (", "batch 2 committed", "watermark 2024-01-01", "events#0 [2, 3)", "sink        counts#0 up to batch", "state       version"} {
		if !strings.Contains(out, want) {
			t.Errorf("describe lacks %q:\n%s", want, out)
		}
	}
	var report struct {
		Metadata struct{ Name, SQL string }
		Batches  []struct{ Committed bool }
	}
	if err := json.Unmarshal([]byte(ok(t, dir, "checkpoint", "describe", "--json", "ck")), &report); err != nil || report.Metadata.Name != "q" ||
		len(report.Batches) < 3 || !strings.Contains(report.Metadata.SQL, "TUMBLE") {
		t.Errorf("describe --json: %+v, %v", report, err)
	}
	if out := ok(t, dir, "checkpoint", "verify", "ck"); !strings.Contains(out, "all sound") {
		t.Errorf("verify: %s", out)
	}
	if v := verdict(t, dir, done); !v.Sound || v.Batches < 3 || v.StateFiles == 0 {
		t.Errorf("verify --json: %+v", v)
	}
}

type soundness struct {
	Sound      bool
	Batches    int
	StateFiles int   `json:"state_files"`
	TornBytes  int64 `json:"torn_bytes"`
	Damage     []string
}

func verdict(t *testing.T, dir string, code int) soundness {
	t.Helper()
	r := sluice(t, dir, "checkpoint", "verify", "--json", "ck")
	r.check(t, code)
	var v soundness
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("%v in %s", err, r.out)
	}
	return v
}

// TestDamagedLog: a flipped bit in the middle is refused by file and byte, by
// verify and by a start, which leaves everything as it is.
func TestDamagedLog(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	log := filepath.Join(dir, "ck", "log", "00000001.log")
	flip(t, log, func(n int) int { return n / 2 })
	want := []string{`00000001\.log, byte \d+: the checkpoint is damaged`}
	refuses(t, dir, failed, want, "checkpoint", "verify", "ck")
	if v := verdict(t, dir, failed); v.Sound || len(v.Damage) != 1 {
		t.Errorf("verify --json: %+v", v)
	}
	writeEvents(t, dir, 3)
	refuses(t, dir, failed, want, "run", "p.sql")
	if out := ok(t, dir, "checkpoint", "list", "."); !strings.Contains(out, "damaged") {
		t.Errorf("list: %s", out)
	}
	if out := ok(t, dir, "checkpoint", "describe", "ck"); !strings.Contains(out, "DAMAGE") {
		t.Errorf("describe: %s", out)
	}
	flip(t, log, func(n int) int { return n / 2 }) // it was only read
	ok(t, dir, "run", "p.sql")
	checkCounts(t, dir, 4)
}

// TestTornLog: the rest of an append that a crash cut short is no damage.
func TestTornLog(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	f, err := os.OpenFile(filepath.Join(dir, "ck", "log", "00000001.log"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("\x40\x00\x00\x00torn")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if v := verdict(t, dir, done); !v.Sound || v.TornBytes != 8 {
		t.Errorf("verify --json: %+v", v)
	}
	writeEvents(t, dir, 3)
	ok(t, dir, "run", "p.sql")
	checkCounts(t, dir, 4)
	if v := verdict(t, dir, done); v.TornBytes != 0 {
		t.Errorf("after the start: %+v", v)
	}
}

// TestDamagedState: verify finds it, and a start replays the log instead, or says so.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	var files []string
	err := filepath.WalkDir(filepath.Join(dir, "ck", "state"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		flip(t, f, func(n int) int { return n / 2 })
	}
	r := refuses(t, dir, failed, []string{"is damaged"}, "checkpoint", "verify", "ck")
	if !strings.Contains(r.err, filepath.Base(files[len(files)-1])) {
		t.Errorf("no file is named: %s", r.err)
	}
	writeEvents(t, dir, 3)
	switch r := sluice(t, dir, "run", "p.sql"); r.code {
	case done:
		checkCounts(t, dir, 4)
	case failed:
		checkCounts(t, dir, 3)
	default:
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
}

// TestForeignCheckpoints are refused, and not written to.
func TestForeignCheckpoints(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	before := ok(t, dir, "checkpoint", "describe", "--json", "ck")
	for name, c := range map[string]struct{ old, new, want string }{
		"another query": {"QUERY q ", "QUERY r ", `belongs to another query.*made .* by query "q"`},
		"another text":  {"count(*)", "count(*), max(id)", `the query has changed.*has no state to go on with`},
		"another mode":  {"TRIGGER", "OUTPUT MODE update TRIGGER", `the query has changed|cannot take output mode`},
		"other input":   {"'path'='in'", "'path'='.'", `the query has changed.*its offsets mean nothing`},
		"other windows": {"'10' MINUTE", "'5' MINUTE", `the query has changed.*has no state to go on with`},
	} {
		text := strings.Replace(windowed, c.old, c.new, 1)
		code := failed
		switch name {
		case "another text":
			text = strings.Replace(text, "n BIGINT)", "n BIGINT, m BIGINT)", 1)
		case "another mode":
			code = usage
		}
		write(t, dir, "other.sql", text)
		refuses(t, dir, code, []string{c.want}, "run", "other.sql")
		if name == "another text" {
			refuses(t, dir, failed, []string{"give the changed query a new checkpoint"}, "run", "other.sql")
		}
	}
	after := ok(t, dir, "checkpoint", "describe", "--json", "ck")
	if strings.Count(before, `"batch"`) != strings.Count(after, `"batch"`) {
		t.Errorf("a refused query wrote to the log:\n%s\n%s", before, after)
	}
	writeEvents(t, dir, 3)
	ok(t, dir, "run", "p.sql") // the right one goes on
	checkCounts(t, dir, 4)
}

// TestLostMetadata: without its identity a checkpoint would show output twice.
func TestLostMetadata(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	meta := filepath.Join(dir, "ck", "checkpoint.meta")
	if err := os.Rename(meta, meta+".away"); err != nil {
		t.Fatal(err)
	}
	refuses(t, dir, failed, []string{`lost its metadata.*restore the file from a copy, or remove the checkpoint`}, "run", "p.sql")
	refuses(t, dir, failed, []string{`lost its metadata`}, "checkpoint", "verify", "ck")
	if err := os.Rename(meta+".away", meta); err != nil {
		t.Fatal(err)
	}
	flip(t, meta, func(n int) int { return n / 2 })
	refuses(t, dir, failed, []string{`checkpoint\.meta`}, "run", "p.sql")
	refuses(t, dir, failed, []string{`checkpoint\.meta`}, "checkpoint", "verify", "ck")
	checkCounts(t, dir, 3)
}

// TestTwoProcesses on one checkpoint: the second is refused and told who has it.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','rows-per-second'='100','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE o (id BIGINT) WITH ('connector'='console','format'='json');
CREATE STREAMING QUERY q CHECKPOINT 'ck' AS INSERT INTO o SELECT id FROM g;`)
	first := start(t, dir, "run", "p.sql")
	first.untilOutput(`"id":1}`)
	refuses(t, dir, failed, []string{fmt.Sprintf(`checkpoint .*ck is in use by process %d on `, first.Cmd.Process.Pid)}, "run", "p.sql")
	ok(t, dir, "checkpoint", "describe", "ck") // reading is free
	first.Signal(os.Interrupt)
	first.wait().check(t, done, "stopping after the running batch")
}

// TestCheckpointPlaces that cannot be written to.
func TestCheckpointPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", strings.Replace(windowed, "CHECKPOINT 'ck'", "", 1))
	writeEvents(t, dir, 0)
	write(t, dir, "file", "not a folder")
	refuses(t, dir, failed, []string{`checkpoint file/q`, "not a directory"}, "run", "--checkpoint-dir", "file", "p.sql")
	if os.Getuid() == 0 {
		if _, err := os.Stat("/proc/self"); err == nil { // a folder that root cannot write to either
			refuses(t, dir, failed, []string{`checkpoint /proc/self/q`}, "run", "--checkpoint-dir", "/proc/self", "p.sql")
		}
	} else {
		if err := os.Mkdir(filepath.Join(dir, "ro"), 0o555); err != nil {
			t.Fatal(err)
		}
		refuses(t, dir, failed, []string{`checkpoint ro/q`, "permission denied", "needs a folder that this user may write to"}, "run", "--checkpoint-dir", "ro", "p.sql")
	}
	if got := visible(t, filepath.Join(dir, "out")); len(got) > 0 {
		t.Errorf("output: %v", got)
	}
}
