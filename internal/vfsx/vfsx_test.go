package vfsx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// content reads path, or returns "absent".
func content(t *testing.T, fs FS, path string) string {
	t.Helper()
	data, err := ReadFile(fs, path, 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return "absent"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestAtomicReplaceUnderEveryFaultAndCrash fails each file system operation of
// a replace in turn and then loses the power with different luck about what
// was not synced. F1: what is found is whole, and new if the call said so.
func TestAtomicReplaceUnderEveryFaultAndCrash(t *testing.T) {
	newer := strings.Repeat("new", 50_000)
	for n := int64(0); ; n++ {
		mem := NewCrashableMem()
		if err := MkdirAll(mem, "/q/ck", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := WriteFileAtomic(mem, "/q/ck/M", []byte("old")); err != nil {
			t.Fatal(err)
		}
		var hit bool
		inj := FailOnce(n, Writes)
		fs := Wrap(mem, InjectorFunc(func(op Op) error {
			err := inj.MaybeError(op)
			hit = hit || err != nil
			return err
		}))
		err := WriteFileAtomic(fs, "/q/ck/M", []byte(newer))
		if hit != (err != nil) || (err != nil && !errors.Is(err, ErrInjected)) {
			t.Fatalf("fault %d: hit %v, error %v", n, hit, err)
		}
		for _, percent := range []int{0, 50, 100} {
			clone := mem.CrashClone(CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, uint64(n)))})
			switch got := content(t, clone, "/q/ck/M"); {
			case got == newer:
			case got == "old" && err != nil:
			default:
				t.Fatalf("fault %d, %d%% of unsynced kept, error %v: found %d bytes", n, percent, err, len(got))
			}
		}
		if !hit {
			if n < 4 {
				t.Fatalf("only %d fault points: the test does not reach create, write, sync, rename and directory sync", n)
			}
			return
		}
	}
}

// TestReplaceWithoutSyncWouldBeCaught shows that the oracle above can fail: a
// plain write and rename loses the file.
func TestReplaceWithoutSyncWouldBeCaught(t *testing.T) {
	mem := NewCrashableMem()
	f, err := mem.Create("/M.tmp", Unspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), mem.Rename("/M.tmp", "/M")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, mem.CrashClone(CrashCloneCfg{}), "/M"); got == "new" {
		t.Fatal("the crash clone kept what was not synced")
	}
}

func TestReplaceFileKeepsTheOldWhenTheWriterFails(t *testing.T) {
	fs := NewMem()
	if err := WriteFileAtomic(fs, "/M", []byte("old")); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("encoder gave up")
	err := ReplaceFile(fs, "/M", func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return cause
	})
	if !errors.Is(err, cause) {
		t.Fatal(err)
	}
	names, err := fs.List("/")
	if err != nil || len(names) != 1 || content(t, fs, "/M") != "old" {
		t.Fatalf("left %v, %v", names, err)
	}
}

func TestWriteFileAtomicLeavesItsArgumentAlone(t *testing.T) {
	data := []byte("keep me")
	if err := WriteFileAtomic(NewMem(), "/M", data); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, []byte("keep me")) {
		t.Fatalf("became %q", data)
	}
}

func TestMkdirAllIsDurable(t *testing.T) {
	mem := NewCrashableMem()
	if err := MkdirAll(mem, "/a/b/c", 0o755); err != nil {
		t.Fatal(err)
	}
	clone := mem.CrashClone(CrashCloneCfg{})
	if _, err := clone.Stat("/a/b/c"); err != nil {
		t.Fatalf("F2: %v", err)
	}
	if err := MkdirAll(mem, "/a/b/c", 0o755); err != nil {
		t.Fatalf("again: %v", err)
	}
	if err := WriteFileAtomic(mem, "/a/f", nil); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(mem, "/a/f/g", 0o755); err == nil {
		t.Fatalf("a file in the way: %v", err)
	}
}

func TestOnTheRealDiskWithRelativePaths(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := MkdirAll(Default, filepath.Join("ck", "hot"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join("ck", "hot", "M"), "top"} {
		for i := range 2 {
			want := fmt.Sprintf("version %d", i)
			if err := WriteFileAtomic(Default, path, []byte(want)); err != nil {
				t.Fatal(err)
			}
			if got := content(t, Default, path); got != want {
				t.Fatalf("%s holds %q", path, got)
			}
		}
	}
	if _, err := os.Stat("top" + TempSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("temporary file left: %v", err)
	}
}

func TestReadFileRefusesWhatIsTooLarge(t *testing.T) {
	fs := NewMem()
	if err := WriteFileAtomic(fs, "/M", make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadFile(fs, "/M", 100); err != nil || len(data) != 100 {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if _, err := ReadFile(fs, "/M", 99); err == nil {
		t.Fatal("a file above the limit was read")
	}
}

func TestFullDiskRefusesWritesUntilThereIsSpace(t *testing.T) {
	var full atomic.Bool
	fs := Wrap(NewMem(), FullDisk(&full, syscall.ENOSPC))
	if err := WriteFileAtomic(fs, "/M", []byte("old")); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if err := WriteFileAtomic(fs, "/M", []byte("new")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	if got := content(t, fs, "/M"); got != "old" {
		t.Fatalf("holds %q", got)
	}
	full.Store(false)
	if err := WriteFileAtomic(fs, "/M", []byte("new")); err != nil {
		t.Fatal(err)
	}
}

func TestRandomFaultsRepeatWithTheirSeed(t *testing.T) {
	run := func(seed int64) (trace string) {
		fs := Wrap(NewMem(), FailWhen(Writes, Randomly(0.2, seed)))
		for i := range 40 {
			err := WriteFileAtomic(fs, fmt.Sprintf("/f%d", i%4), []byte("x"))
			trace += fmt.Sprint(err == nil, " ")
		}
		return trace
	}
	if a, b := run(3), run(3); a != b {
		t.Fatalf("one seed, two traces:\n%s\n%s", a, b)
	}
	if run(3) == run(4) {
		t.Fatal("two seeds, one trace")
	}
}
