package exchange

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

func rows(alloc memory.Allocator, vs ...int64) arrow.RecordBatch {
	b := array.NewInt64Builder(alloc)
	defer b.Release()
	b.AppendValues(vs, nil)
	arr := b.NewArray()
	defer arr.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)
	return array.NewRecordBatch(schema, []arrow.Array{arr}, int64(len(vs)))
}

func write(t *testing.T, o *Outputs, ref Ref, static bool, starts *[257]int32, batches ...arrow.RecordBatch) {
	t.Helper()
	w := o.Writer(ref, static)
	for _, rec := range batches {
		if err := w.Append(rec, starts); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Discard() // after Commit it does nothing
}

func read(t *testing.T, r sources.Reader, err error) string {
	t.Helper()
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	out := ""
	for {
		rec, err := r.Next(t.Context())
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			out += rec.Column(0).ValueStr(i) + " "
		}
		rec.Release()
	}
}

func TestReadersGetTaskAndSequenceOrder(t *testing.T) {
	for _, limit := range []int64{0, 1, 20} { // all in memory, all on disk, a mix
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		dir := t.TempDir()
		o := New(Options{Dir: dir, MemoryMax: limit, Alloc: alloc})
		write(t, o, Ref{"k", 1, 0, 1}, false, nil, rows(alloc, 5), rows(alloc, 6, 7))
		write(t, o, Ref{"k", 1, 0, 0}, false, nil, rows(alloc, 1, 2), rows(alloc), rows(alloc, 3))
		for range 2 {
			r, err := o.Tasks(Ref{"k", 1, 0, 0}, 2, 0, 0)
			if got := read(t, r, err); got != "1 2 3 5 6 7 " {
				t.Errorf("limit %d: read %q", limit, got)
			}
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if spilled := len(files) > 0; spilled != (limit > 0) {
			t.Errorf("limit %d: files %v", limit, files)
		}
		o.Close()
		if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
			t.Errorf("files are left: %v", files)
		}
		if o.Bytes() != 0 {
			t.Errorf("%d bytes are left", o.Bytes())
		}
		alloc.AssertSize(t, 0)
	}
}

func TestAPartitionIsTheSliceOfItsGroups(t *testing.T) {
	for _, limit := range []int64{0, 1} {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		o := New(Options{Dir: t.TempDir(), MemoryMax: limit, Alloc: alloc})
		vs := make([]int64, batch.KeyGroups)
		var starts [257]int32
		for g := range vs {
			vs[g], starts[g+1] = int64(g), int32(g+1) // one row a group
		}
		write(t, o, Ref{Key: "k"}, false, &starts, rows(alloc, vs...))
		for _, parts := range []int{1, 3, 256} {
			all := ""
			for p := range parts {
				r, err := o.Reader(Ref{Key: "k"}, p, parts)
				got := read(t, r, err)
				if first, _ := batch.GroupsOf(p, parts); got[:len(fmt.Sprint(first))] != fmt.Sprint(first) {
					t.Errorf("partition %d of %d starts with %q", p, parts, got)
				}
				all += got
			}
			r, err := o.Reader(Ref{Key: "k"}, 0, 0)
			if whole := read(t, r, err); all != whole {
				t.Errorf("%d partitions hold %q", parts, all)
			}
		}
		o.Close()
		alloc.AssertSize(t, 0)
	}
}

func TestPruneKeepsTheNewestStaticOutput(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	o := New(Options{})
	defer o.Close()
	for b := range batch.ID(4) {
		write(t, o, Ref{"k", b, 0, 0}, false, nil, rows(alloc, int64(b)))
	}
	write(t, o, Ref{"k", 0, 1, 0}, true, nil, rows(alloc, 10))
	write(t, o, Ref{"k", 1, 1, 0}, true, nil, rows(alloc, 11))
	write(t, o, Ref{"other", 0, 0, 0}, false, nil, rows(alloc, 99))
	open, err := o.Reader(Ref{"k", 0, 0, 0}, 0, 0)
	o.Prune("k", 3)
	if got := read(t, open, err); got != "0 " {
		t.Errorf("an open reader got %q", got)
	}
	for ref, want := range map[Ref]bool{
		{"k", 0, 0, 0}: false, {"k", 2, 0, 0}: false, {"k", 3, 0, 0}: true,
		{"k", 0, 1, 0}: false, {"k", 1, 1, 0}: true, {"other", 0, 0, 0}: true,
	} {
		r, err := o.Reader(ref, 0, 0)
		if (err == nil) != want {
			t.Errorf("%+v is there: %v, want %v", ref, err == nil, want)
		}
		if err == nil {
			r.Close()
		}
	}
	o.Drop("k")
	if _, err := o.Reader(Ref{"k", 3, 0, 0}, 0, 0); err == nil {
		t.Error("a dropped plan has output")
	}
}

func TestASecondAttemptReplacesTheFirst(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	o := New(Options{})
	defer o.Close()
	write(t, o, Ref{Key: "k"}, false, nil, rows(alloc, 1))
	half := o.Writer(Ref{Key: "k"}, false)
	rec := rows(alloc, 2)
	if err := half.Append(rec, nil); err != nil {
		t.Fatal(err)
	}
	rec.Release()
	half.Discard()
	r, err := o.Reader(Ref{Key: "k"}, 0, 0)
	if got := read(t, r, err); got != "1 " {
		t.Errorf("after a discarded attempt: %q", got)
	}
	write(t, o, Ref{Key: "k"}, false, nil, rows(alloc, 3))
	r, err = o.Reader(Ref{Key: "k"}, 0, 0)
	if got := read(t, r, err); got != "3 " {
		t.Errorf("after a second attempt: %q", got)
	}
}

func TestADamagedSpillFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	f, err := CreateFile(dir, "x-*")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Remove()
	rec := rows(memory.DefaultAllocator, 1, 2, 3)
	frame, err := f.Append(rec, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	good, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := range good {
		bad := append([]byte{}, good...)
		bad[at] ^= 0x40
		if _, err := f.f.WriteAt(bad, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(frame, memory.DefaultAllocator); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
	}
	if _, err := f.f.WriteAt(good, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(frame, memory.DefaultAllocator); err != nil {
		t.Fatal(err)
	}
}

// TestAQuerysOutputKeepsToItsQuota: what is beyond a quarter of it goes to disk; another
// query's stays in memory, and nothing is counted any more when all is gone.
func TestAQuerysOutputKeepsToItsQuota(t *testing.T) {
	o := New(Options{Dir: t.TempDir()})
	defer o.Close()
	rec := rows(memory.DefaultAllocator, make([]int64, 1000)...)
	defer rec.Release()
	spilled := map[string]int{}
	for _, key := range []string{"small", "large"} {
		quota := map[string]int64{"small": 4 * 20_000}[key]
		w := o.Writer(Ref{Key: key}, false).Within(nil, quota)
		for range 10 {
			if err := w.Append(rec, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range w.out.segments {
			if s.rec == nil {
				spilled[key]++
			}
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if spilled["small"] != 8 || spilled["large"] != 0 {
		t.Errorf("of ten batches of 8 KB the query with room for 20 KB has spilled %d, the one without a quota %d", spilled["small"], spilled["large"])
	}
	for _, key := range []string{"small", "large"} {
		o.Drop(key)
	}
	if o.Bytes() != 0 || len(o.mu.byKey) > 0 {
		t.Errorf("%d bytes of %d plans are left", o.Bytes(), len(o.mu.byKey))
	}
}
