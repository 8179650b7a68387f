package filelog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

var _ driver.BatchLog = (*Log)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(fs vfsx.FS) Options {
	return Options{FS: fs, Dir: "ck", Metadata: Metadata{Name: "hot", Query: "q1"}, SegmentBytesMax: 400, BallastBytes: 1 << 10}
}

func open(t testing.TB, fs vfsx.FS) *Log {
	t.Helper()
	l, err := Open(options(fs))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func planned(id batch.ID) microbatch.Record {
	return microbatch.Planned{Batch: id, Term: 1, PlanHash: "h", Watermark: batch.NoTime, Close: batch.NoTime,
		Ranges: []batch.Range{{Source: "s#0", Start: batch.Offset(fmt.Sprint(id)), End: batch.Offset(fmt.Sprint(id + 1))}}}
}

func committed(id batch.ID) microbatch.Record {
	return microbatch.Committed{Batch: id, Term: 1, Counters: batch.Counters{RowsIn: 2}, NextWatermark: 7,
		Prepared: []batch.Prepared{{Sink: "out#0", Payload: []byte("f"), Rows: 2}}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// records returns what the log replays, in their printed form.
func records(t testing.TB, l *Log, from batch.ID) []string {
	t.Helper()
	var out []string
	for r, err := range l.Replay(t.Context(), from) {
		must(t, err)
		out = append(out, fmt.Sprintf("%T %d", r, r.ID()))
	}
	return out
}

func TestAppendCloseReplay(t *testing.T) {
	fs := vfsx.NewMem()
	l := open(t, fs)
	var want []string
	for id := range batch.ID(50) {
		must(t, l.Append(t.Context(), 1, planned(id), committed(id)))
		must(t, l.Append(t.Context(), 1, planned(id), committed(id))) // the same again is nothing
		want = append(want, fmt.Sprintf("microbatch.Planned %d", id), fmt.Sprintf("microbatch.Committed %d", id))
	}
	if got := records(t, l, 0); !slices.Equal(got, want) {
		t.Fatalf("replay gives %v", got)
	}
	if got := records(t, l, 48); !slices.Equal(got, want[96:]) {
		t.Fatalf("replay from 48 gives %v", got)
	}
	must(t, l.Close())
	must(t, l.Close())
	l = open(t, fs)
	defer l.Close()
	if got := records(t, l, 0); !slices.Equal(got, want) {
		t.Fatalf("after opening again: %v", got)
	}
	must(t, l.Append(t.Context(), 1, planned(50)))
	if got := records(t, l, 50); len(got) != 1 {
		t.Fatalf("appended after opening again: %v", got)
	}
	for range l.Replay(t.Context(), 0) {
		break // stopping early is fine
	}
}

func TestTermsFence(t *testing.T) {
	fs := vfsx.NewMem()
	l := open(t, fs)
	must(t, l.Append(t.Context(), 3, microbatch.Planned{Batch: 0, Term: 3, PlanHash: "h"}))
	if err := l.Append(t.Context(), 2, planned(1)); !errors.Is(err, batch.ErrFenced) {
		t.Fatalf("an older term appended: %v", err)
	}
	must(t, l.Close())
	l = open(t, fs)
	defer l.Close()
	if err := l.Append(t.Context(), 2, planned(1)); !errors.Is(err, batch.ErrFenced) {
		t.Fatalf("an older term appended after opening again: %v", err)
	}
}

func TestTruncateKeepsFilesFew(t *testing.T) {
	fs := vfsx.NewMem()
	l := open(t, fs)
	defer l.Close()
	most := 0
	for id := range batch.ID(2000) {
		must(t, l.Append(t.Context(), 1, planned(id), committed(id)))
		if id%10 != 0 {
			continue
		}
		must(t, l.Truncate(t.Context(), id-20))
		names, err := fs.List("ck/log")
		must(t, err)
		most = max(most, len(names))
		if got := records(t, l, id-20); len(got) < 42 && id > 20 {
			t.Fatalf("truncated before %d, %d records left", id-20, len(got))
		}
	}
	if most > 20 {
		t.Fatalf("%d files at a time", most)
	}
	must(t, l.Close())
	l = open(t, fs)
	defer l.Close()
	if got := records(t, l, 1990); len(got) != 20 {
		t.Fatalf("after opening again %d records", len(got))
	}
}

// Every write fails once, and after each failure and at any moment the machine
// stops: what was acknowledged is there, and the rest is a prefix (C3, L1, L3).
func TestCrashes(t *testing.T) {
	for n := int64(0); ; n++ {
		mem := vfsx.NewCrashableMem()
		must(t, mem.MkdirAll("ck", 0o700))
		must(t, vfsx.SyncDir(mem, "/"))
		fault := vfsx.FailOnce(n, vfsx.Writes)
		fs := vfsx.Wrap(mem, fault)
		rng := rand.New(rand.NewPCG(uint64(n), 3))
		acked := crashLife(t, fs, func(acked batch.ID) {
			checkAfterCrash(t, mem, rng, acked, n)
		})
		checkAfterCrash(t, mem, rng, acked, n)
		if !fault.Failed() {
			if n < 50 {
				t.Fatalf("only %d writes to fail", n)
			}
			return
		}
	}
}

// crashLife appends batches until something fails, and returns the last acknowledged.
func crashLife(t *testing.T, fs vfsx.FS, look func(acked batch.ID)) batch.ID {
	acked := batch.None
	l, err := Open(options(fs))
	if err != nil {
		return acked
	}
	defer func() { _ = l.Close() }()
	for id := range batch.ID(24) {
		if l.Append(t.Context(), 1, planned(id), committed(id)) != nil {
			if err := l.Append(t.Context(), 1, planned(id)); !errors.Is(err, ErrPoisoned) {
				t.Fatalf("an append after a failed one: %v", err)
			}
			return acked
		}
		acked = id
		if id%6 == 5 {
			_ = l.Truncate(t.Context(), id-8) // may fail: the next one goes on
		}
		if id%5 == 3 {
			look(acked)
		}
	}
	return acked
}

func checkAfterCrash(t *testing.T, mem *vfsx.MemFS, rng *rand.Rand, acked batch.ID, n int64) {
	t.Helper()
	crashed := mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	must(t, crashed.MkdirAll("ck", 0o700))
	l, err := Open(options(crashed))
	if err != nil {
		t.Fatalf("write %d failed, batch %d acknowledged: cannot open after a crash: %v", n, acked, err)
	}
	defer l.Close()
	next := batch.ID(0)
	for r, err := range l.Replay(t.Context(), 0) {
		must(t, err)
		if _, ok := r.(microbatch.Planned); !ok {
			continue
		}
		if next > 0 && r.ID() != next {
			t.Fatalf("write %d failed: batch %d after %d", n, r.ID(), next-1)
		}
		next = r.ID() + 1
	}
	if next-1 < acked {
		t.Fatalf("write %d failed: batch %d was acknowledged, %d is the last after a crash", n, acked, next-1)
	}
	must(t, l.Append(t.Context(), 1, planned(next)))
}

// After a truncation the first segment may begin inside a batch.
func TestReplayBeginsWithAPlan(t *testing.T) {
	fs := vfsx.NewMem()
	l := open(t, fs)
	defer l.Close()
	must(t, l.Append(t.Context(), 1, planned(0)))
	for id := range batch.ID(40) {
		must(t, l.Append(t.Context(), 1, committed(id), planned(id+1)))
	}
	must(t, l.Truncate(t.Context(), 20))
	got := records(t, l, 0)
	if len(got) < 41 || len(got) > 60 || !strings.HasPrefix(got[0], "microbatch.Planned ") {
		t.Fatalf("%d records, the first are %v", len(got), got[:3])
	}
}

// segments returns the paths of the log's files, oldest first.
func segments(t *testing.T, fs vfsx.FS) []string {
	t.Helper()
	names, err := fs.List("ck/log")
	must(t, err)
	slices.Sort(names)
	for i := range names {
		names[i] = fs.PathJoin("ck/log", names[i])
	}
	return names
}

func rewrite(t *testing.T, fs vfsx.FS, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := vfsx.ReadFile(fs, path, 1<<20)
	must(t, err)
	must(t, vfsx.WriteFileAtomic(fs, path, change(data)))
}

// Every cut of the last segment opens with the whole groups before it; every
// flipped bit elsewhere is refused by name (E6).
func TestTornTailAndInnerDamage(t *testing.T) {
	fs := vfsx.NewMem()
	l := open(t, fs)
	for id := range batch.ID(12) {
		must(t, l.Append(t.Context(), 1, planned(id), committed(id)))
	}
	must(t, l.Close())
	files := segments(t, fs)
	last := files[len(files)-1]
	s, err := scanLast(t, fs, last)
	must(t, err)
	good, err := vfsx.ReadFile(fs, last, 1<<20)
	must(t, err)
	whole := 12 - s.groups
	for cut := s.start; cut <= s.size; cut++ {
		rewrite(t, fs, last, func([]byte) []byte { return good[:cut] })
		l := open(t, fs)
		n := len(records(t, l, 0)) / 2
		if n < whole || n > 12 || (n == 12) != (cut == s.size) || (l.TornBytes() > 0) == (cut == s.end) && cut == s.end {
			t.Fatalf("cut at %d: %d batches, %d bytes torn", cut, n, l.TornBytes())
		}
		must(t, l.Append(t.Context(), 1, planned(99)))
		must(t, l.Close())
	}
	for _, extra := range segments(t, fs)[len(files):] { // begun by the appends above
		must(t, fs.Remove(extra))
	}
	for _, path := range files {
		data, err := vfsx.ReadFile(fs, path, 1<<20)
		must(t, err)
		if path == last {
			data = good
		}
		for at := range data {
			bad := slices.Clone(data)
			bad[at] ^= 0x10
			must(t, vfsx.WriteFileAtomic(fs, path, bad))
			checkFlip(t, fs, path, at, path == last && int64(at) >= lastGroupAt(t, good))
		}
		must(t, vfsx.WriteFileAtomic(fs, path, data))
	}
}

func scanLast(t *testing.T, fs vfsx.FS, path string) (*segment, error) {
	data, err := vfsx.ReadFile(fs, path, 1<<20)
	must(t, err)
	return scanSegment(path, data, func(group, microbatch.Record) error { return nil })
}

func lastGroupAt(t *testing.T, data []byte) int64 {
	var at int64
	_, err := scanSegment("x", data, func(g group, _ microbatch.Record) error { at = g.at; return nil })
	must(t, err)
	return at
}

// checkFlip: a flipped bit in the last group looks like a torn append; any other is named.
func checkFlip(t *testing.T, fs vfsx.FS, path string, at int, tail bool) {
	t.Helper()
	r, err := Inspect(fs, "ck")
	must(t, err)
	l, err := Open(options(fs))
	if tail {
		if err != nil || len(r.Damage) > 0 || r.TornBytes == 0 {
			t.Fatalf("%s, flipped bit in byte %d of the last append: %v, %+v", path, at, err, r.Damage)
		}
		must(t, l.Close())
		return
	}
	if err == nil {
		_ = l.Close()
		t.Fatalf("%s, flipped bit in byte %d: opened", path, at)
	}
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "byte ") {
		t.Fatalf("%s, flipped bit in byte %d: %v", path, at, err)
	}
	if k, _ := batch.KindOf(err); k != batch.User || len(r.Damage) == 0 {
		t.Fatalf("%s, flipped bit in byte %d: kind %v, report %+v", path, at, k, r.Damage)
	}
}

func TestMissingAndSwappedFiles(t *testing.T) {
	setup := func() (vfsx.FS, []string) {
		fs := vfsx.NewMem()
		l := open(t, fs)
		for id := range batch.ID(12) {
			must(t, l.Append(t.Context(), 1, planned(id), committed(id)))
		}
		must(t, l.Close())
		return fs, segments(t, fs)
	}
	refused := func(what string, fs vfsx.FS, want error) {
		t.Helper()
		l, err := Open(options(fs))
		if err == nil {
			_ = l.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		if r, ierr := Inspect(fs, "ck"); ierr != nil || len(r.Damage) == 0 {
			t.Errorf("%s: the report names no damage (%v)", what, ierr)
		}
	}
	fs, files := setup()
	must(t, fs.Remove(files[1]))
	refused("a segment in the middle is missing", fs, ErrDamaged)

	fs, files = setup()
	must(t, fs.Rename(files[1], "ck/log/x"))
	must(t, fs.Rename(files[2], files[1]))
	must(t, fs.Rename("ck/log/x", files[2]))
	refused("two segments are swapped", fs, ErrDamaged)

	fs, files = setup()
	rewrite(t, fs, files[0], func(b []byte) []byte { return b[:len(b)-3] })
	refused("an older segment is cut", fs, ErrDamaged)

	fs, _ = setup()
	must(t, fs.Remove("ck/"+metadataFile))
	refused("the metadata is missing (C22)", fs, ErrNoMetadata)

	fs, _ = setup()
	rewrite(t, fs, "ck/"+metadataFile, func(b []byte) []byte { b[60] ^= 1; return b })
	refused("the metadata is damaged", fs, ErrDamaged)

	fs, files = setup()
	for _, f := range files {
		must(t, fs.Remove(f))
	}
	refused("the log is missing", fs, ErrNoLog)

	fs, files = setup()
	must(t, fs.Remove("ck/"+metadataFile))
	for _, f := range files {
		must(t, fs.Remove(f))
	}
	must(t, vfsx.WriteFileAtomic(fs, files[0], appendHeader(nil, header{query: "q0", number: 1})))
	l := open(t, fs) // a first start that crashed before it wrote the metadata
	must(t, l.Close())
}

func TestOneProcessAndOneQuery(t *testing.T) {
	for name, opt := range map[string]Options{
		"memory": {FS: vfsx.NewMem(), Dir: "ck"},
		"disk":   {Dir: filepath.Join(t.TempDir(), "a", "ck")},
	} {
		t.Run(name, func(t *testing.T) {
			opt.Metadata = Metadata{Name: "hot", SQL: "INSERT .."}
			l, err := Open(opt)
			must(t, err)
			id := l.Metadata().Query
			if len(id) != 36 {
				t.Fatalf("query ID %q", id)
			}
			_, err = Open(opt)
			if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
				t.Fatalf("opened twice: %v", err)
			}
			must(t, l.Append(t.Context(), 1, planned(0)))
			must(t, l.Close())
			l, err = Open(opt)
			must(t, err)
			if l.Metadata().Query != id {
				t.Fatalf("the query's ID changed from %s to %s", id, l.Metadata().Query)
			}
			must(t, l.Close())
			other := opt
			other.Metadata.Name = "cold"
			_, err = Open(other)
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), `"hot"`) || !strings.Contains(err.Error(), `"cold"`) {
				t.Fatalf("a checkpoint of another query: %v", err)
			}
		})
	}
}

func TestFullDiskAndFailedSync(t *testing.T) {
	var full atomic.Bool
	mem := vfsx.NewMem()
	fs := vfsx.Wrap(mem, vfsx.FullDisk(&full, syscall.ENOSPC))
	l := open(t, fs)
	must(t, l.Append(t.Context(), 1, planned(0)))
	if _, err := mem.Stat("ck/" + ballastFile); err != nil {
		t.Fatal("there is no ballast")
	}
	full.Store(true)
	err := l.Append(t.Context(), 1, planned(1))
	if err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("append on a full disk: %v", err)
	}
	if _, err := mem.Stat("ck/" + ballastFile); err == nil {
		t.Fatal("the ballast was not given back")
	}
	full.Store(false)
	if err := l.Append(t.Context(), 1, planned(1)); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("a poisoned log takes records: %v", err)
	}
	must(t, l.Close())
	l = open(t, fs)
	must(t, l.Append(t.Context(), 1, planned(1)))
	must(t, l.Close())

	var syncs atomic.Bool
	l = open(t, vfsx.Wrap(mem, vfsx.InjectorFunc(func(op vfsx.Op) error {
		if syncs.Load() && op.Kind == errorfs.OpFileSyncData {
			return syscall.EIO
		}
		return nil
	})))
	syncs.Store(true)
	if err := l.Append(t.Context(), 1, planned(2)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("append with a failing sync: %v", err)
	}
	syncs.Store(false)
	if err := l.Append(t.Context(), 1, planned(2)); !errors.Is(err, ErrPoisoned) {
		t.Fatalf("a failed sync was followed by an append: %v", err)
	}
	must(t, l.Close())
}

func TestReadOnlyFolder(t *testing.T) {
	fs := vfsx.Wrap(vfsx.NewMem(), vfsx.InjectorFunc(func(op vfsx.Op) error {
		if vfsx.Writes.Evaluate(op) {
			return syscall.EROFS
		}
		return nil
	}))
	_, err := Open(options(fs))
	if err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Fatalf("a read-only folder: %v", err)
	}
}

func TestInspect(t *testing.T) {
	fs := vfsx.NewMem()
	if _, err := Inspect(fs, "ck"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("a folder that is not there: %v", err)
	}
	l := open(t, fs)
	must(t, l.Append(t.Context(), 1, microbatch.Started{Term: 1, Last: batch.None, At: 5, Identity: microbatch.Identity{Query: "q1", PlanHash: "h"}}, planned(0)))
	must(t, l.Append(t.Context(), 1, committed(0), planned(1)))
	must(t, l.Append(t.Context(), 1, microbatch.Checkpointed{Batch: 0, Prev: batch.None, Term: 1, Manifests: []microbatch.Manifest{{Ref: "m", Bytes: 9}}}))
	r, err := Inspect(fs, "ck") // while it is open
	must(t, err)
	if len(r.Damage) > 0 || r.Metadata.Query != "q1" || len(r.Terms) != 1 || len(r.Batches) != 2 || len(r.Checkpoints) != 1 || r.Owner == "" {
		t.Fatalf("report %+v", r)
	}
	b := r.Batches[0]
	if !b.Committed || r.Batches[1].Committed || b.Counters.RowsIn != 2 || b.RowsBySink["out#0"] != 2 || b.Ranges[0].End != "1" || b.NextWatermark != 7 {
		t.Fatalf("batch %+v", b)
	}
	if len(r.Sinks) != 1 || r.Sinks[0] != (SinkInfo{"out#0", 0, 2}) || r.Checkpoints[0].Bytes != 9 {
		t.Fatalf("sinks %+v, checkpoints %+v", r.Sinks, r.Checkpoints)
	}
	must(t, l.Close())
}

// testdata holds files of format version 1 in hexadecimal. They must be readable
// for ever; a new format gets files of its own.
func TestGolden(t *testing.T) {
	fs := vfsx.NewMem()
	opt := options(fs)
	opt.Metadata = Metadata{Query: "6a1f4f0e-1111-4222-8333-444455556666", Name: "hot", PlanHash: "abc", SQL: "INSERT INTO hot\nSELECT 1", Sinks: []string{"hot#0"}, Engine: "0.1"}
	opt.Clock = clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
	l, err := Open(opt)
	must(t, err)
	must(t, l.Append(t.Context(), 1, planned(0), committed(0)))
	must(t, l.Close())
	for name, want := range map[string]string{"ck/log/00000001.log": "testdata/v1.log.hex", "ck/" + metadataFile: "testdata/v1.meta.hex"} {
		got, err := vfsx.ReadFile(fs, name, 1<<20)
		must(t, err)
		golden, err := os.ReadFile(want)
		must(t, err)
		if hex.EncodeToString(got) != strings.TrimSpace(string(golden)) {
			t.Errorf("the bytes of %s have changed; they are now\n%x", name, got)
		}
		old, err := hex.DecodeString(strings.TrimSpace(string(golden)))
		must(t, err)
		must(t, vfsx.WriteFileAtomic(fs, name, old))
	}
	l, err = Open(opt)
	must(t, err)
	defer l.Close()
	m := l.Metadata()
	if m.Query != opt.Metadata.Query || m.SQL != opt.Metadata.SQL || m.KeyGroups != 256 || m.Created.UnixMicro() != 1767323045000006 {
		t.Errorf("golden metadata reads as %+v", m)
	}
	var got []microbatch.Record
	for r, err := range l.Replay(t.Context(), 0) {
		must(t, err)
		got = append(got, r)
	}
	if len(got) != 2 || !microbatch.SameRecord(got[0], planned(0)) || !microbatch.SameRecord(got[1], committed(0)) {
		t.Errorf("golden segment reads as %+v", got)
	}
}

func FuzzSegment(f *testing.F) {
	b := appendHeader(nil, header{query: "q", number: 1})
	g, _ := appendRecord(beginGroup(nil), planned(0), nil)
	endGroup(g, 1)
	f.Add(append(b, g...))
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		s, err := scanSegment("f", data, func(group, microbatch.Record) error { n++; return nil })
		if err == nil && (s.end > int64(len(data)) || s.groups > n) {
			t.Fatalf("%+v with %d records", s, n)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	data, err := encodeMetadata(Metadata{Query: "q", Name: "n"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeMetadata(data); err == nil && m.Query == "" {
			t.Fatal("metadata without a query was accepted")
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(Options{Dir: b.TempDir(), Metadata: Metadata{Name: "bench"}})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	id := batch.ID(0)
	for b.Loop() {
		if err := l.Append(b.Context(), 1, committed(id), planned(id+1)); err != nil {
			b.Fatal(err)
		}
		id++
	}
}
