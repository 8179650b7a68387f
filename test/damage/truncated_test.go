package damage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTruncatedLog: once the log's beginning is dropped there is no way back to
// batch 0. Then one damaged checkpoint is passed over for the one before, and
// with all of them gone the query is refused.
func TestTruncatedLog(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes two hundred batches")
	}
	p := pipelines[1]
	p.format = "csv"
	w := emptyWorld(t, p)
	next := 0
	feed := func(n int) {
		for range n {
			w.feedAt(next, time.Date(2024, 1, 1, 0, next, 0, 0, time.UTC))
			next++
		}
	}
	feed(200)
	w.check(w.run(false))
	segments, err := filepath.Glob(filepath.Join(w.dir, "ck/q/log/*.log"))
	w.check(err)
	slices.Sort(segments)
	if len(segments) == 0 || strings.HasSuffix(segments[0], "00000001.log") {
		t.Fatalf("the log was not truncated: %v", segments)
	}
	feed(3)
	w.check(w.run(true)) // and batches to replay
	feed(2)
	base := filepath.Join(filepath.Dir(w.dir), "base")
	w.copyTree(w.dir, base)
	state := func() []string {
		found, err := filepath.Glob(filepath.Join(w.dir, "ck/q/state/*"))
		w.check(err)
		slices.SortFunc(found, func(a, b string) int { return strings.Compare(byVersion(a), byVersion(b)) })
		return found
	}
	for _, c := range []struct {
		name   string
		victim func() []string
		want   string // of the error; "" for the right answer
	}{
		{"nothing", func() []string { return nil }, ""},
		{"the newest state file", func() []string { s := state(); return s[len(s)-1:] }, ""},
		{"all state files", state, "state checkpoint"},
	} {
		w.check(os.RemoveAll(w.dir))
		w.copyTree(base, w.dir)
		for _, v := range c.victim() {
			w.check(os.Remove(v))
		}
		err := w.run(false)
		t.Logf("without %s: %v", c.name, err)
		if err == nil {
			w.right("without " + c.name)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("without %s: %v", c.name, err)
		}
	}
}
