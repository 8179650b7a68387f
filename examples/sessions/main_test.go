package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun runs the program twice: a visit goes on over the restart.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	feed := func(name, rows string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "in", name), []byte("user,page,at\n"+rows), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := run(t.Context(), dir, 1+len(name)%2); err != nil {
			t.Fatal(err)
		}
	}
	feed("a.csv", "ann,home,2024-01-01 10:00:00\nbob,home,2024-01-01 10:00:00\nann,shop,2024-01-01 10:01:00\n")
	feed("bb.csv", "ann,home,2024-01-01 10:05:00\nbob,logout,2024-01-01 10:05:00\n")
	feed("c.csv", "eve,home,2024-01-01 11:00:00\n")
	feed("dd.csv", "eve,home,2024-01-01 11:00:01\n")
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d, err := s.SQL(t.Context(), fmt.Sprintf("SELECT user, clicks, pages FROM parquet.`%s/out/*.parquet` ORDER BY user", dir))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := d.Collect(t.Context())
	if got := fmt.Sprint(rows); err != nil || got != "[[ann 3 2] [bob 2 2]]" {
		t.Errorf("got %s %v", got, err)
	}
}
