package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/formats/parquet"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var registry = formats.NewRegistry(parquet.New(), csv.New(), json.New())

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "p", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

type fixture struct {
	t    testing.TB
	sink sinks.Sink
	wf   sinks.WriterFactory
	term batch.Term
}

func spec(mode sinks.Mode, partitioned bool, extra options.Map) sinks.Spec {
	o := options.Map{"path": "out", "format": "csv"}
	for k, v := range extra {
		o[k] = v
	}
	s := sinks.Spec{Name: "s#0", Table: "t", Query: "q-1", Schema: schema, Mode: mode, Options: o}
	if partitioned {
		s.PartitionBy = []string{"p"}
	}
	return s
}

func open(t testing.TB, fs vfsx.FS, sp sinks.Spec, term batch.Term) *fixture {
	t.Helper()
	s, wf, err := Connector(fs, registry).New(context.Background(), sp)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, sink: s, wf: wf, term: term}
}

// prepare stages rows [from, to) with one task for each of parts.
func (f *fixture) prepare(id batch.ID, attempt int, from, to, tasks int) ([]batch.Prepared, error) {
	var parts []batch.Prepared
	for p := range tasks {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		w, err := f.wf.NewWriter(context.Background(), sinks.Attempt{Task: batch.TaskID{Query: "q-1", Batch: id, Partition: p, Attempt: attempt}, Term: f.term}, schema, alloc)
		if err != nil {
			return nil, err
		}
		b := array.NewRecordBuilder(alloc, schema)
		for i := from + p; i < to; i += tasks {
			b.Field(0).(*array.Int64Builder).Append(int64(i))
			if i%3 == 0 {
				b.Field(1).AppendNull()
			} else {
				b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("v/%d", i%3))
			}
		}
		rec := b.NewRecordBatch()
		err = w.Write(context.Background(), rec)
		rec.Release()
		b.Release()
		var pr batch.Prepared
		if err == nil {
			pr, err = w.Prepare(context.Background())
		}
		if err != nil {
			_ = w.Discard()
			alloc.AssertSize(f.t, 0)
			return nil, err
		}
		alloc.AssertSize(f.t, 0)
		parts = append(parts, pr)
	}
	return parts, nil
}

func (f *fixture) commit(id batch.ID, parts []batch.Prepared) error {
	return f.sink.Commit(context.Background(), id, f.term, parts)
}

// walk lists all files under a directory.
func walk(t testing.TB, fs vfsx.FS, dir string) []string {
	names, err := fs.List(dir)
	if err != nil {
		return nil
	}
	slices.Sort(names)
	var out []string
	for _, n := range names {
		full := fs.PathJoin(dir, n)
		info, err := fs.Stat(full)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			out = append(out, walk(t, fs, full)...)
		} else {
			out = append(out, full)
		}
	}
	return out
}

// ids is a plain reader: it counts the rows of all files that end in .csv, wherever they are.
func ids(t testing.TB, fs vfsx.FS) map[string]int {
	got := map[string]int{}
	for _, name := range walk(t, fs, "out") {
		if !strings.HasSuffix(name, ".csv") {
			continue
		}
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		_ = f.Close()
		if err != nil || len(b) == 0 || b[len(b)-1] != '\n' {
			t.Fatalf("%s is half a file: %q %v", name, b, err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n")[1:] {
			id, _, _ := strings.Cut(line, ",")
			got[id]++
		}
	}
	return got
}

func atMostOnce(t testing.TB, fs vfsx.FS, when string) {
	t.Helper()
	for id, n := range ids(t, fs) {
		if n > 1 {
			t.Fatalf("%s: row %s is there %d times", when, id, n)
		}
	}
}

func exactly(t testing.TB, fs vfsx.FS, from, to int, when string) {
	t.Helper()
	got := ids(t, fs)
	for i := from; i < to; i++ {
		if got[fmt.Sprint(i)] != 1 {
			t.Fatalf("%s: row %d is there %d times; files:\n%s", when, i, got[fmt.Sprint(i)], strings.Join(walk(t, fs, "out"), "\n"))
		}
	}
	if len(got) != to-from {
		t.Fatalf("%s: %d rows, want %d", when, len(got), to-from)
	}
}

// TestCrashAtEveryStep lets the process die before each operation on the disk,
// loses what was not synced, and goes on as the driver would.
func TestCrashAtEveryStep(t *testing.T) {
	for _, c := range []struct {
		name        string
		mode        sinks.Mode
		partitioned bool
		tasks       int
		extra       options.Map
	}{
		{"append", sinks.Append, false, 2, nil},
		{"partitioned", sinks.Append, true, 1, nil},
		{"complete one file", sinks.Complete, false, 1, nil},
		{"complete", sinks.Complete, true, 2, nil},
		{"compaction", sinks.Append, true, 1, options.Map{"compaction": "true", "compaction.min-files": "2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sp := spec(c.mode, c.partitioned, c.extra)
			for point := 0; ; point++ {
				// How much of the unsynced data is left: nothing, half, all.
				if !crashRun(t, sp, c.tasks, point, uint64(point%3)) {
					t.Logf("%d crash points", point)
					if point < 30 {
						t.Errorf("only %d crash points", point)
					}
					return
				}
			}
		})
	}
}

const crashBatches, crashRows = 3, 12

// crashRun runs some batches, dies at one operation, recovers and runs on.
func crashRun(t *testing.T, sp sinks.Spec, tasks, point int, seed uint64) (died bool) {
	mem := vfsx.NewCrashableMem()
	var ops atomic.Int64
	dead := errors.New("dead")
	dying := vfsx.Wrap(mem, vfsx.InjectorFunc(func(vfsx.Op) error {
		if ops.Add(1) > int64(point) {
			return dead
		}
		return nil
	}))
	logged := map[batch.ID][]batch.Prepared{} // the batch log
	committed := -1
	steps := func(fs vfsx.FS, term batch.Term) error {
		f := open(t, fs, sp, term)
		for id := range batch.ID(crashBatches) {
			parts, ok := logged[id]
			if !ok {
				var err error
				if parts, err = f.prepare(id, int(term), int(id)*crashRows, int(id+1)*crashRows, tasks); err != nil {
					return err
				}
				logged[id] = parts
			}
			if err := f.commit(id, parts); err != nil {
				return err
			}
			committed = max(committed, int(id))
		}
		return nil
	}
	err := steps(dying, 1)
	died = err != nil
	if died && !errors.Is(err, dead) {
		t.Fatalf("point %d: %v", point, err)
	}
	after := mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: int(seed) * 50, RNG: rand.New(rand.NewPCG(seed, uint64(point)))})
	when := fmt.Sprintf("point %d seed %d", point, seed)
	atMostOnce(t, after, when+" after the crash")
	if committed >= 0 && sp.Mode == sinks.Append && len(sp.Options["compaction"]) == 0 {
		got := ids(t, after)
		for i := range (committed + 1) * crashRows {
			if got[fmt.Sprint(i)] != 1 {
				t.Fatalf("%s: committed row %d is there %d times", when, i, got[fmt.Sprint(i)])
			}
		}
	}
	if err := steps(after, 2); err != nil {
		t.Fatalf("%s: recovery: %v", when, err)
	}
	from := 0
	if sp.Mode == sinks.Complete {
		from = (crashBatches - 1) * crashRows
	}
	exactly(t, after, from, crashBatches*crashRows, when+" after recovery")
	// Repeating the last commit changes nothing, and the manifests agree with the directory.
	before := walk(t, after, "out")
	f := open(t, after, sp, 2)
	if err := f.commit(crashBatches-1, logged[crashBatches-1]); err != nil {
		t.Fatalf("%s: repeat: %v", when, err)
	}
	if now := walk(t, after, "out"); !slices.Equal(before, now) {
		t.Fatalf("%s: a repeated commit changed %v to %v", when, before, now)
	}
	agree(t, after, when)
	return died
}

// agree compares the manifests' files with those of the directory.
func agree(t *testing.T, fs vfsx.FS, when string) {
	t.Helper()
	held, err := manifest.Committed(fs, "out")
	if err != nil || held == nil {
		t.Fatalf("%s: %v", when, err)
	}
	files := held.Files
	for _, name := range walk(t, fs, "out") {
		name = strings.TrimPrefix(name, "out/")
		if strings.HasPrefix(name, manifest.Root) {
			if strings.Contains(name, stagedSuffix) {
				t.Fatalf("%s: %s is left", when, name)
			}
			continue
		}
		if _, ok := files[name]; !ok {
			t.Fatalf("%s: %s is in no manifest", when, name)
		}
		delete(files, name)
	}
	if len(files) > 0 {
		t.Fatalf("%s: missing %v", when, files)
	}
}

// TestOneFault fails each operation once: the error is seen, and the same steps
// tried again end well.
func TestOneFault(t *testing.T) {
	for n := int64(0); ; n++ {
		mem := vfsx.NewMem()
		fs := vfsx.Wrap(mem, vfsx.FailOnce(n, vfsx.Writes))
		f := open(t, fs, spec(sinks.Append, true, nil), 1)
		faults := 0
		for id := range batch.ID(2) {
			var parts []batch.Prepared
			for attempt := 0; ; attempt++ {
				var err error
				if parts, err = f.prepare(id, attempt, int(id)*9, int(id+1)*9, 2); err == nil {
					break
				}
				faults++
			}
			for f.commit(id, parts) != nil {
				faults++
			}
			atMostOnce(t, mem, fmt.Sprint("fault ", n))
		}
		exactly(t, mem, 0, 18, fmt.Sprint("fault ", n))
		if faults > 1 {
			t.Fatalf("fault %d was seen %d times", n, faults)
		}
		if faults == 0 && n > 40 {
			return
		}
	}
}

func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	mem := vfsx.NewMem()
	f := open(t, vfsx.Wrap(mem, vfsx.FullDisk(&full, syscall.ENOSPC)), spec(sinks.Append, false, nil), 1)
	full.Store(true)
	_, err := f.prepare(0, 0, 0, 10, 1)
	if k, retry := batch.KindOf(err); k != batch.External || !retry || !strings.Contains(err.Error(), "out") {
		t.Fatalf("full disk: %v %v %v", k, retry, err)
	}
	if got := ids(t, mem); len(got) != 0 {
		t.Fatal(got)
	}
	full.Store(false)
	parts, err := f.prepare(0, 1, 0, 10, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.commit(0, parts); err != nil {
		t.Fatal(err)
	}
	exactly(t, mem, 0, 10, "space again")
}

func TestFencing(t *testing.T) {
	fs := vfsx.NewMem()
	old, now := open(t, fs, spec(sinks.Append, false, nil), 1), open(t, fs, spec(sinks.Append, false, nil), 2)
	zombie, err := old.prepare(0, 0, 0, 5, 1)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := now.prepare(0, 1, 0, 5, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := now.commit(0, parts); err != nil {
		t.Fatal(err)
	}
	if err := old.commit(0, zombie); !errors.Is(err, batch.ErrFenced) {
		t.Fatalf("zombie: %v", err)
	}
	if err := old.sink.Abort(context.Background(), 1, 1, zombie); !errors.Is(err, batch.ErrFenced) {
		t.Fatalf("zombie's abort: %v", err)
	}
	exactly(t, fs, 0, 5, "after the zombie")
	// A repeat that made other rows is refused.
	other, err := now.prepare(0, 2, 0, 6, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := now.commit(0, other); err == nil || !strings.Contains(err.Error(), "not repeatable") {
		t.Fatal(err)
	}
	if id, _, err := now.sink.Holds(context.Background()); id != 0 || err != nil {
		t.Fatal(id, err)
	}
}

func TestAbortAndTwoQueries(t *testing.T) {
	fs := vfsx.NewMem()
	sp := spec(sinks.Append, false, nil)
	a := open(t, fs, sp, 1)
	sp.Query = "q-2"
	b := open(t, fs, sp, 1)
	parts, _ := a.prepare(0, 0, 0, 5, 1)
	if err := a.sink.Abort(context.Background(), 0, 1, parts); err != nil {
		t.Fatal(err)
	}
	pa, _ := a.prepare(0, 1, 0, 5, 1)
	pb, _ := b.prepare(0, 0, 5, 9, 1)
	if err := errors.Join(a.commit(0, pa), b.commit(0, pb)); err != nil {
		t.Fatal(err)
	}
	exactly(t, fs, 0, 9, "two queries")
	agree(t, fs, "two queries")
}

// TestManifestsStayFew commits many batches and counts what is left in the folder.
func TestManifestsStayFew(t *testing.T) {
	fs := vfsx.NewMem()
	f := open(t, fs, spec(sinks.Append, false, options.Map{"compaction": "true", "compaction.min-files": "50"}), 1)
	most := 0
	for id := range batch.ID(1200) {
		parts, err := f.prepare(id, 0, int(id), int(id)+1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.commit(id, parts); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(walk(t, fs, path.Join("out", manifest.Root))))
	}
	if most > foldAt+20 {
		t.Errorf("%d files of our own", most)
	}
	if n := len(walk(t, fs, "out")) - len(walk(t, fs, path.Join("out", manifest.Root))); n > 100 {
		t.Errorf("%d data files", n)
	}
	exactly(t, fs, 0, 1200, "many batches")
	agree(t, fs, "many batches")
	if id, _, err := open(t, fs, spec(sinks.Append, false, nil), 1).sink.Holds(context.Background()); id != 1199 || err != nil {
		t.Error(id, err)
	}
}

func TestRollAndNames(t *testing.T) {
	fs := vfsx.NewMem()
	f := open(t, fs, spec(sinks.Append, true, options.Map{"sink.file-size": "1"}), 1)
	parts, err := f.prepare(7, 0, 0, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.commit(7, parts); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range walk(t, fs, "out") {
		if !strings.Contains(n, manifest.Root) {
			got = append(got, n[:strings.LastIndexByte(n, '-')])
		}
	}
	want := "[out/p=__HIVE_DEFAULT_PARTITION__/part-00000007-0-00000-000 out/p=v%2F1/part-00000007-0-00000-001 out/p=v%2F2/part-00000007-0-00000-002]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		change func(*sinks.Spec)
		want   string
	}{
		{func(s *sinks.Spec) { s.Mode = sinks.Update }, "cannot take output mode update"},
		{func(s *sinks.Spec) { s.PartitionBy = []string{"pp"} }, `did you mean "p"?`},
		{func(s *sinks.Spec) { s.PartitionBy = []string{"p", "id"} }, "every column is in PARTITIONED BY"},
		{func(s *sinks.Spec) { s.Options["format"] = "xml" }, "unknown format"},
	} {
		sp := spec(sinks.Append, false, nil)
		c.change(&sp)
		_, _, err := Connector(vfsx.NewMem(), registry).New(context.Background(), sp)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestDamagedManifest(t *testing.T) {
	m := manifest.Manifest{Query: "q", From: 1, To: 1, Files: []manifest.File{{Name: "a", Size: 1}}}
	b, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		x := slices.Clone(b)
		x[i] ^= 4
		if got, err := manifest.Decode(x); err == nil {
			t.Fatalf("byte %d: read as %+v", i, got)
		}
		if _, err := manifest.Decode(b[:i]); err == nil {
			t.Fatalf("cut at %d accepted", i)
		}
	}
}

// TestACommitComesAgainAfterAFold repeats the commit of every batch with a new
// driver, as after a crash right behind the commit: a fold of manifests must not
// hide the newest batch, whatever else was written for it.
func TestACommitComesAgainAfterAFold(t *testing.T) {
	fs := vfsx.NewMem()
	sp := spec(sinks.Append, false, options.Map{"compaction": "true", "compaction.min-files": "4"})
	for id := range batch.ID(2*foldAt + 20) {
		f := open(t, fs, sp, 1)
		parts, err := f.prepare(id, 0, int(id), int(id)+1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.commit(id, parts); err != nil {
			t.Fatalf("batch %d: %v", id, err)
		}
		if err := open(t, fs, sp, 1).commit(id, parts); err != nil {
			t.Fatalf("batch %d again: %v", id, err)
		}
	}
	exactly(t, fs, 0, 2*foldAt+20, "after all commits")
}
