package memory

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	arrow "github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReserveCountsAtEveryLevelAndRefusesAtTheFullOne(t *testing.T) {
	b := NewBudget(1000)
	q := b.Child("query hot", 600)
	op := q.Child("aggregate#2", 0)
	other := b.Child("query cold", 0)

	if err := op.Reserve(500); err != nil {
		t.Fatal(err)
	}
	if err := other.Reserve(300); err != nil {
		t.Fatal(err)
	}
	if b.Used() != 800 || q.Used() != 500 || op.Used() != 500 {
		t.Fatalf("Y2: used %d, %d, %d", b.Used(), q.Used(), op.Used())
	}
	err := op.Reserve(101)
	var le *LimitError
	if !errors.As(err, &le) || le.Scope != "query hot" || le.By != "query hot/aggregate#2" || le.InUse != 500 || le.Limit != 600 {
		t.Fatalf("got %v", err)
	}
	if kind, retry := batch.KindOf(fmt.Errorf("task 1: %w", err)); kind != batch.User || retry {
		t.Fatalf("kind %v, retry %v", kind, retry)
	}
	for _, want := range []string{"600 B", "101 B", "500 B", "aggregate#2", "raise query.memory-limit"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if err := other.Reserve(201); !errors.As(err, &le) || le.Scope != "process" {
		t.Fatalf("the process's limit: %v", err)
	}
	if b.Used() != 800 || q.Used() != 500 || other.Used() != 300 {
		t.Fatal("a refused request left something behind")
	}
	op.Release(500)
	other.Release(300)
	if b.Used() != 0 || b.Peak() != 800 || q.Peak() != 500 {
		t.Fatalf("used %d, peaks %d and %d", b.Used(), b.Peak(), q.Peak())
	}
}

func TestAHugeRequestDoesNotOverflow(t *testing.T) {
	b := NewBudget(1 << 20)
	if err := b.Reserve(10); err != nil {
		t.Fatal(err)
	}
	if err := b.Reserve(1<<63 - 1); err == nil {
		t.Fatal("granted")
	}
}

func TestSpillersAreAskedLargestFirstBeforeRefusing(t *testing.T) {
	b := NewBudget(1000)
	var asked []string
	user := func(name string, holds int64, gives bool) *Tracker {
		c := b.Child(name, 0)
		if err := c.Reserve(holds); err != nil {
			t.Fatal(err)
		}
		c.OnSpill(func(need int64) int64 {
			asked = append(asked, fmt.Sprintf("%s:%d", name, need))
			if !gives {
				return 0
			}
			n := c.Used()
			c.Release(n)
			return n
		})
		return c
	}
	user("small", 100, true)
	user("large", 500, false)
	user("middle", 300, true)
	asker := b.Child("asker", 0)
	if err := asker.Reserve(400); err != nil {
		t.Fatal(err)
	}
	want := "[large:400 middle:400 small:100]"
	if got := fmt.Sprint(asked); got != want {
		t.Fatalf("asked %s, want %s", got, want)
	}
	if b.Used() != 900 {
		t.Fatalf("used %d", b.Used())
	}
	if err := asker.Reserve(400); err == nil {
		t.Fatal("granted although nobody could give")
	}
	u := b.Usage()
	if u[0].Refused != 1 || u[0].Spills < 2 || len(u) != 5 || u[4].Path != "asker" {
		t.Fatalf("usage %+v", u)
	}
}

func TestASpillerBelowAnotherLimitIsLeftAlone(t *testing.T) {
	b := NewBudget(0)
	full, other := b.Child("full", 100), b.Child("other", 100)
	cancelled := full.OnSpill(func(int64) int64 { t.Error("asked after cancel"); return 0 })
	cancelled()
	other.OnSpill(func(int64) int64 { t.Error("asked for another query's limit"); return 0 })
	if err := full.Reserve(101); err == nil {
		t.Fatal("granted")
	}
}

func TestUnderPressureComesBeforeRefusal(t *testing.T) {
	b := NewBudget(1000)
	c := b.Child("q", 0)
	if err := c.Reserve(800); err != nil || c.UnderPressure() {
		t.Fatalf("at 80 %%: %v, pressure %v", err, c.UnderPressure())
	}
	if err := c.Reserve(1); err != nil || !c.UnderPressure() {
		t.Fatalf("above 80 %%: %v, pressure %v", err, c.UnderPressure())
	}
	if NewBudget(0).UnderPressure() {
		t.Fatal("pressure without a limit")
	}
}

// build makes an Int64 array of n values and releases it.
func build(alloc arrow.Allocator, n int) {
	bld := array.NewInt64Builder(alloc)
	defer bld.Release()
	for i := range n {
		bld.Append(int64(i))
	}
	bld.NewArray().Release()
}

func TestAllocatorAgreesWithArrowsOwnCount(t *testing.T) {
	checked := arrow.NewCheckedAllocator(arrow.NewGoAllocator())
	defer checked.AssertSize(t, 0)
	b := NewBudget(1 << 20)
	alloc := b.Child("q", 0).Allocator(checked)
	bld := array.NewStringBuilder(alloc)
	for i := range 1000 {
		bld.Append(strings.Repeat("x", i%50))
		if got, want := b.Used(), int64(checked.CurrentAlloc()); got != want {
			t.Fatalf("after %d values the budget says %d and Arrow %d", i, got, want)
		}
	}
	arr := bld.NewArray()
	bld.Release()
	if b.Used() == 0 {
		t.Fatal("nothing counted")
	}
	arr.Release()
	if b.Used() != 0 {
		t.Fatalf("%d bytes left", b.Used())
	}
}

func TestTheAllocatorsPanicIsAUserError(t *testing.T) {
	b := NewBudget(4096)
	task := b.Child("q", 0)
	var kept []byte
	run := func() (err error) {
		defer func() { err, _ = recover().(error) }()
		kept = task.Allocator(nil).Allocate(64)
		build(task.Allocator(nil), 10_000)
		return nil
	}
	err := run()
	var le *LimitError
	if kind, _ := batch.KindOf(err); kind != batch.User || !errors.As(err, &le) || le.Limit != 4096 {
		t.Fatalf("got %v of kind %v", err, kind)
	}
	task.Close()
	if b.Used() != 0 {
		t.Fatalf("Y3: %d bytes left after Close", b.Used())
	}
	if err := b.Child("next", 0).Reserve(4096); err != nil {
		t.Fatalf("the memory is not free for the next query: %v", err)
	}
	task.Allocator(nil).Free(kept)
	if b.Used() != 4096 {
		t.Fatalf("a buffer freed after Close took %d bytes from somebody else", 4096-b.Used())
	}
	if err := task.Reserve(0); err != nil {
		t.Fatal(err)
	}
	if err := NewBudget(0).Child("q", 0).Reserve(1); err != nil {
		t.Fatal(err)
	}
}

func TestReserveAfterCloseIsABug(t *testing.T) {
	b := NewBudget(100)
	q := b.Child("q", 0)
	q.Close()
	q.Close()
	err := q.Reserve(10)
	if kind, _ := batch.KindOf(err); err == nil || kind != batch.Internal || b.Used() != 0 {
		t.Fatalf("got %v of kind %v, %d used", err, kind, b.Used())
	}
}

// TestManyGoroutinesStayWithinTheLimit takes and gives back at random from all
// levels, with spillers and closing, and looks at every level all the while.
func TestManyGoroutinesStayWithinTheLimit(t *testing.T) {
	const workers, steps, limit = 8, 3000, 10_000
	b := NewBudget(limit)
	var granted, refused atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			q := b.Child(fmt.Sprint("q", w), limit/2)
			cancel := q.OnSpill(func(int64) int64 { return 0 })
			defer cancel()
			held := int64(0)
			for range steps {
				n := r.Int64N(limit / 4)
				switch err := q.Reserve(n); {
				case err == nil:
					held += n
					granted.Add(1)
				default:
					refused.Add(1)
					q.Release(held)
					held = 0
				}
				if used := b.Used(); used < 0 || used > limit {
					t.Errorf("Y1: %d in use", used)
				}
				if q.Used() != held {
					t.Errorf("Y2: tracker says %d, holder %d", q.Used(), held)
				}
			}
			q.Close()
		})
	}
	wg.Wait()
	if b.Used() != 0 || granted.Load() == 0 || refused.Load() == 0 {
		t.Fatalf("used %d, granted %d, refused %d", b.Used(), granted.Load(), refused.Load())
	}
	if len(b.Usage()) != 1 {
		t.Fatalf("closed trackers are still listed: %v", b.Usage())
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 3 << 29: "1.5 GiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d prints as %q, want %q", n, got, want)
		}
	}
}

func BenchmarkReserveRelease(b *testing.B) {
	t := NewBudget(1<<40).Child("q", 0).Child("op", 0)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := t.Reserve(64); err != nil {
				b.Fatal(err)
			}
			t.Release(64)
		}
	})
}

// sized has buffers of whole kilobytes, and tells which of them it need not clear.
type sized struct {
	arrow.Allocator
	dirty *int
}

func (sized) Size(n int) int { return (n + 1023) &^ 1023 }

func (s sized) Allocate(n int) []byte { return s.Allocator.Allocate(s.Size(n))[:n] }

func (s sized) Uncleared() arrow.Allocator { return dirtied{s} }

type dirtied struct{ sized }

func (d dirtied) Allocate(n int) []byte {
	*d.dirty++
	return d.sized.Allocate(n)
}

// TestUnclearedCounts pins that buffers that are not cleared count as others do, and that
// an allocator without such gives its own.
func TestUnclearedCounts(t *testing.T) {
	dirty := 0
	b := NewBudget(1 << 20)
	a := b.Child("task", 0).Allocator(sized{arrow.NewGoAllocator(), &dirty})
	buf := arrow.NewResizableBuffer(Uncleared(a))
	buf.Resize(1500)
	if dirty != 1 || b.Used() != 2048 {
		t.Fatalf("%d buffers are not cleared, %d bytes are used", dirty, b.Used())
	}
	buf.Release()
	if b.Used() != 0 {
		t.Fatalf("%d bytes are used at the end", b.Used())
	}
	plain := arrow.NewGoAllocator()
	if got := Uncleared(plain); got != arrow.Allocator(plain) {
		t.Fatalf("got %T", got)
	}
}
