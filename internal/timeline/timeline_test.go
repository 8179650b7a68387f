package timeline

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestTimelines runs every script; -rewrite fills in what happens.
func TestTimelines(t *testing.T) {
	datadriven.Walk(t, "../../test/timelines", func(t *testing.T, path string) {
		r := New()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := r.Run(d)
			for _, bad := range []string{"VIOLATION", "TWICE", "LOST"} {
				if strings.Contains(out, bad) {
					t.Errorf("%s: %s", d.Pos, out)
				}
			}
			return out
		})
	})
}

// TestScriptsSayWhatTheyProve keeps the first lines of a script useful.
func TestScriptsSayWhatTheyProve(t *testing.T) {
	files, err := filepath.Glob("../../test/timelines/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no timelines: %v", err)
	}
	points := map[string]bool{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(data), "# ") {
			t.Errorf("%s does not begin with a comment on what it proves", f)
		}
		head, _, _ := strings.Cut(string(data), "\n\n")
		for c := 1; c <= 23; c++ {
			if regexp.MustCompile(fmt.Sprintf(`\bC%d\b`, c)).MatchString(head) {
				points[fmt.Sprint("C", c)] = true
			}
		}
	}
	for c := 1; c <= 23; c++ {
		if name := fmt.Sprint("C", c); c != 16 && !points[name] { // C16 is raft's
			t.Errorf("no timeline proves crash point %s", name)
		}
	}
}
