package regress

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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
	if rows < 35 {
		t.Errorf("bugs.md has %d rows: it is read wrongly", rows)
	}
}

// TestFranzGoIsNewEnough holds that the client of Kafka is not one that had the bugs of
// 1.21.3 and before; bugs.md says which.
func TestFranzGoIsNewEnough(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`github\.com/twmb/franz-go v1\.(\d+)\.(\d+)\b`).FindStringSubmatch(string(mod))
	if m == nil {
		t.Fatal("go.mod names no franz-go of version 1")
	}
	minor, err1 := strconv.Atoi(m[1])
	patch, err2 := strconv.Atoi(m[2])
	if err1 != nil || err2 != nil || minor < 21 || minor == 21 && patch < 4 {
		t.Errorf("go.mod asks for %s, which is older than v1.21.4", m[0])
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
