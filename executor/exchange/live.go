package exchange

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/sources"
)

// live is the output of a task that its one reader follows while it is made. All of
// it is guarded by Outputs.mu.
type live struct {
	queue    []arrow.RecordBatch // made and not yet read
	sizes    []int64
	writing  bool // a LiveWriter has been made for it
	followed bool
	done     bool // nothing is added any more
	gone     bool // the attempt was given up: what is read next is ErrGivenUp
	more     chan struct{}
}

// attempt names an attempt at a task: a reader of one that fails must not get rows of the next.
type attempt struct {
	Ref
	number int
}

// LiveWriter takes the output of one attempt at a task whose rows go to the client.
// They can be read as they come, once, by one reader. It is used by one goroutine.
type LiveWriter struct {
	outputs *Outputs
	ref     attempt
	out     *live
	yield   func() (resume func())
	own     own
}

// Within makes the writer wait for its reader when the query is short of memory of its
// own, as short reports, or its output takes an eighth of budget; nil and 0 never do. It
// returns w.
func (w *LiveWriter) Within(short func() bool, budget int64) *LiveWriter {
	w.own = own{short, budget}
	return w
}

// LiveWriter starts an output that is followed. While Append waits for the reader
// it has called yield, if that is not nil, and calls what that returned when it goes on.
func (o *Outputs) LiveWriter(task Ref, number int, yield func() (resume func())) *LiveWriter {
	o.mu.Lock()
	defer o.mu.Unlock()
	ref := attempt{task, number}
	l := o.liveLocked(ref)
	l.writing = true
	return &LiveWriter{outputs: o, ref: ref, out: l, yield: yield}
}

func (o *Outputs) liveLocked(ref attempt) *live {
	l := o.mu.live[ref]
	if l == nil {
		l = &live{more: make(chan struct{}, 1)}
		o.mu.live[ref] = l
	}
	return l
}

// Follow reads the output of an attempt at a task of the client's stage, as it is
// made. It may come before the attempt does, which it waits for.
func (o *Outputs) Follow(task Ref, number int) (sources.Reader, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.closed {
		return nil, fmt.Errorf("follow task %d of stage %d: the store is closed", task.Task, task.Stage)
	}
	ref := attempt{task, number}
	l := o.liveLocked(ref)
	if l.followed {
		return nil, fmt.Errorf("the rows of task %d of stage %d are being read already", ref.Task, ref.Stage)
	}
	l.followed = true
	o.roomLocked() // who is read may go on, however little memory there is
	return &follower{outputs: o, ref: ref, out: l}, nil
}

// roomLocked wakes the writers that wait.
func (o *Outputs) roomLocked() {
	if o.mu.room != nil {
		close(o.mu.room)
		o.mu.room = nil
	}
}

// madeLocked is a live output that is complete and that nobody reads, if there is one.
func (o *Outputs) madeLocked(task Ref) (*live, attempt) {
	for ref, l := range o.mu.live {
		if ref.Ref == task && l.done && !l.followed {
			return l, ref
		}
	}
	return nil, attempt{}
}

func (l *live) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// Append adds a batch, borrowed. It waits while as much lies here as may: half of
// what exchanges may keep in memory, for all tasks together. Nothing goes to disk, and
// the task that is being read goes on in any case, a batch at a time.
func (w *LiveWriter) Append(ctx context.Context, rec arrow.RecordBatch) error {
	if rec.NumRows() == 0 {
		return nil
	}
	size := gather.BatchBytes(rec)
	room, err := w.put(rec, size)
	if room == nil {
		return err
	}
	if w.yield != nil {
		defer w.yield()()
	}
	for room != nil {
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if room, err = w.put(rec, size); err != nil {
			return err
		}
	}
	return nil
}

// put adds a batch, or returns what is closed when there may be room for it.
func (w *LiveWriter) put(rec arrow.RecordBatch, size int64) (room <-chan struct{}, err error) {
	o, l := w.outputs, w.out
	short := o.opt.Pressure != nil && o.opt.Pressure() || w.own.isShort()
	limit := o.opt.limit() / 2
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case l.gone:
		return nil, fmt.Errorf("output of task %d of stage %d: %w", w.ref.Task, w.ref.Stage, batch.ErrGivenUp)
	case l.followed && len(l.queue) == 0:
	case short || o.mu.liveBytes+size > limit || w.own.budget > 0 && o.mu.byKey[w.ref.Key].live+size > w.own.budget/8:
		if o.mu.room == nil {
			o.mu.room = make(chan struct{})
		}
		return o.mu.room, nil
	}
	rec.Retain()
	l.queue, l.sizes = append(l.queue, rec), append(l.sizes, size)
	o.countLocked(w.ref.Key, size, size)
	l.wake()
	return nil, nil
}

// Commit says that nothing more comes.
func (w *LiveWriter) Commit() error {
	w.outputs.mu.Lock()
	defer w.outputs.mu.Unlock()
	if w.out == nil {
		return fmt.Errorf("output of task %d of stage %d is committed twice", w.ref.Task, w.ref.Stage)
	}
	l := w.out
	w.out = nil
	if l.gone {
		return fmt.Errorf("output of task %d of stage %d: %w", w.ref.Task, w.ref.Stage, batch.ErrGivenUp)
	}
	l.done = true
	l.wake()
	return nil
}

// Discard throws away what was not read; its reader is told. After Commit it does nothing.
func (w *LiveWriter) Discard() {
	if w.out == nil {
		return
	}
	w.outputs.mu.Lock()
	defer w.outputs.mu.Unlock()
	w.outputs.giveUpLocked(w.ref, w.out)
	w.out = nil
}

func (o *Outputs) giveUpLocked(ref attempt, l *live) {
	l.gone = true
	if o.mu.live[ref] == l {
		delete(o.mu.live, ref)
	}
	for len(l.queue) > 0 {
		o.popLocked(ref.Key, l).Release()
	}
	l.wake()
	o.roomLocked()
}

func (o *Outputs) popLocked(key string, l *live) arrow.RecordBatch {
	rec, size := l.queue[0], l.sizes[0]
	l.queue[0] = nil
	l.queue, l.sizes = l.queue[1:], l.sizes[1:]
	o.countLocked(key, -size, -size)
	o.roomLocked()
	return rec
}

// follower reads a live output.
type follower struct {
	outputs *Outputs
	ref     attempt
	out     *live // nil once closed
}

func (f *follower) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if f.out == nil {
		return nil, io.EOF
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if rec, err := f.pop(); rec != nil || err != nil {
			return rec, err
		}
		select {
		case <-f.out.more:
		case <-ctx.Done():
		}
	}
}

func (f *follower) pop() (arrow.RecordBatch, error) {
	o, l := f.outputs, f.out
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case len(l.queue) > 0:
		return o.popLocked(f.ref.Key, l), nil
	case l.gone:
		return nil, fmt.Errorf("read the rows of task %d of stage %d: %w", f.ref.Task, f.ref.Stage, batch.ErrGivenUp)
	case l.done:
		return nil, io.EOF
	}
	return nil, nil
}

// Close forgets the output if it is complete or nobody writes it. One that is still
// made may be followed by another, from where this one stopped.
func (f *follower) Close() error {
	l := f.out
	if l == nil {
		return nil
	}
	f.out = nil
	o := f.outputs
	o.mu.Lock()
	defer o.mu.Unlock()
	l.followed = false
	if l.done || !l.writing {
		o.giveUpLocked(f.ref, l)
	}
	return nil
}
