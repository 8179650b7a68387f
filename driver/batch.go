package driver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

// batchTerm is the term of a one-shot run: there is no log that could fence it.
const batchTerm batch.Term = 1

// windowFactor is how many tasks for each partition may be done or under way
// ahead of who reads the rows of a one-shot query.
const windowFactor = 2

// RunBatch runs a plan once over all that its sources hold, without a log. For a
// plan that ends at the client it returns a reader of the rows, in task order,
// which the caller must Close; tasks run ahead of the reader by a bounded
// number. Any other plan is run to its end, its sinks are committed and the
// reader is nil. Of the options, Log, Protocol and StateDir are not used, and
// Query may be empty.
func RunBatch(ctx context.Context, opt Options) (sources.Reader, error) {
	opt = opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	b, err := newOneShot(ctx, opt)
	if err != nil {
		return nil, err
	}
	if b.client >= 0 {
		b.x.begin(b.ctx)
		return b, nil
	}
	res, err := b.x.run(b.ctx)
	if err == nil {
		err = b.commit(res)
	}
	if err != nil {
		for _, r := range b.x.adopted() {
			b.d.discard(context.WithoutCancel(b.ctx), r)
		}
	}
	return nil, errors.Join(err, b.end())
}

// oneShot is a run of RunBatch, and the reader of its rows.
type oneShot struct {
	d      *deployment
	x      *execution
	ctx    context.Context // of the run; ended by stop
	stop   context.CancelFunc
	recv   sync.WaitGroup
	leave  func() // gives its place to queries that wait
	client int    // stage whose rows the reader returns; -1 if there is none

	shown  bool // bad rows are committed
	next   int  // task whose rows come next
	cur    sources.Reader
	live   context.Context // ends when the attempt that cur reads has failed
	number int             // of that attempt
	closed bool
}

var _ sources.Reader = (*oneShot)(nil)

func newOneShot(ctx context.Context, opt Options) (*oneShot, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("draw a run ID: %w", err)
	}
	run := hex.EncodeToString(id[:])
	if opt.Query == "" {
		opt.Query = batch.QueryID("batch-" + run)
	}
	listen := &announcer{origin: Origin{Query: opt.Query, Name: opt.Name, Run: run}, run: run, now: opt.Clock.Now, to: opt.Listener}
	b := &oneShot{d: newDeployment(opt, listen), client: -1}
	for i, s := range opt.Plan.Stages {
		if _, ok := s.Output.(physical.ToClient); ok {
			b.client = i
		}
	}
	leave, err := opt.Admission.enter(ctx, cmp.Or(opt.Name, string(opt.Query)), opt.Quota.Memory)
	if err != nil {
		return nil, err
	}
	b.leave = leave
	if err := b.prepare(ctx, opt); err != nil {
		leave()
		return nil, err
	}
	return b, nil
}

// prepare finds what is to be read and hands the plan to the workers.
func (b *oneShot) prepare(ctx context.Context, opt Options) error {
	ranges, err := everything(ctx, opt)
	if err != nil {
		return err
	}
	splits, err := splitsOf(ctx, b.d, ranges, nil)
	if err != nil {
		return err
	}
	spec := batch.TaskSpec{Task: batch.TaskID{Batch: 0}, Term: batchTerm, Plan: b.d.key, Base: batch.None,
		Watermark: batch.NoTime, Close: batch.EndOfTime, Now: batch.TimeOf(opt.Clock.Now())}
	b.x, err = newExecution(b.d, spec, work{splits: splits, inputs: versions(opt.Plan, ranges)}, 0, func(string) bool { return true })
	if err != nil {
		return err
	}
	if b.client >= 0 {
		b.x.window = windowFactor * max(opt.Parallelism, len(opt.Workers))
	}
	if err := b.d.deploy(ctx); err != nil {
		return errors.Join(err, b.d.undeploy())
	}
	b.ctx, b.stop = context.WithCancel(ctx)
	recvCtx := context.WithoutCancel(ctx) // cancelled tasks still answer; end stops it
	recvCtx, stopRecv := context.WithCancel(recvCtx)
	stop := b.stop
	b.stop = func() { stop(); stopRecv() }
	b.recv.Go(func() { b.d.receive(recvCtx) })
	return nil
}

// everything is the range of all that each source holds.
func everything(ctx context.Context, opt Options) ([]batch.Range, error) {
	out := make([]batch.Range, 0, len(opt.Plan.Sources))
	for _, s := range opt.Plan.Sources {
		pin, err := pinOf(ctx, opt.Sources[s.Name])
		if err != nil {
			return nil, fmt.Errorf("find the end of source %q: %w", s.Name, err)
		}
		g := batch.Range{Source: s.Name, Pin: pin}
		if s.Stream {
			g = batch.Range{Source: s.Name, End: batch.Offset(pin)}
		}
		out = append(out, g)
	}
	return out, nil
}

// commit shows the output of all sinks, one after the other.
func (b *oneShot) commit(res microbatch.Result) error {
	parts := map[string][]batch.Prepared{}
	for _, p := range res.Prepared {
		parts[p.Sink] = append(parts[p.Sink], p)
	}
	for _, s := range b.d.plan.Sinks {
		var sink sinks.Sink = b.d.opt.Sinks[s.Name]
		if err := sink.Commit(b.ctx, 0, batchTerm, parts[s.Name]); err != nil {
			return fmt.Errorf("commit to sink %q: %w", s.Name, err)
		}
	}
	return nil
}

// commitBad shows the bad rows of a query whose result was read to its end, and
// returns io.EOF.
func (b *oneShot) commitBad() error {
	if len(b.d.plan.Sinks) == 0 {
		return io.EOF
	}
	<-b.x.ended
	res, err := b.x.outcome()
	if err == nil {
		err = b.commit(res)
	}
	if err != nil {
		b.shown = false // Close throws away what was prepared
		return err
	}
	return io.EOF
}

// end stops everything and waits for it.
func (b *oneShot) end() error {
	b.stop()
	b.recv.Wait()
	defer b.leave()
	return b.d.undeploy()
}

// Next returns the next rows, task by task, each while it is made.
func (b *oneShot) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		if b.cur == nil {
			if err := b.open(ctx); err != nil {
				if errors.Is(err, io.EOF) && !b.shown {
					b.shown = true
					return nil, b.commitBad()
				}
				return nil, err
			}
		}
		rec, err := b.read(ctx)
		if rec != nil || err != nil {
			return rec, err
		}
	}
}

// read returns the next rows of the task that is read; nil if it has ended or is
// to be read from its start again.
func (b *oneShot) read(ctx context.Context) (arrow.RecordBatch, error) {
	live, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.live, cancel)()
	rec, err := b.cur.Next(live)
	switch {
	case err == nil && b.x.give(b.client, b.next, b.number):
		return rec, nil
	case err == nil: // of an attempt that failed meanwhile
		rec.Release()
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, io.EOF):
		// The task has made all its rows; now it must be done.
		if err := b.x.awaitEnd(ctx, b.client, b.next, b.number); err == nil {
			b.next++
			b.x.consumed(b.ctx, b.next)
		} else if !errors.Is(err, batch.ErrGivenUp) {
			return nil, err
		}
	case b.live.Err() == nil && !errors.Is(err, batch.ErrGivenUp):
		return nil, err
	default:
		if err := b.x.awaitEnd(ctx, b.client, b.next, b.number); err != nil && !errors.Is(err, batch.ErrGivenUp) {
			return nil, err
		}
	}
	err = b.cur.Close()
	b.cur = nil
	return nil, err
}

// open waits until the next task is under way and reads its output.
func (b *oneShot) open(ctx context.Context) error {
	at, err := b.x.awaitTask(ctx, b.client, b.next)
	if err != nil {
		return err
	}
	b.live, b.number = at.live, at.number
	ref := transport.StreamRef{Key: b.d.key, Batch: 0, Stage: b.client, Task: b.next, Follow: true, Attempt: b.x.first + b.number}
	if b.cur, err = b.d.tr.Fetch(ctx, at.node, ref, nil); err != nil {
		return fmt.Errorf("read the rows of task %d: %w", b.next, err)
	}
	return nil
}

// Close cancels what is under way and waits for it.
func (b *oneShot) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	var err error
	if b.cur != nil {
		err = b.cur.Close()
	}
	b.x.giveUp(errClosed)
	<-b.x.ended
	_, _ = b.x.outcome() // the reader has been told of what went wrong
	if !b.shown {
		for _, r := range b.x.adopted() {
			b.d.discard(context.WithoutCancel(b.ctx), r)
		}
	}
	return errors.Join(err, b.end())
}

var errClosed = errors.New("the reader was closed")
