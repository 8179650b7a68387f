package driver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources"
)

// ErrEnded is returned to who waits for something of a query that has ended.
var ErrEnded = errors.New("the query has ended")

// eventsWaiting bounds the answers that wait for the machine; who has one more
// waits.
const eventsWaiting = 64

// progressKept is how many finished batches Recent remembers.
const progressKept = 100

// Query is a running streaming query.
type Query struct {
	opt    Options
	listen *announcer
	d      *deployment
	log    *appender
	desk   *desk

	events chan posted
	wake   chan struct{} // the timer rang
	quit   chan struct{} // the query's last loop has ended: nobody takes requests any more
	done   chan struct{} // everything has ended; err is set
	err    error
	status atomic.Pointer[microbatch.Status]

	work sync.WaitGroup // goroutines that carry out requests
	run  runner
	// life counts the loops of the query: a change of parallelism ends one and begins
	// the next. over is closed when the running one has ended. Both change only while
	// no goroutine of a life runs.
	life int
	over chan struct{}
	// parts is the parallelism of the running life, for who asks.
	parts atomic.Int64
	view  atomic.Pointer[liveView]
	waits atomic.Pointer[string] // for what, while it cannot run
	place *admit                 // among the queries that share workers; nil if nobody asks
	later bool                   // the plan of this life is handed out when the query may begin
	// refused are the workers that cannot run the plan.
	refused refusals
	// adopted are tasks of lives before that this one has gone on with.
	adopted atomic.Int64

	// Of the loop's goroutine alone (D1).
	m           *microbatch.Machine
	begun       time.Time // wall clock and monotonic reading of the start
	sources     map[string]*sourceLoop
	drained     map[string]*sourceLoop // of the life before
	keeper      *janitor
	traces      map[batch.ID]*trace
	asked       map[string]asking // by source, while it is under way
	latest      map[string]batch.Offset
	askTime     time.Duration // since the last plan
	lastTrigger time.Time
	lastPlanned time.Time
	waiting     []durable
	checkpoints []microbatch.Checkpointed
	uploading   batch.ID              // checkpoint under way; None if none
	last        *microbatch.Committed // newest in the log
	tokens      map[int]chan struct{}
	token       int
	saves       saves
	rescale     rescale
	renewal     renewal
	former      former
	latency     latencies
	recovery    recovering
	armed       batch.EventTime // when the timer rings; EndOfTime if it does not
	disarm      func() bool

	recent struct {
		sync.Mutex
		list   []Progress   // oldest first
		traces []BatchTrace // of the same batches
	}
}

// posted is an event for the machine and what to note down before it is told.
type posted struct {
	ev   microbatch.Event // nil: the note is all
	note func()
	life int // of an answer; 0 for a request, which counts in whatever life takes it
}

// durable is what to note down when an append is reported durable.
type durable struct {
	through uint64
	note    func()
}

// Start reads the log, refuses what cannot go on, and starts the query. When ctx
// ends the query is abandoned, as by Stop(.., true). The caller closes the log,
// the sources, the sinks and the transport after Await.
func Start(ctx context.Context, opt Options) (*Query, error) {
	opt = opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	if opt.Log == nil || !opt.Plan.Stream {
		return nil, fmt.Errorf("driver options: a streaming query needs a batch log and a streaming plan")
	}
	m, err := microbatch.New(opt.machine())
	if err != nil {
		return nil, err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("draw a run ID: %w", err)
	}
	q := &Query{opt: opt, begun: opt.Clock.Now(),
		events: make(chan posted, eventsWaiting), wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		latest: map[string]batch.Offset{}, tokens: map[int]chan struct{}{}}
	q.desk = newDesk(opt.Lookers)
	if len(opt.Lookers) > 0 {
		opt.Transport.Serve(q.desk.serve)
	}
	run := hex.EncodeToString(id[:])
	q.listen = &announcer{origin: Origin{Query: opt.Query, Name: opt.Name, Run: run}, run: run, now: opt.Clock.Now, to: opt.Listener}
	if err := q.queue(); err != nil {
		return nil, err
	}
	if err := q.begin(ctx, m); err != nil {
		q.leave()
		return nil, err
	}
	q.launch(ctx)
	return q, nil
}

// begin starts a life of the query: the log is read, and the plan deployed with
// the parallelism of the options.
func (q *Query) begin(ctx context.Context, m *microbatch.Machine) error {
	q.m, q.armed, q.uploading, q.waiting, q.checkpoints, q.last = m, batch.EndOfTime, batch.None, nil, nil, nil
	q.drained = q.sources
	q.sources, q.traces, q.asked = map[string]*sourceLoop{}, map[batch.ID]*trace{}, map[string]asking{}
	q.saves.durable = nil
	q.life++
	q.recovery.begin()
	q.d = newDeployment(q.opt, q.listen)
	if q.life > 1 {
		q.d.key += fmt.Sprintf("/%d", q.life)
	}
	q.run = runner{q: q}
	q.parts.Store(int64(q.opt.Parallelism))
	q.showState()
	if err := q.replay(ctx); err != nil {
		return kinded(err)
	}
	if q.later = q.queued(); q.later || q.opt.Members != nil {
		return nil // the plan is handed out later: there may be no worker yet, or no room on them
	}
	return q.deploy(ctx)
}

// deploy hands the plan to workers that stay.
func (q *Query) deploy(ctx context.Context) error {
	if err := q.d.deploy(ctx); err != nil {
		return errors.Join(err, q.d.undeploy())
	}
	return nil
}

// replay feeds the log to the machine.
func (q *Query) replay(ctx context.Context) error {
	started := QueryStarted{Planned: batch.None, Trigger: q.opt.Protocol.Trigger.String()}
	shown, last := map[string]batch.ID{}, microbatch.Committed{}
	var open *microbatch.Planned // the newest plan, while it is not committed
	for rec, err := range q.opt.Log.Replay(ctx, 0) {
		if err != nil {
			return fmt.Errorf("read the batch log: %w", err)
		}
		if err := q.m.Step(microbatch.LogRecord{Record: rec}); err != nil {
			return err
		}
		started.Records++
		q.former.term = rec.LogTerm()
		switch rec := rec.(type) {
		case microbatch.Planned:
			started.Planned, open = rec.Batch, &rec
		case microbatch.Checkpointed:
			q.noteCheckpoint(rec)
			q.saves.durable = &rec
		case microbatch.Adopted:
			c := rec.Checkpointed()
			q.checkpoints, q.saves.durable = []microbatch.Checkpointed{c}, &c
			started.Planned, open, q.last, last = rec.Plan.Batch, nil, &rec.Commit, rec.Commit
		case microbatch.Committed:
			q.last, open = &rec, nil
			for _, p := range last.Prepared { // a batch is committed when the one before is shown (M4)
				if p.Rows > 0 {
					shown[p.Sink] = last.Batch
				}
			}
			last = rec
		case microbatch.Started:
			q.former.workers = rec.Workers
		}
	}
	if err := q.m.Step(microbatch.Tick{At: q.now()}); err != nil {
		return err
	}
	if err := q.m.Step(microbatch.LogEnd{}); err != nil {
		return err
	}
	if err := q.notBehind(ctx, shown); err != nil {
		return err
	}
	q.listen.send(started)
	if open != nil {
		return q.refresh(ctx, *open)
	}
	return nil
}

// refresh lets sources look again at what a batch was to read that was never
// committed, which is often the one that stopped the query.
func (q *Query) refresh(ctx context.Context, p microbatch.Planned) error {
	for _, g := range p.Ranges {
		src, ok := q.opt.Sources[g.Source].(sources.Refresher)
		if !ok || isStatic(q.d, g.Source) {
			continue
		}
		notes, err := src.Refresh(ctx, g)
		if err != nil {
			return fmt.Errorf("look again at source %q for batch %d: %w", g.Source, p.Batch, err)
		}
		for _, n := range notes {
			q.listen.send(Warning{Doing: fmt.Sprintf("take up batch %d again", p.Batch), Err: errors.New(n)})
		}
	}
	return nil
}

// notBehind refuses a sink that has lost what it once showed, as after its target
// was put back from a copy: to go on would leave a hole. Of sinks that store
// digests the machine asks more, and those that remember nothing lose nothing.
func (q *Query) notBehind(ctx context.Context, shown map[string]batch.ID) error {
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		if q.opt.Volatile[name] || q.opt.Transactional[name] || q.opt.Sinks[name] == nil { // nil: of a plan before
			continue
		}
		holds, _, err := q.opt.Sinks[name].Holds(ctx)
		if err != nil {
			return fmt.Errorf("ask sink %q what it holds: %w", name, err)
		}
		if want := shown[name]; holds < want {
			return fmt.Errorf("%w: %q holds batches to %d, and batch %d was shown there: was it put back from an older copy?", microbatch.ErrSinkBehind, name, holds, want)
		}
	}
	return nil
}

// launch starts the query's goroutine, which lives through all its lives.
func (q *Query) launch(ctx context.Context) {
	unwatch := context.AfterFunc(ctx, func() {
		q.request(microbatch.StopRequested{Abandon: true}, q.ending)
	})
	go func() { // joined by Await through done
		err := q.live(ctx)
		for err == nil && q.again() {
			var m *microbatch.Machine
			q.opt.Protocol.Goal = q.m.Goal() // of the run, not of a life
			if q.opt.NextLife != nil {
				q.opt.Log, q.opt.Protocol.Term, err = q.opt.NextLife(ctx)
			}
			if err == nil {
				m, err = microbatch.New(q.opt.machine())
			}
			if err == nil {
				err = q.begin(ctx, m)
			}
			if err == nil {
				err = q.live(ctx)
			}
		}
		if q.renewal.poison != nil {
			err = errors.Join(err, q.renewal.poison)
		}
		unwatch()
		close(q.quit)
		q.leave()
		q.err = q.final(err)
		q.listen.send(QueryEnded{Err: q.err})
		close(q.done)
	}()
}

// again reports whether another life follows the one that has ended.
func (q *Query) again() bool {
	moved, renewed := q.rescale.take(&q.opt), q.renewal.take()
	return moved || renewed
}

// ending notes that the query is to end, and not to go on in another life.
func (q *Query) ending() {
	q.rescale.cancel()
	q.renewal.stopped = true
}

// live starts the goroutines of a life, runs its loop, and ends them.
func (q *Query) live(ctx context.Context) error {
	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	recvCtx, stopRecv := context.WithCancel(context.WithoutCancel(ctx))
	q.over = make(chan struct{})
	if err := q.enter(ctx); err != nil {
		close(q.over)
		stopWork()
		stopRecv()
		return err
	}
	q.staff()
	q.log = newAppender(q.opt.Log, q.post)
	q.keeper = newJanitor(q)
	q.work.Go(func() { q.log.run(workCtx) })
	q.work.Go(func() { q.keeper.run(workCtx) })
	for _, s := range q.opt.Plan.Sources {
		l := newSourceLoop(s.Name, q.opt.Sources[s.Name], q.opt.Limits[s.Name], !s.Stream, q.post)
		if was := q.drained[s.Name]; was != nil && q.opt.Protocol.Goal != nil {
			l.steps = was.steps // its goroutine has ended
		}
		q.sources[s.Name] = l
		q.work.Go(func() { l.run(workCtx) })
	}
	var recv sync.WaitGroup
	d := q.d
	recv.Go(func() { d.receive(recvCtx) })
	if q.opt.Members != nil {
		q.work.Go(func() { q.watchMembers(workCtx) })
	}
	q.desk.open(q.d.key, q.m.Status().Term)
	err := q.loop(workCtx)
	close(q.over)
	stopWork()
	q.desk.close()
	q.work.Wait() // needs the receiver: cancelled tasks answer
	stopRecv()
	recv.Wait()
	if uerr := d.undeploy(); uerr != nil {
		q.listen.send(Warning{Doing: "end the plan on the workers", Err: uerr})
	}
	return err
}

// final puts the query's name and the error's kind on what ended it. What Start
// refuses goes without the name: its caller knows which query it starts.
func (q *Query) final(err error) error {
	if err == nil {
		return nil
	}
	return kinded(fmt.Errorf("query %q: %w", q.opt.Name, err))
}

// kinded marks the refusals of the machine as the user's to mend.
func kinded(err error) error {
	if microbatch.IsRefusal(err) && !errors.Is(err, microbatch.ErrProtocol) {
		return &batch.Error{Kind: batch.User, Err: err}
	}
	return err
}

// post hands an answer to the loop. It is dropped when the loop has ended.
func (q *Query) post(ev microbatch.Event) { q.postNoting(ev, nil) }

func (q *Query) postNoting(ev microbatch.Event, note func()) {
	select {
	case q.events <- posted{ev, note, q.life}:
	case <-q.over:
	}
}

// request hands the loop something that was not asked for by the machine. It
// reports whether it was taken: not if the query has ended.
func (q *Query) request(ev microbatch.Event, note func()) bool {
	select {
	case q.events <- posted{ev: ev, note: note}:
		return true
	case <-q.quit:
		return false
	}
}

// ID returns the query's ID.
func (q *Query) ID() batch.QueryID { return q.opt.Query }

// RunID returns the name of this run of the query.
func (q *Query) RunID() string { return q.listen.run }

// Name returns the user's name for the query.
func (q *Query) Name() string { return q.opt.Name }

// Await returns when the query has ended, with what ended it; or with ctx's
// error, while the query goes on.
func (q *Query) Await(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Done is closed when the query has ended.
func (q *Query) Done() <-chan struct{} { return q.done }

// Stop ends the query and waits for it: after what is planned is shown and a
// last checkpoint written, or at once with abandon, which leaves the batch for
// the next start. It returns what ended the query; nil if that was Stop.
func (q *Query) Stop(ctx context.Context, abandon bool) error {
	q.request(microbatch.StopRequested{Abandon: abandon}, q.ending)
	return q.Await(ctx)
}

// ProcessAllAvailable returns when the output of all that the sources hold now
// is shown.
func (q *Query) ProcessAllAvailable(ctx context.Context) error {
	done := make(chan struct{})
	// The token is drawn on the loop's goroutine, so that it is in the map before
	// the machine can name it.
	ev := new(microbatch.ProcessAll)
	select {
	case q.events <- posted{note: func() {
		q.token++
		ev.Token = q.token
		q.tokens[q.token] = done
	}, ev: deferredEvent{ev}}:
	case <-q.quit:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-done:
		return nil
	case <-q.done:
		select {
		case <-done: // both: it was processed before the end
			return nil
		default:
		}
		if q.err != nil {
			return q.err
		}
		return ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Status is where the query stands.
func (q *Query) Status() microbatch.Status {
	if s := q.status.Load(); s != nil {
		return *s
	}
	return microbatch.Status{}
}

// Waiting says what the query waits for while it cannot run; "" while it can.
func (q *Query) Waiting() string {
	if w := q.waits.Load(); w != nil {
		return *w
	}
	if q.queued() {
		return q.opt.Admission.why(q.place)
	}
	return ""
}

// Recent returns the last finished batches, oldest first.
func (q *Query) Recent() []Progress {
	q.recent.Lock()
	defer q.recent.Unlock()
	return slices.Clone(q.recent.list)
}

// Progress returns the last finished batch; false if there is none yet.
func (q *Query) Progress() (Progress, bool) {
	q.recent.Lock()
	defer q.recent.Unlock()
	if n := len(q.recent.list); n > 0 {
		return q.recent.list[n-1], true
	}
	return Progress{}, false
}

func (q *Query) keep(p Progress, stages []StageTrace) {
	q.recent.Lock()
	defer q.recent.Unlock()
	if len(q.recent.list) == progressKept {
		q.recent.list = slices.Delete(q.recent.list, 0, 1)
		q.recent.traces = slices.Delete(q.recent.traces, 0, 1)
	}
	q.recent.traces = append(q.recent.traces, BatchTrace{Stages: stages})
	q.recent.list = append(q.recent.list, p)
}
