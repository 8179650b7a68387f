//go:build synctests

package bubble

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

// tasks counts how often each task has begun, and lets some of them take their time.
type tasks struct {
	mu    sync.Mutex
	begun map[string]int
	slow  time.Duration
	waits chan struct{} // closed when one takes its time; nil if none is to
}

func (k *tasks) begin(ctx context.Context, what string) error {
	k.mu.Lock()
	k.begun[what]++
	slow := k.slow
	if slow > 0 && k.waits != nil {
		close(k.waits)
		k.waits = nil
	}
	k.mu.Unlock()
	select {
	case <-time.After(slow):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// slowly lets tasks take their time from now on; begun is closed when one does.
func (k *tasks) slowly(d time.Duration) (begun <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slow, k.waits = d, make(chan struct{})
	return k.waits
}

type countedOpener struct {
	sources.Opener
	k *tasks
}

func (o countedOpener) Open(ctx context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	if err := o.k.begin(ctx, fmt.Sprintf("split %d %s", s.Index, s.Payload)); err != nil {
		return nil, err
	}
	return o.Opener.Open(ctx, s, columns, alloc)
}

type countedWriters struct {
	sinks.WriterFactory
	sink string
	k    *tasks
}

func (f countedWriters) NewWriter(ctx context.Context, a sinks.Attempt, schema *arrow.Schema, alloc memory.Allocator) (sinks.Writer, error) {
	if err := f.k.begin(ctx, fmt.Sprintf("sink %s batch %d stage %d partition %d", f.sink, a.Task.Batch, a.Task.Stage, a.Task.Partition)); err != nil {
		return nil, err
	}
	return f.WriterFactory.NewWriter(ctx, a, schema, alloc)
}

// killed has tasks take their time, and kills the leader in the midst of it.
func (w *world) killed(slow, within time.Duration) {
	begun := w.tasks.slowly(slow)
	w.user.write(20)
	<-begun
	pause(time.Duration(w.rng.Int64N(int64(within))))
	l := w.leader()
	w.fell(l)
	pause(time.Minute)
	w.tasks.slowly(0)
	w.raise(l)
	pause(20 * time.Second)
}

// TestALeaderChangeRestartsNoTask kills the leader while tasks of seconds run, all of which
// end after that. The next one goes on with them: none has begun twice. Then leaders are
// killed at any moment of a batch. The outputs are right.
func TestALeaderChangeRestartsNoTask(t *testing.T) {
	for seed := range uint64(3) {
		adopted := 0
		w := bubbled(t, seed, "", func(w *world) {
			w.standbys = 0 // with copies tasks are begun again
			w.tasks = &tasks{begun: map[string]int{}}
			w.raiseAll()
			w.user.write(20)
			pause(20 * time.Second)
			for range 3 {
				w.killed(4*time.Second, 3500*time.Millisecond)
			}
			adopted = w.hit("task adopted")
			w.checkBegun()
			for range 3 {
				w.killed(4*time.Second, 20*time.Second)
			}
			w.user.finish()
			w.settle()
		})
		w.report(t)
		if adopted < 3 {
			t.Errorf("seed %d: %d tasks were adopted", seed, adopted)
		}
		t.Logf("%d tasks begun, %d adopted, and %d later", len(w.tasks.begun), adopted, w.hit("task adopted")-adopted)
	}
}

func (w *world) hit(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.hits[what]
}

// checkBegun holds that no task has begun twice.
func (w *world) checkBegun() {
	w.tasks.mu.Lock()
	defer w.tasks.mu.Unlock()
	for what, n := range w.tasks.begun {
		want := 1
		if strings.HasPrefix(what, "split") {
			want = len(w.query.targets) // each of them is computed from a scan of its own
		}
		if n != want {
			w.violated("%s: begun %d times, want %d", what, n, want)
		}
	}
}
