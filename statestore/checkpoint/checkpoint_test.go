package checkpoint

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// golden is a change file of format version 1, as it was first written. It must
// be readable for ever; a new format gets a golden file of its own.
const golden = "534c53544154450114000000882ab8c501020a61676728636f756e7429" +
	"044080010604061200000039b1f85703206131053530303003206232000221ff010000000000000000"

func goldenHeader() Header {
	return Header{Kind: Changes, Shard: batch.Shard{Operator: "agg(count)", Partition: 2, FirstGroup: 32, EndGroup: 64}, Version: 3, Base: 2, Rows: 3}
}

type row struct {
	key, value string
	deleted    bool
}

var goldenRows = []row{{" a1", "5000", false}, {" b2", "", true}, {"!\xff", "", false}}

func write(t testing.TB, d *Dir, h Header, rows []row) statestore.Part {
	t.Helper()
	h.Rows = int64(len(rows))
	p, err := d.Write(t.Context(), h, func(put Put) error {
		for _, r := range rows {
			if err := put([]byte(r.key), []byte(r.value), r.deleted); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t testing.TB, d *Dir, p statestore.Part) (Header, []row) {
	t.Helper()
	var got []row
	h, err := d.Read(t.Context(), p, func(k, v []byte, deleted bool) error {
		got = append(got, row{string(k), string(v), deleted})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h, got
}

func TestGolden(t *testing.T) {
	fs := vfsx.NewMem()
	d, err := Open(fs, "state")
	if err != nil {
		t.Fatal(err)
	}
	p := write(t, d, goldenHeader(), goldenRows)
	data, err := vfsx.ReadFile(fs, fs.PathJoin("state", p.Name), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(data); got != golden {
		t.Errorf("the bytes of format version 1 have changed:\n got %s\nwant %s", got, golden)
	}
	old, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := vfsx.WriteFileAtomic(fs, fs.PathJoin("state", p.Name), old); err != nil {
		t.Fatal(err)
	}
	h, rows := read(t, d, p)
	if h != goldenHeader() || !slices.Equal(rows, goldenRows) {
		t.Errorf("the golden file reads as %+v %v", h, rows)
	}
}

func TestNamesAreUniqueAndTame(t *testing.T) {
	d, err := Open(vfsx.NewMem(), "state")
	if err != nil {
		t.Fatal(err)
	}
	h := Header{Kind: Snapshot, Shard: batch.Shard{Operator: "../../etc/passwd\x00 " + strings.Repeat("x", 500)}, Version: 5, Base: batch.None}
	a, b := write(t, d, h, nil), write(t, d, h, nil)
	if a.Name == b.Name {
		t.Fatalf("two attempts share the name %s", a.Name)
	}
	if strings.ContainsAny(a.Name, "/\x00 ") || len(a.Name) > 120 {
		t.Fatalf("file name %q", a.Name)
	}
	if v, ok := versionOf(a.Name); !ok || v != 5 {
		t.Fatalf("version of %s is read as %d %v", a.Name, v, ok)
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd"} {
		if _, err := d.Read(t.Context(), statestore.Part{Name: name}, nil); err == nil {
			t.Errorf("a part named %q was read", name)
		}
	}
}

func TestManyBlocks(t *testing.T) {
	d, err := Open(vfsx.NewMem(), "state")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for i := range 50_000 {
		rows = append(rows, row{fmt.Sprintf("%08d", i), strings.Repeat("v", i%50), false})
	}
	rows = append(rows, row{"z", strings.Repeat("v", 3*blockTarget), false})
	p := write(t, d, Header{Kind: Snapshot, Version: 1, Base: batch.None}, rows)
	if _, got := read(t, d, p); !slices.Equal(got, rows) {
		t.Fatal("rows of several blocks differ")
	}
}

// A file newer than every live manifest may belong to a checkpoint under way.
func TestCollectKeepsWhatMayBeUnderWay(t *testing.T) {
	fs := vfsx.NewMem()
	d, err := Open(fs, "state")
	if err != nil {
		t.Fatal(err)
	}
	s := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	at := func(v batch.ID) statestore.Part {
		return write(t, d, Header{Kind: Snapshot, Shard: s, Version: v, Base: batch.None}, nil)
	}
	old, live, underWay := at(3), at(5), at(6)
	if err := vfsx.WriteFileAtomic(fs, "state/README", []byte("a stranger's")); err != nil {
		t.Fatal(err)
	}
	if err := d.Collect(t.Context(), []statestore.Manifest{{Shard: s, Version: 5, Parts: []statestore.Part{live}}}, nil); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	want := []string{live.Name, underWay.Name, "README"}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Fatalf("left are %v, want %v without %s", names, want, old.Name)
	}
}

// Several processes hold shards of one query in one folder.
func TestCollectSparesWhatIsHeldElsewhere(t *testing.T) {
	fs := vfsx.NewMem()
	d, err := Open(fs, "state")
	if err != nil {
		t.Fatal(err)
	}
	shard := func(op string, p int) batch.Shard {
		return batch.Shard{Operator: op, Partition: p, EndGroup: batch.KeyGroups}
	}
	at := func(op string, p int) string {
		return write(t, d, Header{Kind: Snapshot, Shard: shard(op, p), Version: 3, Base: batch.None}, nil).Name
	}
	at("op", 0)
	theirs := at("op", 1)
	at("op", 11)
	at("other", 1)
	w := d.NewRun(t.Context(), shard("op", 1), 3, 1<<20)
	if err := w.Put([]byte{1, 2}, nil, false); err != nil {
		t.Fatal(err)
	}
	runs, err := w.Finish()
	if err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	d.Spare([]batch.Shard{shard("op", 1)})
	live := []statestore.Manifest{{Shard: shard("op", 0), Version: 5}}
	if err := d.Collect(t.Context(), live, nil); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	want := []string{theirs, runs[0].Name}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Fatalf("left are %v, want %v", names, want)
	}
}

func TestDamageNamesTheFileAndThePlace(t *testing.T) {
	fs := vfsx.NewMem()
	d, err := Open(fs, "state")
	if err != nil {
		t.Fatal(err)
	}
	p := write(t, d, goldenHeader(), goldenRows)
	path := fs.PathJoin("state", p.Name)
	data, err := vfsx.ReadFile(fs, path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-15] ^= 1
	if err := vfsx.WriteFileAtomic(fs, path, data); err != nil {
		t.Fatal(err)
	}
	_, err = d.Read(t.Context(), p, func(_, _ []byte, _ bool) error { return nil })
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "at byte 36") {
		t.Fatalf("damage is reported as %q", err)
	}
}

func FuzzDecode(f *testing.F) {
	old, err := hex.DecodeString(golden)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(old)
	f.Add(old[:20])
	f.Add([]byte(magic + "\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		dec := newDecoder(bytes.NewReader(data), int64(len(data)))
		h, err := dec.header()
		n := int64(0)
		if err == nil {
			err = dec.rows(h, func(_, _ []byte, _ bool) error { n++; return nil })
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20+16*uint64(len(data)) {
			t.Fatalf("%d bytes of input took %d bytes of memory", len(data), grown)
		}
		if err == nil && (n != h.Rows || dec.at != int64(len(data))) {
			t.Fatalf("accepted %d of %d rows, %d of %d bytes", n, h.Rows, dec.at, len(data))
		}
	})
}
