package functions_test

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/sluice-stream/sluice/sql/functions"
)

var rewrite = flag.Bool("rewrite", false, "write the reference page anew")

// TestPage pins that the reference page is what the registry says.
func TestPage(t *testing.T) {
	const path = "../../docs/sql/functions.md"
	if *rewrite {
		if err := os.WriteFile(path, functions.Page(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, functions.Page()) {
		t.Errorf("%s is not current: go test ./sql/functions -run TestPage -rewrite", path)
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
