package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

// TestReleaseBeforeTheFirstListing: a query that starts again releases what its
// checkpoint covers before its source has listed anything. The log must not
// forget files then, or the next listing would take all of them a second time.
func TestReleaseBeforeTheFirstListing(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	const files = 1500 // with long names, so that the log is worth a compaction
	for i := range files {
		put(t, filepath.Join(in, fmt.Sprintf("%s-%05d.csv", strings.Repeat("x", 200), i)), "1\n", i)
	}
	sp := spec(in, true, filepath.Join(dir, "log"), nil)
	s := open1(t, vfsx.Default, sp)
	end, err := s.Latest(ctx, "", sources.Limit{})
	if err != nil || end != "1500" {
		t.Fatalf("took files to %q, %v", end, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open1(t, vfsx.Default, sp)
	if err := s.Release(ctx, end); err != nil {
		t.Fatal(err)
	}
	if again, err := s.Latest(ctx, end, sources.Limit{}); err != nil || again != end {
		t.Errorf("after a restart files to %q are there, %v: %q were", again, err, end)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCopiedRecord: a record of the log that stands there twice takes no file twice.
func TestCopiedRecord(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "in", "a.csv"), "1\n", 0)
	sp := spec(filepath.Join(dir, "in"), true, filepath.Join(dir, "log"), nil)
	path := filepath.Join(dir, "log", logName)
	latest := func() batch.Offset {
		s := open1(t, vfsx.Default, sp)
		end, err := s.Latest(ctx, "", sources.Limit{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return end
	}
	s := open1(t, vfsx.Default, sp)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	latest()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, b[len(before):]...), 0o666); err != nil {
		t.Fatal(err)
	}
	if end := latest(); end != "1" {
		t.Errorf("with a copied record there are files to %q, want 1", end)
	}
}
