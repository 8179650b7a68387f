package sluice

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestABadFileCanBeRepairedOrRemoved stops a query with a file that cannot be
// read, repairs or removes the file, and starts the query again: it must go on,
// with every row of the other files once.
func TestABadFileCanBeRepairedOrRemoved(t *testing.T) {
	for _, how := range []string{"repaired", "removed", "removed and back"} {
		t.Run(how, func(t *testing.T) { repair(t, how) })
	}
}

func repair(t *testing.T, how string) {
	ctx, dir := context.Background(), t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "in", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func() error {
		t.Helper()
		s, err := NewSession(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		err = s.Exec(ctx, fmt.Sprintf(`
CREATE TABLE events (id BIGINT) WITH ('connector'='filesystem', 'path'='%[1]s/in', 'format'='csv');
CREATE TABLE totals (n BIGINT, s BIGINT) WITH ('connector'='filesystem', 'path'='%[1]s/out', 'format'='csv');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE complete CHECKPOINT '%[1]s/ck' AS
INSERT INTO totals SELECT count(*), sum(id) FROM events`, dir))
		if err != nil {
			return err
		}
		return s.AwaitAll(ctx)
	}
	put("a.csv", "id\n1\n2\n")
	put("b.csv", "id\nthree\n")
	put("c.csv", "id\n4\n")
	bad := filepath.Join(dir, "in", "b.csv")
	if err := run(); err == nil || !strings.Contains(err.Error(), "b.csv") {
		t.Fatalf("the bad file was not named: %v", err)
	}
	want := "n,s\n4,10\n"
	switch how {
	case "repaired":
		put("b.csv", "id\n3\n")
	case "removed":
		want = "n,s\n3,7\n"
		fallthrough
	case "removed and back":
		if err := os.Remove(bad); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	if how == "removed and back" { // it is a new file now
		put("b.csv", "id\n3\n")
		if err := run(); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(); err != nil { // once more: nothing changes
		t.Fatal(err)
	}
	var got string
	files, _ := filepath.Glob(filepath.Join(dir, "out", "*.csv"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got += string(b)
	}
	if got != want {
		t.Errorf("the output is %q, want %q", got, want)
	}
}
