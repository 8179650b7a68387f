package file

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
)

// overwriteSpec is that of one statement.
func overwriteSpec(statement int, how string) sinks.Spec {
	sp := spec(sinks.Complete, how == "partitions", options.Map{"overwrite": how})
	sp.Query, sp.Batch = batch.QueryID(fmt.Sprintf("statement-%d", statement)), true
	return sp
}

// seen is what a reader of the manifests finds: the ids of all rows, in order.
func seen(t testing.TB, fs vfsx.FS) []string {
	t.Helper()
	held, err := manifest.Committed(fs, "out")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if held == nil {
		held = &manifest.Listing{}
	}
	for name, f := range held.Files {
		full := fs.PathJoin("out", name)
		if _, err := fs.Stat(full); err != nil {
			full = fs.PathJoin("out", held.Staging[name], f.Staged)
		}
		names = append(names, full)
	}
	foreign, err := (&target{fs: fs, dir: "out"}).walk("", held)
	if err != nil && len(walk(t, fs, "out")) > 0 {
		t.Fatal(err)
	}
	for _, n := range foreign {
		if _, ok := held.Files[n]; !ok {
			names = append(names, fs.PathJoin("out", n))
		}
	}
	var out []string
	for _, name := range names {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatalf("a file that manifests name: %v\n%s", err, strings.Join(walk(t, fs, "out"), "\n"))
		}
		b, err := io.ReadAll(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n")[1:] {
			id, _, _ := strings.Cut(line, ",")
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

func rowsFrom(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	slices.Sort(out)
	return out
}

func putFile(t testing.TB, fs vfsx.FS, name, text string) {
	t.Helper()
	if err := vfsx.MkdirAll(fs, path.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := vfsx.WriteFileAtomic(fs, name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// statement runs one INSERT OVERWRITE of rows [from, to).
func statement(t testing.TB, fs vfsx.FS, n int, how string, from, to int) error {
	f := open(t, fs, overwriteSpec(n, how), 1)
	parts, err := f.prepare(0, 0, from, to, 2)
	if err != nil {
		return err
	}
	return f.commit(0, parts)
}

// TestOverwriteIsOldOrNewAtEveryStep lets the process die before each operation of
// a statement, loses what was not synced, and looks: all the old rows or all the new.
func TestOverwriteIsOldOrNewAtEveryStep(t *testing.T) {
	dead := errors.New("dead")
	points := 0
	for point := 0; ; point++ {
		mem := vfsx.NewCrashableMem()
		putFile(t, mem, "out/foreign.csv", "id,p\n100,x\n")
		if err := open(t, mem, spec(sinks.Append, false, nil), 1).run(0, 0, 5); err != nil {
			t.Fatal(err)
		}
		old := slices.Sorted(slices.Values(append(rowsFrom(0, 5), "100")))
		if got := seen(t, mem); !slices.Equal(got, old) {
			t.Fatalf("before: %v", got)
		}
		var ops atomic.Int64
		dying := vfsx.Wrap(mem, vfsx.InjectorFunc(func(vfsx.Op) error {
			if ops.Add(1) > int64(point) {
				return dead
			}
			return nil
		}))
		err := statement(t, dying, 1, "table", 20, 30)
		if err != nil && !errors.Is(err, dead) {
			t.Fatal(err)
		}
		for _, percent := range []int{0, 50, 100} {
			after := mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(percent), uint64(point)))})
			got := seen(t, after)
			if isNew := slices.Equal(got, rowsFrom(20, 30)); !isNew && (err == nil || !slices.Equal(got, old)) {
				t.Fatalf("point %d: %v", point, got)
			}
			// The next statement ends what was begun and takes its own place.
			if err := statement(t, after, 2, "table", 40, 45); err != nil {
				t.Fatalf("point %d: %v", point, err)
			}
			if got := seen(t, after); !slices.Equal(got, rowsFrom(40, 45)) {
				t.Fatalf("point %d: after the next statement %v", point, got)
			}
			exactly(t, after, 40, 45, "a plain reader") // retired files lie below _sluice
		}
		if err == nil {
			break
		}
		points++
	}
	if points < 30 {
		t.Errorf("only %d points", points)
	}
}

func (f *fixture) run(id batch.ID, from, to int) error {
	parts, err := f.prepare(id, 0, from, to, 1)
	if err != nil {
		return err
	}
	return f.commit(id, parts)
}

func TestOverwriteOfPartitionsLeavesTheOthers(t *testing.T) {
	mem := vfsx.NewCrashableMem()
	if err := statement(t, mem, 1, "partitions", 0, 6); err != nil { // 0 3 | 1 4 | 2 5
		t.Fatal(err)
	}
	if err := statement(t, mem, 2, "partitions", 30, 31); err != nil { // 30 in the partition of 0 and 3
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values([]string{"1", "2", "4", "5", "30"}))
	if got := seen(t, mem); !slices.Equal(got, want) {
		t.Errorf("got %v want %v", got, want)
	}
	if err := statement(t, mem, 3, "partitions", 0, 0); err != nil {
		t.Fatal(err)
	}
	if got := seen(t, mem); !slices.Equal(got, want) {
		t.Errorf("no rows replaced %v", got)
	}
}

// straggling holds single steps of a disk back until many of other goroutines have passed.
type straggling struct {
	ops *sync.Cond // guards what follows

	r       *rand.Rand
	passed  int
	running int // goroutines that may still pass
	held    int // of those
}

func (s *straggling) step(op vfsx.Op) error {
	s.ops.L.Lock()
	defer s.ops.L.Unlock()
	s.passed++
	s.ops.Broadcast()
	if op.Kind != vfsx.OpLock && s.held+1 < s.running && s.r.IntN(40) == 0 {
		s.held++
		for until := s.passed + s.r.IntN(25); s.passed < until && s.held < s.running; {
			s.ops.Wait()
		}
		s.held--
	}
	return nil
}

func (s *straggling) add(n int) {
	s.ops.L.Lock()
	defer s.ops.L.Unlock()
	s.running += n
	s.ops.Broadcast()
}

// TestOverwritesAtOnce: each is before or after each other one, so the rows of one are
// left. Manifests are folded all the time, and each step of the disk may take long.
func TestOverwritesAtOnce(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		mem := vfsx.NewCrashableMem()
		slow := &straggling{ops: sync.NewCond(&sync.Mutex{}), r: rand.New(rand.NewPCG(uint64(round), 1))}
		fs := vfsx.Wrap(mem, vfsx.InjectorFunc(slow.step))
		var wg sync.WaitGroup
		errs := make([]error, 30)
		for i := range errs {
			f := open(t, fs, overwriteSpec(i, "table"), 1)
			f.sink.(*Sink).t.foldAt = 4
			parts, err := f.prepare(0, 0, 1000+10*i, 1003+10*i, 2)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				errs[i] = f.commit(0, parts)
				slow.add(-1)
			})
		}
		slow.add(len(errs))
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		got := seen(t, mem)
		if len(got) != 3 || got[0][:3] != got[2][:3] {
			t.Fatalf("round %d: got %v", round, got)
		}
	}
}

// TestReplacedFilesAreKeptForReaders that have listed them, however fast the overwrites
// come, and not for more of them than a bound.
func TestReplacedFilesAreKeptForReaders(t *testing.T) {
	t.Chdir(t.TempDir()) // files in memory have no time at which they were changed
	disk := vfsx.Default
	root := disk.PathJoin("out", manifest.Root, manifest.Overwriting, manifest.Retired)
	for n := range retiredMax + 4 {
		if err := statement(t, disk, n+1, "table", 10*n, 10*n+1); err != nil {
			t.Fatal(err)
		}
		held, err := disk.List(root)
		if n > 0 && (err != nil || len(held) != min(n, retiredMax)) {
			t.Fatalf("after %d overwrites the files of %d are kept: %v", n+1, len(held), err)
		}
	}
}

func TestOverwriteRefusesWhatItWouldBreak(t *testing.T) {
	mem := vfsx.NewCrashableMem()
	if err := open(t, mem, spec(sinks.Complete, false, nil), 1).run(0, 0, 3); err != nil {
		t.Fatal(err)
	}
	if err := statement(t, mem, 1, "table", 0, 1); err == nil || !strings.Contains(err.Error(), "output mode complete") {
		t.Error(err)
	}
}

// TestAQueryGoesOnInAnOverwrittenDirectory: its own newest files are gone, and that is no damage.
func TestAQueryGoesOnInAnOverwrittenDirectory(t *testing.T) {
	mem := vfsx.NewCrashableMem()
	if err := open(t, mem, spec(sinks.Append, false, nil), 1).run(0, 0, 3); err != nil {
		t.Fatal(err)
	}
	if err := statement(t, mem, 1, "table", 10, 12); err != nil {
		t.Fatal(err)
	}
	if err := open(t, mem, spec(sinks.Append, false, nil), 2).run(1, 3, 5); err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values([]string{"3", "4", "10", "11"}))
	if got := seen(t, mem); !slices.Equal(got, want) {
		t.Errorf("got %v want %v", got, want)
	}
}
