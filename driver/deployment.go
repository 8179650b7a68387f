package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// deployment is a plan on its workers: messages out, answers in.
type deployment struct {
	key     string // of this run: an answer to an earlier run has another one
	query   batch.QueryID
	plan    *physical.Plan
	tr      transport.Transport
	workers []transport.NodeID
	runs    map[transport.NodeID]string // which process of each worker; nil if they stay
	homes   transport.Homes
	parts   int
	clock   clock.Clock
	opt     Options
	listen  *announcer
	onLost  func(w transport.NodeID, reason string) // nil: a loss fails what runs
	left    left                                    // by the life before
	slots   int                                     // of the workers, where they come and go
	follows map[transport.NodeID][]batch.Shard      // of which workers have copies
	// surveyed takes in what workers have kept; on the goroutine that receives.
	surveyed func(from transport.NodeID, s transport.Surveyed)
	// onAnswer is told whether a worker can run the plan, and onNeedless of files that
	// nobody needs any more. Both may be nil.
	onAnswer   func(w transport.NodeID, err error)
	onNeedless func(files []string)

	mu struct {
		sync.Mutex
		held   map[transport.NodeID]transport.Holding // newest
		copied map[transport.NodeID]batch.ID          // newest versions of copies
		lost   map[transport.NodeID]bool
		run    *execution
		waits  map[waitKey]*wait
	}
}

// waitKey names a request to all workers.
type waitKey struct {
	kind string
	id   batch.ID
}

// wait gathers the answers of all workers to one request.
type wait struct {
	left  map[transport.NodeID]bool
	bytes [][]byte
	err   error
	done  chan struct{}
}

func newDeployment(opt Options, listen *announcer) *deployment {
	key := opt.DeployKey
	if key == "" {
		key = fmt.Sprintf("%s/%s/%s", opt.Query, opt.Plan.Key, listen.run)
	}
	d := &deployment{
		key: key, query: opt.Query, plan: opt.Plan, tr: opt.Transport,
		workers: opt.Workers, parts: opt.Parallelism, clock: opt.Clock, opt: opt, listen: listen,
	}
	d.mu.waits, d.mu.held, d.mu.lost = map[waitKey]*wait{}, map[transport.NodeID]transport.Holding{}, map[transport.NodeID]bool{}
	d.mu.copied = map[transport.NodeID]batch.ID{}
	d.homes = transport.Homes{Workers: d.workers, Places: spread(d.workers, d.parts)}
	return d
}

// deploy hands every worker the plan.
func (d *deployment) deploy(ctx context.Context) error {
	m := transport.Deploy{Key: d.key, Query: d.query, Plan: d.plan, Parts: d.parts, StateDir: d.opt.StateDir, Homes: d.homes, Quota: d.opt.Quota, Measure: d.opt.Measure}
	if d.opt.Deployed != nil {
		m.Plan = d.opt.Deployed
	}
	shards := d.shards()
	return d.toEach(ctx, func(w transport.NodeID) transport.Message {
		m := m
		m.Follows = d.follows[w]
		for _, o := range d.workers {
			if o != w {
				m.Elsewhere = append(m.Elsewhere, shards[o]...)
			}
		}
		return m
	})
}

// undeploy ends the plan on every worker, also when ctx is done. Workers that come and go
// keep the state for a while: whoever runs the query next may go on with it.
func (d *deployment) undeploy() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := d.clock.AfterFunc(d.opt.CancelWait, cancel)
	defer stop()
	return d.toAll(ctx, transport.Undeploy{Key: d.key, Keep: d.opt.Members != nil})
}

func (d *deployment) toAll(ctx context.Context, m transport.Message) error {
	return d.toEach(ctx, func(transport.NodeID) transport.Message { return m })
}

// toEach sends every worker its message, but for those that are lost.
func (d *deployment) toEach(ctx context.Context, message func(w transport.NodeID) transport.Message) error {
	var errs []error
	for _, w := range d.workers {
		if d.isLost(w) {
			continue
		}
		m := message(w)
		if err := d.tr.Send(ctx, w, m); err != nil {
			errs = append(errs, fmt.Errorf("send %T to worker %s: %w", m, w, err))
		}
	}
	return errors.Join(errs...)
}

// receive takes in what workers say until ctx is done or the node is closed.
func (d *deployment) receive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case env, ok := <-d.tr.Inbox():
			if !ok {
				d.fail(errors.New("the driver's node was closed"))
				return
			}
			d.take(ctx, env)
		}
	}
}

func (d *deployment) take(ctx context.Context, env transport.Envelope) {
	switch m := env.Message.(type) {
	case transport.Finished:
		if x := d.running(); x == nil || !x.finished(ctx, m.Result) {
			d.discard(ctx, m.Result)
		}
	case transport.Failed:
		if x := d.running(); x != nil {
			x.failed(ctx, m)
		}
	case transport.Deployed:
		if m.Key == d.key && d.onAnswer != nil {
			d.onAnswer(env.From, m.Err)
		}
	case transport.Needless:
		if m.Key == d.key && d.onNeedless != nil {
			d.onNeedless(m.Files)
		}
	case transport.Checkpointed:
		if m.Key == d.key {
			d.hold(env.From, m.Holding)
			d.answer(waitKey{"checkpoint", m.Batch}, env.From, m.Manifests, m.Err)
		}
	case transport.Restored:
		if m.Key == d.key {
			d.hold(env.From, m.Holding)
			d.answer(waitKey{"restore", m.Batch}, env.From, nil, m.Err)
		}
	case transport.Followed:
		if m.Key == d.key {
			d.followed(env.From, m.Batch)
		}
	case transport.Surveyed:
		if m.Key == d.key {
			d.surveyed(env.From, m)
			d.answer(waitKey{"survey", batch.None}, env.From, nil, nil)
		}
	case transport.Lost:
		switch {
		case d.onLost != nil:
			d.onLost(env.From, m.Reason)
		case slices.Contains(d.workers, env.From):
			d.fail(gone(env.From, m.Reason))
		}
	case transport.Deploy, transport.Undeploy, transport.Survey, transport.Run, transport.Cancel, transport.Checkpoint, transport.Restore, transport.Follow, transport.Prune, transport.Reset:
		// Not for a driver; a message that went astray does no harm.
	}
}

// markLost remembers that nothing is to be sent to a worker any more; false if it
// is known.
func (d *deployment) markLost(w transport.NodeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.mu.lost[w]
	d.mu.lost[w] = true
	return !known
}

func (d *deployment) isLost(w transport.NodeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.lost[w]
}

// hold remembers what a worker says that it holds.
func (d *deployment) hold(from transport.NodeID, h transport.Holding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.held[from] = h
}

// holding is what all workers have said.
func (d *deployment) holding() (sum transport.Holding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.mu.held {
		sum.Shards += h.Shards
		sum.Rows += h.Rows
		sum.Bytes += h.Bytes
		sum.RowsLoaded += h.RowsLoaded
		sum.Files = sum.Files.Add(h.Files)
	}
	return sum
}

func (d *deployment) running() *execution {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.run
}

// fail ends whatever waits for workers.
func (d *deployment) fail(err error) {
	d.mu.Lock()
	x := d.mu.run
	for k, w := range d.mu.waits {
		w.err = errors.Join(w.err, err)
		close(w.done)
		delete(d.mu.waits, k)
	}
	d.mu.Unlock()
	if x != nil {
		x.giveUp(err)
	}
}

// discard aborts output that nobody waits for any more (C18, C19). A part whose
// abort fails is garbage that the sink's own clean-up finds.
func (d *deployment) discard(ctx context.Context, r batch.TaskResult) {
	if r.Task.Query != d.query {
		return
	}
	for _, p := range r.Prepared {
		s := d.opt.Sinks[p.Sink]
		if s == nil || len(p.Payload) == 0 {
			continue
		}
		if err := s.Abort(ctx, r.Task.Batch, r.Term, []batch.Prepared{p}); err != nil && ctx.Err() == nil {
			d.listen.send(Warning{Doing: fmt.Sprintf("abort output of task %s", r.Task), Err: err})
		}
	}
}

// expect registers a request before it is sent.
func (d *deployment) expect(k waitKey) *wait {
	w := &wait{left: map[transport.NodeID]bool{}, done: make(chan struct{})}
	for _, n := range d.workers {
		w.left[n] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.waits[k] = w
	return w
}

func (d *deployment) answer(k waitKey, from transport.NodeID, bytes [][]byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.mu.waits[k]
	if w == nil || !w.left[from] {
		return // repeated or late
	}
	delete(w.left, from)
	w.bytes = append(w.bytes, bytes...)
	if err != nil {
		w.err = errors.Join(w.err, fmt.Errorf("worker %s: %w", from, err))
	}
	if len(w.left) == 0 {
		delete(d.mu.waits, k)
		close(w.done)
	}
}

// await returns when all workers have answered.
func (d *deployment) await(ctx context.Context, k waitKey, w *wait) ([][]byte, error) {
	select {
	case <-w.done:
		return w.bytes, w.err
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.mu.waits[k] == w {
			delete(d.mu.waits, k)
		}
		return nil, context.Cause(ctx)
	}
}

// worker returns where a partition of a stage runs. It never depends on the
// stage, so that a partition's state and its inputs tend to lie together.
func (d *deployment) worker(partition int) transport.NodeID { return d.homes.Of(partition) }

// shards lists the state that each worker keeps.
func (d *deployment) shards() map[transport.NodeID][]batch.Shard {
	out := map[transport.NodeID][]batch.Shard{}
	if len(d.workers) == 0 { // there are none yet
		return out
	}
	for _, s := range d.plan.Stages {
		parts := d.stageParts(s)
		for p := range parts {
			first, end := batch.GroupsOf(p, parts)
			for _, op := range s.Stateful {
				w := d.worker(p)
				out[w] = append(out[w], batch.Shard{Operator: op, Partition: p, FirstGroup: first, EndGroup: end})
			}
		}
	}
	return out
}

// stageParts is the number of partitions of a stage's state.
func (d *deployment) stageParts(s *physical.Stage) int {
	if s.Kind == physical.Hash {
		return d.parts
	}
	return 1
}

// restore makes all workers load a state version.
func (d *deployment) restore(ctx context.Context, r microbatch.Restore) error {
	return d.load(ctx, r, r.Batch, nil)
}

func refsOf(ms []microbatch.Manifest) [][]byte {
	refs := make([][]byte, len(ms))
	for i, m := range ms {
		refs[i] = []byte(m.Ref)
	}
	return refs
}

// beginCheckpoint sends the request at once, since it must reach workers before
// the tasks of the next batch; finish waits for the upload.
func (d *deployment) beginCheckpoint(ctx context.Context, id batch.ID) (finish func() ([]microbatch.Manifest, error)) {
	shards := d.shards()
	if len(shards) == 0 {
		return func() ([]microbatch.Manifest, error) { return nil, nil }
	}
	k := waitKey{"checkpoint", id}
	w := d.expect(k)
	var sent error
	for _, n := range d.workers {
		if err := d.tr.Send(ctx, n, transport.Checkpoint{Key: d.key, Batch: id, Shards: shards[n]}); err != nil && sent == nil {
			sent = fmt.Errorf("ask worker %s for a checkpoint: %w", n, err)
		}
	}
	return func() ([]microbatch.Manifest, error) {
		if sent != nil {
			return nil, sent
		}
		parts, err := d.await(ctx, k, w)
		if err != nil {
			return nil, fmt.Errorf("checkpoint state version %d: %w", id, err)
		}
		return manifests(id, parts, shards)
	}
}

// manifests checks that workers have returned every shard once.
func manifests(id batch.ID, parts [][]byte, shards map[transport.NodeID][]batch.Shard) ([]microbatch.Manifest, error) {
	want := map[batch.Shard]bool{}
	for _, list := range shards {
		for _, s := range list {
			want[s] = true
		}
	}
	out := make([]microbatch.Manifest, 0, len(parts))
	for _, p := range parts {
		var m statestore.Manifest
		if err := json.Unmarshal(p, &m); err != nil {
			return nil, fmt.Errorf("read a manifest of state version %d: %w", id, err)
		}
		if !want[m.Shard] || m.Version != id {
			return nil, fmt.Errorf("a manifest of version %d of shard %s came for version %d", m.Version, m.Shard, id)
		}
		delete(want, m.Shard)
		size := int64(0)
		for _, f := range m.Parts {
			size += f.Bytes
		}
		out = append(out, microbatch.Manifest{Shard: m.Shard, Ref: string(p), Bytes: size, Digest: m.State.Digest})
	}
	if len(want) > 0 {
		return nil, fmt.Errorf("%d shards are missing from the checkpoint of state version %d", len(want), id)
	}
	sortManifests(out)
	return out, nil
}

// prune lets workers forget; failing is no harm, the next one covers it.
func (d *deployment) prune(ctx context.Context, oldest, committed batch.ID, live [][]byte) error {
	return d.toAll(ctx, transport.Prune{Key: d.key, Oldest: min(oldest, d.keepFrom(committed)), Committed: committed, Live: live})
}
