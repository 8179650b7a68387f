package functions_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/sluice-stream/sluice/sql/functions"
)

// TestPage pins that the reference page is what the registry says.
func TestPage(t *testing.T) {
	const path = "../../docs/sql/functions.md"
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, functions.Page()) {
		t.Errorf("%s is not current: go run ./sql/functions/gendoc docs/sql/functions.md", path)
	}
}

// TestRegistry pins that names are unique (invariant F1) and entries complete.
func TestRegistry(t *testing.T) {
	owner := map[string]string{}
	for _, e := range functions.Entries() {
		if e.Doc == "" || len(e.Usage) == 0 || e.Example == "" || e.Since == "" {
			t.Errorf("%s: entry is incomplete", e.Name())
		}
		for _, n := range e.Names {
			if o, taken := owner[n]; taken {
				t.Errorf("%s belongs to %s and %s", n, o, e.Name())
			}
			owner[n] = e.Name()
		}
	}
}
