package regress

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBugsHaveTests holds that the tests which bugs.md names are there.
func TestBugsHaveTests(t *testing.T) {
	page, err := os.ReadFile("bugs.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.HasPrefix(cells[1], "--") || strings.TrimSpace(cells[1]) == "bug" {
			continue
		}
		rows++
		named := 0
		for _, m := range regexp.MustCompile("(?:`([^`]+)` )?(Test\\w+)|`([^`]+\\.txt)`").FindAllStringSubmatch(cells[3], -1) {
			named++
			if m[3] != "" {
				if _, err := os.Stat(filepath.Join("..", "..", m[3])); err != nil {
					t.Error(err)
				}
			} else if !has(t, filepath.Join("..", "..", m[1]), "func "+m[2]+"(") {
				t.Errorf("the folder %q has no %s", m[1], m[2])
			}
		}
		if named == 0 {
			t.Errorf("%s has no test", strings.TrimSpace(cells[1]))
		}
	}
	if rows < 20 {
		t.Errorf("bugs.md has %d rows: it is read wrongly", rows)
	}
}

func has(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), text) {
			return true
		}
	}
	return false
}
