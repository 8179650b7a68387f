package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReplay runs recorded batches again: the same bit for bit, into another place,
// and by a changed query.
func TestReplay(t *testing.T) {
	t.Parallel()
	dir := checkpointed(t)
	for h := 3; h < 5; h++ {
		writeEvents(t, dir, h)
		ok(t, dir, "run", "p.sql")
	}
	before := ok(t, dir, "checkpoint", "describe", "--json", "ck")
	var rep struct {
		State   int
		Batches []struct {
			Batch   int
			Rows    map[string]int
			Differs []string
		}
	}
	replay := func(args ...string) {
		t.Helper()
		rep.Batches = nil
		out := ok(t, dir, append([]string{"replay", "q", "-f", "p.sql", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &rep); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	}
	rows := func() (n int) {
		for _, b := range rep.Batches {
			n += b.Rows["counts#0"]
		}
		return n
	}
	replay("--batch", "0..4", "--into", "again", "--format", "csv", "--set", "parallelism=3")
	if rep.State != -1 || len(rep.Batches) != 5 || rows() < 10 {
		t.Errorf("from the beginning: %+v", rep)
	}
	if n := len(csvRows(t, filepath.Join(dir, "again"))); n != rows() {
		t.Errorf("%d rows written, %d told", n, rows())
	}
	replay("--batch", "4") // from a checkpoint
	if rep.State < 0 || len(rep.Batches) != 1 || len(rep.Batches[0].Differs) != 0 {
		t.Errorf("from a checkpoint: %+v", rep)
	}
	if out := ok(t, dir, "replay", "q", "-f", "p.sql", "--batch", "2", "--print"); !strings.Contains(out, `"n":`) || !strings.Contains(out, "the same as committed") {
		t.Errorf("printed: %s", out)
	}
	write(t, dir, "new.sql", strings.Replace(windowed, "count(*)", "count(*) * 100", 1))
	if out := ok(t, dir, "replay", "q", "-f", "p.sql", "--batch", "2", "--with", "new.sql", "--print"); !strings.Contains(out, `"n":300`) || !strings.Contains(out, "by the changed query") {
		t.Errorf("with a changed query: %s", out)
	}
	write(t, dir, "half.sql", strings.Replace(windowed, "'10' MINUTE", "'20' MINUTE", 1))
	if out := ok(t, dir, "replay", "q", "-f", "p.sql", "--batch", "4", "--with", "half.sql"); !strings.Contains(out, "note: aggregate-") || !strings.Contains(out, "began without state") {
		t.Errorf("with other windows: %s", out)
	}
	if after := ok(t, dir, "checkpoint", "describe", "--json", "ck"); after != before {
		t.Errorf("the checkpoint was touched:\n%s\n%s", before, after)
	}
	checkCounts(t, dir, 5)
	refuses(t, dir, failed, []string{"batch 99 cannot be run again|cannot be run again"}, "replay", "q", "-f", "p.sql", "--batch", "99")
	refuses(t, dir, usage, []string{"--batch x"}, "replay", "q", "-f", "p.sql", "--batch", "x")
	refuses(t, dir, failed, []string{`no streaming query "r"`}, "replay", "r", "-f", "p.sql", "--batch", "1")
	refuses(t, dir, failed, []string{"planned by another query"}, "replay", "q", "-f", "new.sql", "--batch", "1")
	// Input that has changed since gives another output, and that is told.
	text, err := os.ReadFile(filepath.Join(dir, "in", "e02.csv"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "in", "e02.csv", strings.Replace(string(text), "02:57:00", "02:27:00", 1))
	if r := sluice(t, dir, "replay", "q", "-f", "p.sql", "--batch", "2..3"); r.code == done {
		t.Errorf("a changed file: %s", r.out)
	}
}
