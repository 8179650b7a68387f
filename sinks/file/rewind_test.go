package file

import (
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
)

// TestOlderCheckpoint: a query that goes on from an older copy of its checkpoint
// commits batches that the directory is past. The same output is taken for what
// it is, another one is refused: passing over it would lose its rows.
func TestOlderCheckpoint(t *testing.T) {
	fs := vfsx.NewMem()
	sp := spec(sinks.Append, false, nil)
	f := open(t, fs, sp, 1)
	commit := func(id batch.ID, from, to int) error {
		parts, err := f.prepare(id, 0, from, to, 2)
		if err != nil {
			t.Fatal(err)
		}
		for i := range parts {
			parts[i].Digest = batch.Digest{Lo: uint64(1000*from + to)}
		}
		return f.commit(id, parts)
	}
	for id := range batch.ID(4) {
		if err := commit(id, int(id)*10, int(id)*10+10); err != nil {
			t.Fatal(err)
		}
	}
	f = open(t, fs, sp, 1)
	for name, try := range map[string]func() error{
		"the same output":      func() error { return commit(1, 10, 20) },
		"other rows, as many":  func() error { return commit(1, 40, 50) },
		"more rows":            func() error { return commit(1, 10, 40) },
		"none where some were": func() error { return f.commit(1, nil) },
	} {
		if err := try(); (err == nil) != (name == "the same output") || err != nil && !strings.Contains(err.Error(), `"out"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := fs.Remove("out/_sluice/q-1/manifests/" + manifest.NameOf(manifest.Manifest{From: 2, To: 2})); err != nil {
		t.Fatal(err)
	}
	if err := commit(2, 20, 30); err == nil || !strings.Contains(err.Error(), "holds batch 3") {
		t.Errorf("a batch without a manifest before a newer one: %v", err)
	}
	if err := f.commit(2, nil); err != nil {
		t.Errorf("a batch without rows that has none: %v", err)
	}
	exactly(t, fs, 0, 40, "after all of that")
}
