package bucket

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// objects is a folder of objects in memory.
type objects struct {
	mu   sync.Mutex // guards the rest
	all  map[string][]byte
	puts int
	// fault, if not nil, is asked before each request; done says whether the request
	// is carried out all the same.
	fault func(op, name string) (err error, done bool)
	// lag is how many changes a list is behind; past are the names after each of the last ones.
	lag  int
	past [][]string
}

// lagMax is how far lists may be behind.
const lagMax = 40

// changed remembers the names for lists that are behind.
func (o *objects) changed() {
	o.past = append(o.past, slices.Collect(maps.Keys(o.all)))
	o.past = o.past[max(0, len(o.past)-lagMax-1):]
}

var errFault = errors.New("injected fault")

func newObjects() *objects { return &objects{all: map[string][]byte{}} }

func (o *objects) do(op, name string, f func() error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault != nil {
		if err, done := o.fault(op, name); err != nil {
			if done {
				_ = f()
			}
			return err
		}
	}
	return f()
}

func (o *objects) Put(_ context.Context, name string, body io.ReaderAt, size int64, _ uint64) error {
	b := make([]byte, size)
	if _, err := body.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return o.do("put", name, func() error {
		if was, ok := o.all[name]; ok && !bytes.Equal(was, b) {
			return checkpoint.ErrExists
		}
		o.all[name] = b
		o.puts++
		o.changed()
		return nil
	})
}

func (o *objects) Get(_ context.Context, name string, _ int64) (b []byte, err error) {
	return b, o.do("get", name, func() error {
		was, ok := o.all[name]
		if !ok {
			return os.ErrNotExist
		}
		b = bytes.Clone(was)
		return nil
	})
}

func (o *objects) Size(ctx context.Context, name string) (int64, error) {
	b, err := o.Get(ctx, name, 0)
	return int64(len(b)), err
}

func (o *objects) ReadAt(ctx context.Context, name string, p []byte, off int64) error {
	b, err := o.Get(ctx, name, 0)
	if err == nil && off+int64(len(p)) > int64(len(b)) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		copy(p, b[off:])
	}
	return err
}

func (o *objects) List(context.Context) (names []string, err error) {
	return names, o.do("list", "", func() error {
		names = slices.Collect(maps.Keys(o.all))
		if o.lag > 0 && len(o.past) > 0 {
			names = slices.Clone(o.past[max(0, len(o.past)-1-o.lag)])
		}
		return nil
	})
}

func (o *objects) Delete(_ context.Context, name string) error {
	return o.do("delete", name, func() error { delete(o.all, name); o.changed(); return nil })
}

func (o *objects) Owned(context.Context) error { return nil }
func (o *objects) String() string              { return "s3://bucket/ck" }

// place opens a checkpoint in the objects under a folder of its own, as another
// machine would.
func place(t *testing.T, journal *objects, set func(*Options)) *Place {
	t.Helper()
	opt := Options{Dir: filepath.Join(t.TempDir(), "ck"), Journal: journal, State: newObjects(), PauseMin: time.Microsecond, TriesMax: 3}
	if set != nil {
		set(&opt)
	}
	p, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func openLog(t *testing.T, p *Place) *filelog.Log {
	t.Helper()
	p.TakeOver(true)
	log, err := filelog.Open(filelog.Options{Dir: p.Dir(), Metadata: filelog.Metadata{Name: "q"}, SegmentBytesMax: 500})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func planned(id batch.ID, term batch.Term) microbatch.Record {
	return microbatch.Planned{Batch: id, Term: term, PlanHash: strings.Repeat("h", 50)}
}

func count(t *testing.T, log *filelog.Log) int {
	t.Helper()
	n := 0
	for _, err := range log.Replay(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestTakenOver: of two processes with one batch log the newer one wins, the older
// changes nothing any more, and nothing that was appended is lost (C17, C20).
func TestTakenOver(t *testing.T) {
	for name, keep := range map[string]time.Duration{"records stay": time.Hour, "records go": 1} {
		t.Run(name, func(t *testing.T) {
			j := newObjects()
			set := func(o *Options) { o.KeepMin, o.RecordsMax = keep, 3 }
			a := place(t, j, set)
			log := openLog(t, a)
			for id := range batch.ID(30) {
				if err := log.Append(t.Context(), 1, planned(id, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Storage().Owned(t.Context()); err != nil {
				t.Fatal(err)
			}
			b := place(t, j, set)
			if _, err := filelog.Open(filelog.Options{Dir: b.Dir()}); !errors.Is(err, filelog.ErrInUse) || !strings.Contains(err.Error(), "process") {
				t.Fatalf("without taking over: %v", err)
			}
			newer := openLog(t, b)
			if n := count(t, newer); n != 30 {
				t.Fatalf("%d records, want 30", n)
			}
			for id := range batch.ID(20) {
				if err := newer.Append(t.Context(), 2, planned(30+id, 2)); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Storage().Owned(t.Context()); !errors.Is(err, batch.ErrFenced) {
				t.Errorf("the older may delete files: %v", err)
			}
			if err := log.Append(t.Context(), 1, planned(30, 1)); !errors.Is(err, batch.ErrFenced) || !strings.Contains(err.Error(), "taken over") {
				t.Errorf("the older appends: %v", err)
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
			if err := newer.Close(); err != nil {
				t.Fatal(err)
			}
			again := openLog(t, place(t, j, set))
			if n := count(t, again); n != 50 {
				t.Errorf("%d records, want 50", n)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestZombie: a process that stood still finds the number that it would write next
// free again, and is fenced all the same.
func TestZombie(t *testing.T) {
	j := newObjects()
	set := func(o *Options) { o.KeepMin, o.RecordsMax = 1, 2 }
	a := place(t, j, set)
	log := openLog(t, a)
	if err := log.Append(t.Context(), 1, planned(0, 1)); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	next := recordName(a.mu.seq + 1)
	a.mu.Unlock()
	b := place(t, j, set)
	newer := openLog(t, b)
	for id := batch.ID(1); ; id++ {
		if err := newer.Append(t.Context(), 2, planned(id, 2)); err != nil {
			t.Fatal(err)
		}
		b.wg.Wait()
		if _, err := j.Get(t.Context(), next, 0); err != nil && id > 10 {
			break
		}
		if id > 100 {
			t.Fatal("old records are not deleted")
		}
	}
	if err := a.Storage().Owned(t.Context()); !errors.Is(err, batch.ErrFenced) {
		t.Errorf("it may delete files: %v", err)
	}
	a.mu.Lock()
	a.mu.broken = nil // as if it had not asked
	a.mu.Unlock()
	if err := log.Append(t.Context(), 1, planned(1, 1)); !errors.Is(err, batch.ErrFenced) {
		t.Errorf("it appends: %v", err)
	}
	if err := errors.Join(log.Close(), newer.Close()); err != nil {
		t.Error(err)
	}
}

// TestFaults: requests that fail, whether they were carried out or not, lose and
// double nothing; when they go on, the log says so and takes nothing more.
func TestFaults(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		j := newObjects()
		set := func(o *Options) { o.KeepMin, o.RecordsMax, o.TriesMax = 1, 3, 4 }
		done := batch.ID(0)
		for life := range 6 {
			p := place(t, j, set)
			log := openLog(t, p)
			first := batch.None
			have := 0
			for rec, err := range log.Replay(t.Context(), 0) {
				if err != nil {
					t.Fatal(err)
				}
				if first == batch.None {
					first = rec.ID()
				}
				if rec.ID() != first+batch.ID(have) {
					t.Fatalf("seed %d: record %d is of batch %d", seed, have, rec.ID())
				}
				have++
			}
			if batch.ID(have) < done {
				t.Fatalf("seed %d life %d: %d records, and %d were durable", seed, life, have, done)
			}
			done = batch.ID(have)
			j.mu.Lock()
			j.fault = func(op, _ string) (error, bool) {
				if rng.IntN(10) < 4 {
					return fmt.Errorf("%s: %w", op, errFault), rng.IntN(2) == 0
				}
				return nil, false
			}
			j.mu.Unlock()
			for range 40 {
				if err := log.Append(t.Context(), batch.Term(life+1), planned(done, batch.Term(life+1))); err != nil {
					if !errors.Is(err, errFault) {
						t.Fatalf("seed %d: %v", seed, err)
					}
					if err := log.Append(t.Context(), batch.Term(life+1), planned(done+1, batch.Term(life+1))); err == nil {
						t.Fatalf("seed %d: it goes on after %v", seed, err)
					}
					break
				}
				done++
			}
			p.wg.Wait()
			j.mu.Lock()
			j.fault = nil
			j.mu.Unlock()
			_ = log.Close() // as a killed process: the next one takes over
		}
	}
}

// TestStaleLists: lists that are behind, by some objects or by all, hide nothing that
// was durable from whoever takes over: the end of the journal is never found by them
// alone (E7).
func TestStaleLists(t *testing.T) {
	behind := 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 3))
		j := newObjects()
		set := func(o *Options) { o.KeepMin, o.RecordsMax = time.Hour, 3 }
		done := batch.ID(0)
		for life := range 8 {
			j.mu.Lock()
			j.lag = rng.IntN(lagMax)
			j.mu.Unlock()
			p := place(t, j, set)
			log := openLog(t, p)
			if have := count(t, log); batch.ID(have) != done {
				t.Fatalf("seed %d life %d, lists %d behind: %d records, and %d are durable", seed, life, j.lag, have, done)
			}
			if done > 0 && j.lag > 0 {
				behind++
			}
			for range 1 + rng.IntN(9) {
				if err := log.Append(t.Context(), batch.Term(life+1), planned(done, batch.Term(life+1))); err != nil {
					t.Fatal(err)
				}
				done++
			}
			p.wg.Wait()
			_ = log.Close() // as a killed process
		}
	}
	if behind < 30 {
		t.Errorf("only %d lives began with a list that was behind", behind)
	}
}

// TestModel: files below the folder behave as on a disk, and what was synced is there
// for a machine that has never seen them.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		j := newObjects()
		set := func(o *Options) { o.KeepMin, o.RecordsMax = 1, 4 }
		p := place(t, j, set)
		model := map[string]string{}
		names := []string{"a", "d/b", "d/e/c"}
		check := func(p *Place, when string) {
			for _, n := range names {
				b, err := vfsx.ReadFile(vfsx.Default, filepath.Join(p.Dir(), n), 1<<20)
				if want, ok := model[n]; ok != (err == nil) || string(b) != want {
					t.Fatalf("seed %d, %s: %s is %q %v, want %q %v", seed, when, n, b, err, want, ok)
				}
			}
		}
		for step := range 60 {
			n := names[rng.IntN(len(names))]
			path := filepath.Join(p.Dir(), n)
			data := fmt.Sprintf("%d-%d", step, rng.IntN(1000))
			var err error
			switch rng.IntN(5) {
			case 4: // as a claim is made: the first one stays
				tmp := path + vfsx.TempSuffix
				if err = vfsx.MkdirAll(vfsx.Default, filepath.Dir(path), 0o700); err == nil {
					err = vfsx.WriteFileAtomic(vfsx.Default, tmp, []byte(data))
				}
				if err == nil {
					err = vfsx.Default.Link(tmp, path)
				}
				if _, ok := model[n]; ok == errors.Is(err, os.ErrExist) && ok {
					err = nil
				} else if err == nil {
					model[n] = data
				}
				err = errors.Join(err, vfsx.Default.Remove(tmp), vfsx.SyncDir(vfsx.Default, filepath.Dir(path)))
			case 0:
				if err = vfsx.MkdirAll(vfsx.Default, filepath.Dir(path), 0o700); err == nil {
					err = vfsx.WriteFileAtomic(vfsx.Default, path, []byte(data))
				}
				model[n] = data
			case 1, 2:
				was, ok := model[n]
				if !ok {
					continue
				}
				var f vfsx.File
				at := rng.IntN(len(was) + 1)
				if f, err = vfsx.Default.OpenReadWrite(path, vfsx.Unspecified); err == nil {
					_, err = f.WriteAt([]byte(data), int64(at))
					err = errors.Join(err, f.Sync(), f.Close())
				}
				model[n] = was[:at] + data
				if tail := at + len(data); tail < len(was) {
					model[n] += was[tail:]
				}
			case 3:
				if _, ok := model[n]; !ok {
					continue
				}
				err = errors.Join(vfsx.Default.Remove(path), vfsx.SyncDir(vfsx.Default, filepath.Dir(path)))
				delete(model, n)
			}
			if err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			check(p, fmt.Sprint("step ", step))
		}
		p.wg.Wait()
		check(place(t, j, set), "elsewhere")
	}
}

// TestDamage: a byte that is wrong, a record that is missing or another's, and a newer
// version are refused by name.
func TestDamage(t *testing.T) {
	j := newObjects()
	p := place(t, j, nil)
	for i := range 4 {
		if err := vfsx.WriteFileAtomic(vfsx.Default, filepath.Join(p.Dir(), "f"), fmt.Appendf(nil, "content %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	try := func(what, name, want string, is error, change func(all map[string][]byte)) {
		t.Helper()
		bad := newObjects()
		for n, b := range j.all {
			bad.all[n] = bytes.Clone(b)
		}
		change(bad.all)
		_, err := vfsx.ReadFile(vfsx.Default, filepath.Join(place(t, bad, nil).Dir(), "f"), 100)
		if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range j.all[recordName(2)] {
		is := ErrDamaged
		if i == len(magic)-1 {
			is = nil // another version
		}
		try(fmt.Sprint("byte ", i), recordName(2), "", is, func(all map[string][]byte) { all[recordName(2)][i] ^= 0x10 })
	}
	try("cut", recordName(2), "", ErrDamaged, func(all map[string][]byte) { all[recordName(2)] = all[recordName(2)][:20] })
	try("empty", recordName(2), "", ErrDamaged, func(all map[string][]byte) { all[recordName(2)] = nil })
	try("zeroed", recordName(2), "", ErrDamaged, func(all map[string][]byte) { clear(all[recordName(2)][len(all[recordName(2)])/2:]) })
	try("a tail", recordName(2), "", ErrDamaged, func(all map[string][]byte) { all[recordName(2)] = append(all[recordName(2)], "and more"...) })
	try("missing", recordName(2), "is not", ErrDamaged, func(all map[string][]byte) { delete(all, recordName(2)) })
	try("swapped", recordName(2), "number 3", ErrDamaged, func(all map[string][]byte) { all[recordName(2)] = all[recordName(3)] })
	try("newer", recordName(2), "version is 2", nil, func(all map[string][]byte) { all[recordName(2)][len(magic)-1] = 2 })
}

// TestOldBytes: what the first version has written is read (docs/formats/README.md, rule 5).
func TestOldBytes(t *testing.T) {
	const old = "736c756963656a010102030000000000000000000000000007000000000000000300000046056c6f672f610002" +
		"787957056c6f672f6102017a520162000089f12cbcaf7ba6c2"
	raw, err := hex.DecodeString(old)
	if err != nil {
		t.Fatal(err)
	}
	if b := encode([16]byte{1, 2, 3}, 7, []change{{kind: opFile, path: "log/a", data: []byte("xy")},
		{kind: opWrite, path: "log/a", at: 2, data: []byte("z")}, {kind: opRemove, path: "b"}}); !bytes.Equal(b, raw) {
		t.Errorf("the form has changed: %x", b)
	}
	writer, cs, err := decode(raw, 7)
	if err != nil || writer != [16]byte{1, 2, 3} || len(cs) != 3 || cs[1].at != 2 || string(cs[1].data) != "z" || cs[2].kind != opRemove {
		t.Fatalf("%v %+v", err, cs)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode([16]byte{9}, 3, []change{{kind: opFile, path: "a/b", data: []byte("x")}}), uint64(3))
	f.Fuzz(func(t *testing.T, b []byte, seq uint64) {
		w, cs, err := decode(b, seq)
		if err == nil && !bytes.Equal(encode(w, seq, cs), b) {
			t.Error("it is not written as it was read")
		}
	})
}

// TestRuns: a run that the cache has not is read from the store.
func TestRuns(t *testing.T) {
	p := place(t, newObjects(), nil)
	body := bytes.Repeat([]byte("0123456789"), 1000)
	if err := p.opt.State.Put(t.Context(), "run", bytes.NewReader(body), int64(len(body)), 1); err != nil {
		t.Fatal(err)
	}
	b, err := vfsx.ReadFile(vfsx.Default, filepath.Join(p.Dir(), "state", "run"), 1<<20)
	if err != nil || !bytes.Equal(b, body) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := vfsx.Default.Open(filepath.Join(p.Dir(), "state", "other")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run that is nowhere: %v", err)
	}
}
