package checkpoint

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

var writeFormat = flag.Bool("write-format", false, "write testdata/<version> for a new version of the format; never again for a released one")

// oldRun is what testdata/run-1 holds: a run in the first form, as the code of
// that form has written it.
var oldRun = statestore.Part{Name: "op-494c062b.p0.v3.3bfd7314127942003c61a84f.run", Bytes: 9027, Sum: 12394842880463361488, Run: 1}

// TestOldBytes: what was written before is read (docs/formats/README.md, rule 5).
func TestOldBytes(t *testing.T) {
	const folder = "testdata/run-1"
	shard := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	row := func(i int) (key, value []byte, deleted bool) {
		return append([]byte{byte(i / 4)}, fmt.Sprintf("/key %04d", i)...), fmt.Appendf(nil, "value %d", i*i), i%7 == 3
	}
	dir := View(vfsx.Default, folder)
	if *writeFormat {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		w := dir.NewRun(t.Context(), shard, 3, 1<<20)
		for i := range 500 {
			if err := w.Put(row(i)); err != nil {
				t.Fatal(err)
			}
		}
		parts, err := w.Finish()
		t.Fatalf("put this into oldRun: %+v %v", parts, err)
	}
	if found, err := filepath.Glob(folder + "/*"); err != nil || len(found) != 1 {
		t.Fatalf("%s holds %v %v", folder, found, err)
	}
	if err := dir.CheckRun(t.Context(), oldRun); err != nil {
		t.Fatal(err)
	}
	m := statestore.Manifest{Shard: shard, Version: 3, Parts: []statestore.Part{oldRun}, Groups: statestore.Groups{1}}
	r, err := dir.NewReader(t.Context(), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	i := 0
	err = r.Scan(nil, nil, func(key, value []byte) (bool, error) {
		if _, _, deleted := row(i); deleted {
			i++
		}
		k, v, _ := row(i)
		if string(k) != string(key) || string(v) != string(value) {
			t.Fatalf("row %d is %q %q, want %q %q", i, key, value, k, v)
		}
		i++
		return true, nil
	})
	if err != nil || i != 500 {
		t.Fatalf("%d rows, %v", i, err)
	}
}
