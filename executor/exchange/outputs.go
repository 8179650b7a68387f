package exchange

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/sources"
)

// Options of an Outputs. The zero value never spills.
type Options struct {
	// Dir is where output goes that memory has no room for; "" for never.
	Dir string
	// MemoryMax is how many bytes of output stay in memory, for all plans
	// together; 0 means a quarter of Budget, or 256 MiB without one. Less makes
	// exchanges slower.
	MemoryMax int64
	// Budget is the limit that batches in memory are counted against as well, which
	// may change; output takes a quarter of it at most. Nil or 0: there is none.
	Budget func() int64
	// Pressure reports that memory is short: then output goes to disk at once.
	// Nil never does.
	Pressure func() bool
	// Alloc is where batches read back from disk are allocated; nil means Arrow's.
	Alloc memory.Allocator
}

// memoryMax is how much stays in memory where nothing says how much there is.
const memoryMax = 256 << 20

func (o Options) withDefaults() Options {
	if o.Alloc == nil {
		o.Alloc = memory.DefaultAllocator
	}
	return o
}

// Ref names the output of one task.
type Ref struct {
	Key   string // the plan
	Batch batch.ID
	Stage int
	Task  int
}

// Outputs keeps the output of a worker's tasks. It may be used by several goroutines.
type Outputs struct {
	opt Options

	mu struct {
		sync.Mutex
		done      map[Ref]*output
		static    map[stageKey]bool
		live      map[attempt]*live
		bytes     int64
		byKey     map[string]held // the same by plan
		liveBytes int64           // of live outputs, part of bytes
		room      chan struct{}   // closed when a live output may take more; nil if nobody waits
		closed    bool
	}
}

type stageKey struct {
	key   string
	stage int
}

// output is the committed output of one task. It is immutable; readers retain it.
type output struct {
	key      string
	segments []segment
	file     *File
	bytes    int64
	refs     int // readers and the map, guarded by Outputs.mu
}

// segment is one batch. For a hash exchange its rows are sorted by key group and
// starts holds where each group begins.
type segment struct {
	rec    arrow.RecordBatch // nil if spilled
	frame  Frame
	starts *[batch.KeyGroups + 1]int32
}

// New returns an empty Outputs.
func New(opt Options) *Outputs {
	o := &Outputs{opt: opt.withDefaults()}
	o.mu.done = map[Ref]*output{}
	o.mu.static = map[stageKey]bool{}
	o.mu.byKey = map[string]held{}
	o.mu.live = map[attempt]*live{}
	return o
}

// Bytes is the memory that output takes.
func (o *Outputs) Bytes() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.bytes
}

// Reader returns partition p of parts of a task's output. With parts 0 it is all
// of it; what was made for the client is read once. The output stays readable until the reader is closed, pruned or not.
func (o *Outputs) Reader(ref Ref, p, parts int) (sources.Reader, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.mu.done[ref]
	if out == nil {
		if l, made := o.madeLocked(ref); l != nil {
			l.followed = true
			return &follower{outputs: o, ref: made, out: l}, nil
		}
		return nil, fmt.Errorf("output of task %d of stage %d in batch %d of plan %s is not here", ref.Task, ref.Stage, ref.Batch, ref.Key)
	}
	out.refs++
	r := &reader{outputs: o, out: out, first: 0, end: batch.KeyGroups}
	if parts > 0 {
		r.first, r.end = batch.GroupsOf(p, parts)
	}
	return r, nil
}

// Tasks reads the outputs of tasks 0..n-1 of a stage one after the other.
func (o *Outputs) Tasks(ref Ref, n, p, parts int) (sources.Reader, error) {
	c := &chain{}
	for t := range n {
		ref.Task = t
		r, err := o.Reader(ref, p, parts)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.readers = append(c.readers, r)
	}
	return c, nil
}

// Has reports whether the output of a task is here.
func (o *Outputs) Has(task Ref) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.mu.done[task] != nil
}

// Prune forgets the outputs of batches before oldest, but for those that H3 keeps.
func (o *Outputs) Prune(key string, oldest batch.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	keep := map[stageKey]batch.ID{}
	for ref := range o.mu.done {
		s := stageKey{ref.Key, ref.Stage}
		if b, ok := keep[s]; ref.Key == key && o.mu.static[s] && ref.Batch <= oldest && (!ok || ref.Batch > b) {
			keep[s] = ref.Batch
		}
	}
	o.dropLocked(func(ref Ref) bool {
		b, static := keep[stageKey{ref.Key, ref.Stage}]
		return ref.Key == key && ref.Batch < oldest && !(static && ref.Batch == b)
	})
}

// Drop forgets all outputs of a plan.
func (o *Outputs) Drop(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropLocked(func(ref Ref) bool { return ref.Key == key })
	for s := range o.mu.static {
		if s.key == key {
			delete(o.mu.static, s)
		}
	}
}

// Close forgets everything. Open readers stay valid.
func (o *Outputs) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.closed = true
	o.dropLocked(func(Ref) bool { return true })
	return nil
}

func (o *Outputs) dropLocked(which func(Ref) bool) {
	for ref, out := range o.mu.done {
		if which(ref) {
			delete(o.mu.done, ref)
			o.releaseLocked(out)
		}
	}
	for ref, l := range o.mu.live {
		if which(ref.Ref) {
			o.giveUpLocked(ref, l)
		}
	}
}

func (o *Outputs) releaseLocked(out *output) {
	if out.refs--; out.refs > 0 {
		return
	}
	o.countLocked(out.key, -out.bytes, 0)
	for _, s := range out.segments {
		if s.rec != nil {
			s.rec.Release()
		}
	}
	if out.file != nil {
		out.file.Remove()
	}
}

// reader reads one task's output.
type reader struct {
	outputs    *Outputs
	out        *output
	at         int
	first, end int // key groups
}

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for r.out != nil && r.at < len(r.out.segments) {
		s := r.out.segments[r.at]
		r.at++
		from, to := int64(0), int64(-1)
		if s.starts != nil {
			from, to = int64(s.starts[r.first]), int64(s.starts[r.end])
			if from == to {
				continue
			}
		}
		rec := s.rec
		if rec == nil {
			var err error
			if rec, err = r.out.file.Read(s.frame, r.outputs.opt.Alloc); err != nil {
				return nil, err
			}
		} else {
			rec.Retain()
		}
		if to < 0 || from == 0 && to == rec.NumRows() {
			return rec, nil
		}
		part := rec.NewSlice(from, to)
		rec.Release()
		return part, nil
	}
	return nil, io.EOF
}

func (r *reader) Close() error {
	if r.out == nil {
		return nil
	}
	r.outputs.mu.Lock()
	defer r.outputs.mu.Unlock()
	r.outputs.releaseLocked(r.out)
	r.out = nil
	return nil
}

// chain reads several readers one after the other.
type chain struct{ readers []sources.Reader }

func (c *chain) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for len(c.readers) > 0 {
		rec, err := c.readers[0].Next(ctx)
		if err != io.EOF {
			return rec, err
		}
		if err := c.readers[0].Close(); err != nil {
			return nil, err
		}
		c.readers = c.readers[1:]
	}
	return nil, io.EOF
}

func (c *chain) Close() error {
	for _, r := range c.readers {
		r.Close()
	}
	c.readers = nil
	return nil
}

// Writer takes the output of one attempt at a task. It is used by one goroutine.
type Writer struct {
	outputs *Outputs
	ref     Ref
	static  bool
	out     *output
	own     own
}

// own is what a query has of memory, besides what all have together.
type own struct {
	short  func() bool
	budget int64
}

// Within makes the output go to disk when the query is short of memory of its own, as
// short reports, or its output takes a quarter of budget; nil and 0 never do. It returns w.
func (w *Writer) Within(short func() bool, budget int64) *Writer {
	w.own = own{short, budget}
	return w
}

// isShort reports whether the query is short of memory.
func (o own) isShort() bool { return o.short != nil && o.short() }

// held is the memory that output takes: all of it, and what of it is followed.
type held struct{ all, live int64 }

func (o *Outputs) countLocked(key string, all, live int64) {
	o.mu.bytes += all
	o.mu.liveBytes += live
	h := o.mu.byKey[key]
	if h.all, h.live = h.all+all, h.live+live; h == (held{}) {
		delete(o.mu.byKey, key)
		return
	}
	o.mu.byKey[key] = h
}

// Writer starts the output of a task.
func (o *Outputs) Writer(ref Ref, static bool) *Writer {
	return &Writer{outputs: o, ref: ref, static: static, out: &output{key: ref.Key, refs: 1}}
}

// Append adds a batch, borrowed. For a hash exchange its rows are sorted by key
// group and starts says where each group begins; else starts is nil.
func (w *Writer) Append(rec arrow.RecordBatch, starts *[batch.KeyGroups + 1]int32) error {
	if rec.NumRows() == 0 {
		return nil
	}
	size := gather.BatchBytes(rec)
	if w.takeMemory(size) {
		rec.Retain()
		w.out.segments = append(w.out.segments, segment{rec: rec, starts: starts})
		return nil
	}
	if w.out.file == nil {
		f, err := CreateFile(w.outputs.opt.Dir, fmt.Sprintf("exchange-%d-%d-*", w.ref.Stage, w.ref.Task))
		if err != nil {
			return err
		}
		w.out.file = f
	}
	frame, err := w.out.file.Append(rec, w.outputs.opt.Alloc)
	if err != nil {
		return err
	}
	w.out.segments = append(w.out.segments, segment{frame: frame, starts: starts})
	return nil
}

// takeMemory reports whether a batch may stay in memory, and counts it.
func (w *Writer) takeMemory(size int64) bool {
	o := w.outputs
	short := o.opt.Dir != "" && (o.opt.Pressure != nil && o.opt.Pressure() || w.own.isShort())
	limit := o.opt.limit()
	o.mu.Lock()
	defer o.mu.Unlock()
	if short || o.opt.Dir != "" && (o.mu.bytes+size > limit || w.own.budget > 0 && o.mu.byKey[w.ref.Key].all+size > w.own.budget/4) {
		return false
	}
	o.countLocked(w.ref.Key, size, 0)
	w.out.bytes += size
	return true
}

// limit is how many bytes may stay in memory now.
func (o *Options) limit() int64 {
	var quarter int64
	if o.Budget != nil {
		quarter = o.Budget() / 4
	}
	switch {
	case o.MemoryMax > 0 && quarter > 0:
		return min(o.MemoryMax, quarter)
	case quarter > 0:
		return quarter
	case o.MemoryMax > 0:
		return o.MemoryMax
	}
	return memoryMax
}

// Commit makes the output readable, in place of an earlier attempt's.
func (w *Writer) Commit() error {
	o := w.outputs
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.out == nil {
		return fmt.Errorf("output of task %d of stage %d is committed twice", w.ref.Task, w.ref.Stage)
	}
	out := w.out
	w.out = nil
	if o.mu.closed {
		o.releaseLocked(out)
		return fmt.Errorf("output of task %d of stage %d: the store is closed", w.ref.Task, w.ref.Stage)
	}
	if old := o.mu.done[w.ref]; old != nil {
		o.releaseLocked(old)
	}
	o.mu.done[w.ref] = out
	if w.static {
		o.mu.static[stageKey{w.ref.Key, w.ref.Stage}] = true
	}
	return nil
}

// Discard throws the output away. After Commit it does nothing.
func (w *Writer) Discard() {
	if w.out == nil {
		return
	}
	w.outputs.mu.Lock()
	defer w.outputs.mu.Unlock()
	w.outputs.releaseLocked(w.out)
	w.out = nil
}
