package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestVerifyOfOldCheckpoints: files of checkpoints that are not kept any more are not
// missed, those of the newest one are.
func TestVerifyOfOldCheckpoints(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", strings.NewReplacer("(window_start TIMESTAMP_NTZ, n BIGINT) WITH ('connector'='filesystem','path'='out','format'='csv')", "(id BIGINT, n BIGINT, PRIMARY KEY (id) NOT ENFORCED) WITH ('connector'='blackhole')",
		"AVAILABLE NOW", "AVAILABLE NOW OUTPUT MODE update",
		windowed[strings.Index(windowed, "SELECT window_start"):], "SELECT id, count(*) FROM events GROUP BY id;").Replace(windowed))
	for h := range 8 {
		writeEvents(t, dir, h)
	}
	ok(t, dir, "run", "p.sql", "--set", "checkpoint.interval=1ms", "--set", "checkpoint.retain=1")
	ok(t, dir, "checkpoint", "verify", "ck") // however far old files were removed
	var d struct {
		Checkpoints []struct{ Manifests []struct{ Ref string } }
	}
	if err := json.Unmarshal([]byte(ok(t, dir, "checkpoint", "describe", "--json", "ck")), &d); err != nil {
		t.Fatal(err)
	}
	var files [][]string
	for _, c := range d.Checkpoints {
		var names []string
		for _, m := range c.Manifests {
			var man struct{ Parts []struct{ Name string } }
			if err := json.Unmarshal([]byte(m.Ref), &man); err != nil {
				t.Fatal(err)
			}
			for _, p := range man.Parts {
				names = append(names, p.Name)
			}
		}
		files = append(files, names)
	}
	newest := files[len(files)-1]
	for _, names := range files {
		for _, name := range names {
			if slices.Contains(newest, name) {
				continue
			}
			if err := os.Remove(filepath.Join(dir, "ck", "state", name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	if out := ok(t, dir, "checkpoint", "verify", "--json", "ck"); !strings.Contains(out, `"sound": true`) || len(files) > 1 && strings.Contains(out, `"gone": 0,`) {
		t.Errorf("%d checkpoints, of which the newest is kept: %s", len(files), out)
	}
	if err := os.Remove(filepath.Join(dir, "ck", "state", newest[0])); err != nil {
		t.Fatal(err)
	}
	refuses(t, dir, failed, []string{newest[0], "missing"}, "checkpoint", "verify", "ck")
}
