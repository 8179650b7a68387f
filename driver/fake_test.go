package driver

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// The query of these tests counts numbers by their last digit. Its source is the
// numbers 0, 1, 2, ..; an output row is the digit, how many came in the batch,
// and how many there are in all.

// countPlan: scan the splits, exchange by digit, count in state, write.
func countPlan() *physical.Plan {
	return &physical.Plan{
		Key: "count", Stream: true,
		Sources: []physical.Source{{Name: "n#0", Table: "n", Stream: true}},
		Sinks:   []physical.Sink{{Name: "out#0", Table: "out", Mode: "update"}},
		Stages: []*physical.Stage{
			{ID: 0, Kind: physical.Splits, Root: &physical.Scan{Source: "n#0"}, Sources: []string{"n#0"}, Output: physical.ToHash{}},
			{ID: 1, Kind: physical.Hash, Root: &physical.StatefulAggregate{Input: &physical.ExchangeRead{Stage: 0}, Operator: "count"}, Inputs: []int{0},
				Stateful: []string{"count"}, Output: physical.ToSink{Sink: "out#0"}},
		},
	}
}

// numbers is a source that is told how far it goes.
type numbers struct {
	splitRows int64 // of a split
	changed   chan struct{}
	mu        sync.Mutex
	end       int64
	failures  int // Latest fails so often first
	released  batch.Offset
	plans     int
}

func newNumbers(end int64) *numbers {
	return &numbers{end: end, splitRows: 7, changed: make(chan struct{}, 1)}
}

func (n *numbers) grow(end int64) {
	n.mu.Lock()
	n.end = end
	n.mu.Unlock()
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

func numberAt(o batch.Offset) int64 {
	v, _ := strconv.ParseInt(string(o), 10, 64)
	return v
}

func (n *numbers) Schema() *arrow.Schema { return nil }

func (n *numbers) Latest(_ context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.failures > 0 {
		n.failures--
		return "", batch.ExternalError(errors.New("the broker is away"), true)
	}
	to := n.end
	if limit.Rows > 0 {
		to = min(to, numberAt(from)+limit.Rows)
	}
	if to == numberAt(from) {
		return from, nil
	}
	return batch.Offset(strconv.FormatInt(to, 10)), nil
}

func (n *numbers) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	n.mu.Lock()
	n.plans++
	n.mu.Unlock()
	var out []batch.Split
	for lo := numberAt(r.Start); lo < numberAt(r.End); lo += n.splitRows {
		p := binary.AppendVarint(nil, lo)
		p = binary.AppendVarint(p, min(lo+n.splitRows, numberAt(r.End)))
		out = append(out, batch.Split{Index: len(out), Payload: p})
	}
	return out, nil
}

func (n *numbers) Release(_ context.Context, to batch.Offset) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.released = to
	return nil
}

func (n *numbers) Close() error { return nil }

// pushing is numbers that say when they grow.
type pushing struct{ *numbers }

func (p pushing) Changed() <-chan struct{} { return p.changed }

// shelf is a sink in another system: it outlives the query.
type shelf struct {
	mu       sync.Mutex
	batches  []map[int]outRow // by batch: digit -> row
	failures int              // Commit fails so often first
	after    bool             // after the output is shown: the answer is lost
	aborted  int
	commits  int
	keep     bool // keep every batch; else only the totals
	totals   [10]int64
	last     batch.ID
	wrong    error
	seen     chan struct{}
	dark     *atomic.Bool // the computer that calls has lost power
	volatile bool         // takes any batch first
	fault    error        // why it fails
}

// forget is what the end of a process does to a volatile sink.
func (s *shelf) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = batch.None
}

type outRow struct{ N, Total int64 }

func newShelf() *shelf { return &shelf{keep: true, last: batch.None, seen: make(chan struct{}, 1)} }

func (s *shelf) Commit(_ context.Context, id batch.ID, _ batch.Term, parts []batch.Prepared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := batch.ExternalError(cmp.Or(s.fault, errors.New("the sink is away")), true)
	if s.dark != nil && s.dark.Load() {
		return errPower
	}
	if s.failures > 0 && !s.after {
		s.failures--
		return lost
	}
	s.commits++
	if id == s.last+1 || s.volatile && s.last == batch.None {
		s.show(id, parts)
	} else if id != s.last {
		s.wrong = errors.Join(s.wrong, fmt.Errorf("batch %d is shown after batch %d", id, s.last))
	}
	if s.failures > 0 {
		s.failures--
		return lost
	}
	return nil
}

func (s *shelf) show(id batch.ID, parts []batch.Prepared) {
	rows := map[int]outRow{}
	for _, p := range parts {
		var part map[int]outRow
		if err := json.Unmarshal(p.Payload, &part); err != nil {
			s.wrong = errors.Join(s.wrong, err)
		}
		for digit, r := range part {
			if _, twice := rows[digit]; twice {
				s.wrong = errors.Join(s.wrong, fmt.Errorf("batch %d has digit %d twice", id, digit))
			}
			rows[digit] = r
			s.totals[digit] += r.N
			if r.Total != s.totals[digit] {
				s.wrong = errors.Join(s.wrong, fmt.Errorf("batch %d: digit %d has %d in all, %d were shown", id, digit, r.Total, s.totals[digit]))
			}
		}
	}
	s.last = id
	if s.keep {
		s.batches = append(s.batches, rows)
	}
	select {
	case s.seen <- struct{}{}:
	default:
	}
}

func (s *shelf) Abort(context.Context, batch.ID, batch.Term, []batch.Prepared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aborted++
	return nil
}

func (s *shelf) Holds(context.Context) (batch.ID, batch.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, batch.Digest{}, nil
}

func (s *shelf) Close() error { return nil }

// check compares the totals with a count of 0..end-1.
func (s *shelf) check(t testing.TB, end int64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wrong != nil {
		t.Fatal(s.wrong)
	}
	for digit, got := range s.totals {
		want := end / 10
		if int64(digit) < end%10 {
			want++
		}
		if got != want {
			t.Fatalf("digit %d was counted %d times, want %d of %d numbers", digit, got, want, end)
		}
	}
}

var _ sinks.Sink = (*shelf)(nil)

// fakeWorker answers a driver's messages. It runs every task on its inbox's
// goroutine, with a real state store below.
type fakeWorker struct {
	node  *inproc.Node
	store statestore.Store
	wg    sync.WaitGroup

	// fault, if set, is asked before a task: an error fails it. It may block on
	// ctx, which a Cancel ends: then the inbox is read on.
	fault func(batch.TaskSpec) error
	// hold makes matching tasks wait for their Cancel.
	hold func(batch.TaskSpec) bool
	// cut, if it returns something, is what a reader gets that follows a task.
	cut func(transport.StreamRef) (arrow.RecordBatch, error)
	// unable, if it returns something, is why it cannot run what it is handed.
	unable func() error
	// mute makes it not answer a Cancel either.
	mute bool

	mu    sync.Mutex
	plan  *physical.Plan
	key   string
	parts int
	homes transport.Homes
	quota transport.Quota
	held  map[batch.TaskID]batch.Term
	rows  map[exchangeKey][]int64
	came  chan struct{}    // closed when rows were added
	runs  []batch.TaskSpec // of stages that are not the counting one
	keep  bool             // remember runs
	// Of the inbox's goroutine.
	life            batch.Term // whose state the store has
	adopted, loaded int        // shards
	refuse          bool       // to adopt, once
	// tell changes what is said of the store.
	tell func(statestore.HeldVersion) statestore.HeldVersion
	// mirror is told what is committed when there are shards to follow.
	follows []batch.Shard
	mirror  func(m transport.Prune, answer func(transport.Message))
}

type exchangeKey struct {
	batch batch.ID
	stage int
	task  int
}

func startWorker(t testing.TB, net *inproc.Network, id transport.NodeID, fs vfsx.FS) *fakeWorker {
	t.Helper()
	return startWorkerAt(t, net, id, fs, "ck/state")
}

func startWorkerAt(t testing.TB, net *inproc.Network, id transport.NodeID, fs vfsx.FS, dir string) *fakeWorker {
	t.Helper()
	node, err := net.Join(id)
	if err != nil {
		t.Fatal(err)
	}
	store, err := mem.Open(mem.Options{FS: fs, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	w := &fakeWorker{node: node, store: store, held: map[batch.TaskID]batch.Term{}, rows: map[exchangeKey][]int64{}, came: make(chan struct{}), keep: true}
	node.Serve(w.serve)
	w.wg.Go(w.loop)
	return w
}

func (w *fakeWorker) stop() {
	_ = w.node.Close()
	w.wg.Wait()
	_ = w.store.Close()
}

func (w *fakeWorker) loop() {
	ctx := context.Background()
	for env := range w.node.Inbox() {
		answer := func(m transport.Message) { _ = w.node.Send(ctx, env.From, m) }
		switch m := env.Message.(type) {
		case transport.Deploy:
			w.plan, w.key, w.parts, w.homes, w.quota = m.Plan.(*physical.Plan), m.Key, m.Parts, m.Homes, m.Quota
			w.follows = m.Follows
			if w.unable != nil {
				err := w.unable()
				if answer(transport.Deployed{Key: m.Key, Err: err}); err != nil {
					w.plan = nil
				}
			}
		case transport.Undeploy:
			w.plan = nil
			if !m.Keep {
				w.life = 0
			}
		case transport.Survey:
			answer(w.survey(m))
		case transport.Run:
			if m.Spec.Plan != w.key || w.plan == nil {
				continue
			}
			w.task(ctx, m, answer)
		case transport.Cancel:
			if term, ok := w.held[m.Task]; ok && !w.mute {
				delete(w.held, m.Task)
				answer(transport.Failed{Task: m.Task, Term: term, Err: context.Canceled})
			}
		case transport.Checkpoint:
			w.wg.Go(func() { w.checkpoint(ctx, m, answer) })
		case transport.Restore:
			answer(transport.Restored{Key: m.Key, Batch: m.Batch, Err: w.restore(ctx, m)})
		case transport.Prune:
			if w.prune(ctx, m); w.mirror != nil && len(w.follows) > 0 {
				w.mirror(m, answer)
			}
		}
	}
}

func (w *fakeWorker) task(ctx context.Context, run transport.Run, answer func(transport.Message)) {
	s := run.Spec
	if w.keep {
		w.mu.Lock()
		w.runs = append(w.runs, s)
		w.mu.Unlock()
	}
	if w.hold != nil && w.hold(s) {
		w.held[s.Task] = s.Term
		return
	}
	var err error
	if w.fault != nil {
		err = w.fault(s)
	}
	var res batch.TaskResult
	if err == nil {
		res, err = w.runTask(ctx, run)
	}
	if err != nil {
		answer(transport.Failed{Task: s.Task, Term: s.Term, Err: err})
		return
	}
	answer(transport.Finished{Result: res})
}

func (w *fakeWorker) runTask(ctx context.Context, run transport.Run) (batch.TaskResult, error) {
	s := run.Spec
	res := batch.TaskResult{Task: s.Task, Term: s.Term, NextDue: batch.EndOfTime}
	stage := w.plan.Stages[s.Task.Stage]
	if stage.Kind == physical.Splits {
		var rows []int64
		for _, sp := range s.Splits {
			lo, n := binary.Varint(sp.Payload)
			hi, _ := binary.Varint(sp.Payload[n:])
			for v := lo; v < hi; v++ {
				rows = append(rows, v)
			}
		}
		w.mu.Lock()
		w.rows[exchangeKey{s.Task.Batch, s.Task.Stage, s.Task.Partition}] = rows
		close(w.came)
		w.came = make(chan struct{})
		w.mu.Unlock()
		res.Counters.RowsIn = int64(len(rows))
		res.OutRows = []int64{int64(len(rows))}
		if to, ok := stage.Output.(physical.ToSink); ok {
			payload, err := json.Marshal(rows)
			res.Prepared = []batch.Prepared{{Sink: to.Sink, Partition: s.Task.Partition, Rows: int64(len(rows)), Payload: payload}}
			return res, err
		}
		return res, nil
	}
	if len(stage.Stateful) == 0 {
		res.OutRows = []int64{0}
		return res, nil
	}
	return w.count(ctx, run, res)
}

// count is the task of the counting stage.
func (w *fakeWorker) count(ctx context.Context, run transport.Run, res batch.TaskResult) (batch.TaskResult, error) {
	s := run.Spec
	first, end := batch.GroupsOf(s.Task.Partition, s.Parts)
	shard := batch.Shard{Operator: "count", Partition: s.Task.Partition, FirstGroup: first, EndGroup: end}
	txn, err := w.store.Begin(ctx, shard, s.Base)
	if err != nil {
		return res, err
	}
	defer txn.Discard()
	group := func(digit int64) byte { return byte(digit * 25) }
	counts := map[int]int64{}
	for i, in := range s.Inputs {
		for task := range in.Tasks {
			node := w.node.Local()
			if run.Where != nil {
				node = w.homes.Of(task)
			}
			if run.Where != nil && run.Where[i] != nil {
				node = run.Where[i][task]
			}
			r, err := w.node.Fetch(ctx, node, transport.StreamRef{Batch: in.Batch, Stage: in.Stage, Task: task}, nil)
			if err != nil {
				return res, err
			}
			for _, v := range r.(*numberReader).rows {
				if g := int(group(v % 10)); g >= first && g < end {
					counts[int(v%10)]++
				}
			}
		}
	}
	out := map[int]outRow{}
	for digit := range 10 {
		n := counts[digit]
		if n == 0 {
			continue
		}
		key := []byte{group(int64(digit)), byte(digit)}
		total := int64(0)
		err := txn.Get([][]byte{key}, func(_ int, v []byte) error { total = int64(binary.BigEndian.Uint64(v)); return nil })
		if err == nil {
			err = txn.Put(key, binary.BigEndian.AppendUint64(nil, uint64(total+n)))
		}
		if err != nil {
			return res, err
		}
		out[digit] = outRow{N: n, Total: total + n}
	}
	v, err := txn.Seal(ctx)
	if err != nil {
		return res, err
	}
	payload, err := json.Marshal(out) // keys sorted: equal rows, equal bytes
	if err != nil {
		return res, err
	}
	p := batch.Prepared{Sink: "out#0", Partition: s.Task.Partition, Rows: int64(len(out))}
	for digit, r := range out { // a sum: it does not depend on how rows are spread
		h := xxh3.HashString128(fmt.Sprint(digit, r))
		p.Digest = p.Digest.Add(batch.Digest{Hi: h.Hi, Lo: h.Lo})
	}
	if s.Reveal {
		p.Payload = payload
	}
	res.Prepared = []batch.Prepared{p}
	res.Shards = []batch.ShardDigest{{Shard: shard, Digest: v.Digest}}
	res.Counters.StateRows, res.Counters.StateBytes, res.Counters.RowsOut = v.Rows, v.Bytes, int64(len(out))
	return res, nil
}

func (w *fakeWorker) checkpoint(ctx context.Context, m transport.Checkpoint, answer func(transport.Message)) {
	out := transport.Checkpointed{Key: m.Key, Batch: m.Batch}
	for _, s := range m.Shards {
		man, err := w.store.Checkpoint(ctx, s, m.Batch)
		if err != nil {
			out.Err = err
			break
		}
		b, err := json.Marshal(man)
		if err != nil {
			out.Err = err
			break
		}
		out.Manifests = append(out.Manifests, b)
	}
	answer(out)
}

func decodeManifests(list [][]byte) ([]statestore.Manifest, error) {
	out := make([]statestore.Manifest, len(list))
	for i, b := range list {
		if err := json.Unmarshal(b, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// survey tells what the store has: nothing that a worker in truth would have given up.
func (w *fakeWorker) survey(m transport.Survey) transport.Surveyed {
	out := transport.Surveyed{Key: m.Key, Term: w.life}
	for _, h := range w.store.(statestore.Keeper).Held() {
		if w.tell != nil {
			h = w.tell(h)
		}
		out.Kept = append(out.Kept, transport.Kept{Shard: h.Shard, Version: h.Version, Digest: h.Digest, Copy: slices.Contains(w.follows, h.Shard)})
	}
	return out
}

func (w *fakeWorker) restore(ctx context.Context, m transport.Restore) error {
	before := w.life
	w.life = 0
	if len(m.Kept) > 0 && before != m.Before {
		return fmt.Errorf("the state is of term %d, not %d", before, m.Before)
	}
	if w.refuse && len(m.Kept) > 0 {
		w.refuse = false
		return errors.New("it has gone meanwhile")
	}
	for _, k := range m.Kept {
		if err := w.store.(statestore.Keeper).Adopt(ctx, statestore.HeldVersion{Shard: k.Shard, Version: k.Version, Digest: k.Digest}); err != nil {
			return err
		}
		w.adopted++
	}
	for _, h := range w.store.(statestore.Keeper).Held() {
		if !slices.Contains(m.Shards, h.Shard) && !slices.ContainsFunc(m.Kept, func(k transport.Kept) bool { return k.Shard == h.Shard }) {
			if err := w.store.Restore(ctx, h.Shard, batch.None, nil); err != nil {
				return err
			}
		}
	}
	from, err := decodeManifests(m.Manifests)
	if err != nil {
		return err
	}
	for _, s := range m.Shards {
		if err := w.store.Restore(ctx, s, m.Batch, from); err != nil {
			return err
		}
		w.loaded++
	}
	w.life = m.Term
	return nil
}

func (w *fakeWorker) prune(ctx context.Context, m transport.Prune) {
	for p := range w.parts {
		first, end := batch.GroupsOf(p, w.parts)
		_ = w.store.Prune(ctx, batch.Shard{Operator: "count", Partition: p, FirstGroup: first, EndGroup: end}, m.Oldest)
	}
	w.mu.Lock()
	for k := range w.rows {
		if k.batch < m.Oldest && !w.plan.Stages[k.stage].Static {
			delete(w.rows, k)
		}
	}
	w.mu.Unlock()
	if live, err := decodeManifests(m.Live); err == nil && len(live) > 0 {
		_ = w.store.Collect(ctx, live)
	}
}

// serve hands a stage's rows out as a column of integers.
func (w *fakeWorker) serve(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows, ok := w.rows[exchangeKey{ref.Batch, ref.Stage, ref.Task}]
	if ref.Follow {
		return &numberFollower{w: w, ref: ref}, nil
	}
	if !ok {
		return nil, fmt.Errorf("no output of batch %d, stage %d, task %d", ref.Batch, ref.Stage, ref.Task)
	}
	return &numberReader{rows: slices.Clone(rows)}, nil
}

// numberFollower waits for the rows of a task.
type numberFollower struct {
	w    *fakeWorker
	ref  transport.StreamRef
	rows *numberReader
}

func (f *numberFollower) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for f.rows == nil {
		if f.w.cut != nil {
			if rec, err := f.w.cut(f.ref); rec != nil || err != nil {
				return rec, err
			}
		}
		f.w.mu.Lock()
		rows, ok := f.w.rows[exchangeKey{f.ref.Batch, f.ref.Stage, f.ref.Task}]
		came := f.w.came
		f.w.mu.Unlock()
		if ok {
			f.rows = &numberReader{rows: slices.Clone(rows)}
			break
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return f.rows.Next(ctx)
}

func (f *numberFollower) Close() error { return nil }

type numberReader struct{ rows []int64 }

func (r *numberReader) Next(context.Context) (arrow.RecordBatch, error) {
	if len(r.rows) == 0 {
		return nil, io.EOF
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewInt64Builder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues(r.rows, nil)
	col := b.NewArray()
	defer col.Release()
	rec := array.NewRecordBatch(schema, []arrow.Array{col}, int64(len(r.rows)))
	r.rows = nil
	return rec, nil
}

func (r *numberReader) Close() error { return nil }
