package sluice

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner"
)

// Progress describes a finished micro-batch, with the fields of Spark's
// StreamingQueryProgress.
type Progress = driver.Progress

// Recovery tells how a query came by its state when it was started.
type Recovery = driver.Recovery

// Totals counts over all batches that this process has committed.
type Totals struct {
	Batches int64 `json:"batches"`
	RowsIn  int64 `json:"rowsIn"`
	RowsOut int64 `json:"rowsOut"`
	Late    int64 `json:"late"`
	// Quarantined rows could not be decoded or computed, and are in a table.
	Quarantined int64 `json:"quarantined"`
}

// Query is a running or ended streaming query.
type Query struct {
	s     *Session
	def   *queryDef
	plan  *planner.Query
	hash  string // of the plan and the targets
	dir   string
	log   queryLog
	res   *resources
	node  transport.Transport
	drv   *driver.Query
	quota Quota
	// targets are the plan's sinks, for who runs the plan once more.
	targets []target

	totals   struct{ batches, in, out, late, bad atomic.Int64 }
	lastData atomic.Int64 // when a batch with rows was last committed, Unix nanoseconds
	seen     atomic.Bool  // the error has been handed out
	paused   atomic.Bool  // what has ended it passes, and its driver starts it again
	clean    sync.Once
	cleanErr error
}

// on counts what happens, for Totals and for ending when idle.
func (q *Query) on(_ driver.Origin, e driver.Event) {
	if c, ok := e.(driver.BatchCommitted); ok {
		q.def.finishing.committed(c.Batch)
		q.totals.batches.Add(1)
		q.totals.in.Add(c.Counters.RowsIn)
		q.totals.out.Add(c.Counters.RowsOut)
		q.totals.late.Add(c.Counters.Late)
		q.totals.bad.Add(c.Counters.Quarantined)
		if c.Counters.RowsIn > 0 {
			q.lastData.Store(time.Now().UnixNano())
		}
	}
}

// Name returns the query's name.
func (q *Query) Name() string { return q.def.name }

// ID returns the query's ID, which is drawn at its first start and kept in its checkpoint.
func (q *Query) ID() string { return string(q.drv.ID()) }

// Await returns when the query has ended, with what ended it: nil after a stop
// or when a bounded trigger has processed everything.
func (q *Query) Await(ctx context.Context) error {
	err := q.drv.Await(ctx)
	select {
	case <-q.drv.Done():
	default:
		return err // ctx ended; the query goes on
	}
	q.seen.Store(true)
	return errors.Join(err, q.cleanUp())
}

// cleanUp closes what the query held, once.
func (q *Query) cleanUp() error {
	q.clean.Do(func() {
		var errs []error
		if q.res != nil {
			q.s.conns.remove(q.res.query)
			errs = append(errs, q.res.close())
		}
		if q.node != nil {
			errs = append(errs, q.node.Close())
		}
		errs = append(errs, q.log.Close())
		q.cleanErr = errors.Join(errs...)
	})
	return q.cleanErr
}

func (q *Query) reported() bool { return q.seen.Load() }

// Stop lets the batches that are planned finish and ends the query; Await tells when it has.
func (q *Query) Stop() { q.stop(false) }

// Abandon ends the query at once. The running batch is run again at the next start.
func (q *Query) Abandon() { q.stop(true) }

func (q *Query) stop(abandon bool) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // do not wait here
	_ = q.drv.Stop(ctx, abandon)
}

// ProcessAllAvailable returns when the output of all that the sources hold now is visible.
func (q *Query) ProcessAllAvailable(ctx context.Context) error { return q.drv.ProcessAllAvailable(ctx) }

// Progress describes the last finished batch; its BatchID is -1 if there is none yet.
func (q *Query) Progress() Progress {
	p, ok := q.drv.Progress()
	if !ok {
		return Progress{ID: q.ID(), RunID: q.drv.RunID(), Name: q.Name(), BatchID: -1}
	}
	return p
}

// Recent describes the last finished batches, oldest first.
func (q *Query) Recent() []Progress { return q.drv.Recent() }

// Recovery tells how the query came by its state when it was started here, or was
// given another parallelism: what was restored, run again, found on the machine and
// fetched from elsewhere. ok is false if it began with nothing, or is not that far.
func (q *Query) Recovery() (r Recovery, ok bool) { return q.drv.Recovery() }

// Standbys tells how far copies of a query's state have followed it.
type Standbys = driver.Standbys

// Standbys tells how far the copies of the state have followed it on other workers
// (state.standby-replicas); not ok if there are to be none.
func (q *Query) Standbys() (s Standbys, ok bool) { return q.drv.Standbys() }

// LatencyHistogram counts rows by how long they took.
type LatencyHistogram = driver.Latency

// Latency returns how long the query's rows took, since it was started here, from when
// their source's system was given them (the timestamp of a message of Kafka) until every
// sink showed what became of them. Sources that do not tell when rows came are left out.
func (q *Query) Latency() LatencyHistogram { return q.drv.Latency() }

// Status says in one word what the query is doing.
func (q *Query) Status() string {
	select {
	case <-q.drv.Done():
		if err := q.drv.Await(context.Background()); err != nil {
			if q.paused.Load() {
				return "paused"
			}
			return "failed"
		}
		return "ended"
	default:
		if w := q.drv.Waiting(); w != "" {
			return w
		}
		return q.drv.Status().Phase.String()
	}
}

// Totals counts over all batches that this process has committed.
func (q *Query) Totals() Totals {
	return Totals{
		Batches: q.totals.batches.Load(), RowsIn: q.totals.in.Load(), RowsOut: q.totals.out.Load(), Late: q.totals.late.Load(),
		Quarantined: q.totals.bad.Load(),
	}
}

// Explain returns the query's plan as EXPLAIN prints it.
func (q *Query) Explain() string {
	return explainText(q.plan, q.def.name, string(q.def.mode)) + q.quota.explained()
}

// Quota returns what the query may have of the workers that it shares with others.
func (q *Query) Quota() Quota { return q.quota }

// UpdateKeys names the columns by which rows that are put out in the mode Update
// replace one another: a function of ForeachBatch needs them for an upsert. A
// result of one row has none, and each row replaces the one before it. ok is false
// where nothing is ever replaced: in the other modes, and for a result that only grows.
func (q *Query) UpdateKeys() (columns []string, ok bool) {
	s := q.plan.Plan.Sinks[0]
	if s.Mode != string(Update) || len(s.Keys) == 0 && !s.OneRow {
		return nil, false
	}
	return slices.Clone(s.Keys), true
}

// Checkpoint returns the folder of the query's checkpoint.
func (q *Query) Checkpoint() string { return q.s.buckets.shown(q.dir) }

// Queries lists the session's queries in the order of their start, ended ones included.
func (s *Session) Queries() []*Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Query{}, s.mu.queries...)
}

// Query finds a query by name.
func (s *Session) Query(name string) (*Query, bool) {
	for _, q := range s.Queries() {
		if strings.EqualFold(q.Name(), name) {
			return q, true
		}
	}
	return nil, false
}

// StopAll lets every query finish what is planned and end.
func (s *Session) StopAll() {
	for _, q := range s.Queries() {
		q.Stop()
	}
}

// AbandonAll ends every query at once.
func (s *Session) AbandonAll() {
	for _, q := range s.Queries() {
		q.Abandon()
	}
}

// AwaitAll waits for every query. When one fails the others are stopped; the
// error joins what went wrong.
func (s *Session) AwaitAll(ctx context.Context) error {
	queries := s.Queries()
	results := make(chan error, len(queries))
	for _, q := range queries {
		go func() { results <- q.Await(ctx) }() // received below, every one
	}
	var errs []error
	for range queries {
		if err := <-results; err != nil {
			errs = append(errs, err)
			if ctx.Err() == nil {
				s.StopAll()
			}
		}
	}
	return errors.Join(errs...)
}

// StopWhenIdle stops all queries when none has had data for d and there is none to
// process, so that a query that starts slowly, or has a long batch, is not taken for an
// idle one. The returned function ends the watch.
func (s *Session) StopWhenIdle(d time.Duration) (cancel func()) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	started := time.Now()
	go func() {
		defer close(ended)
		tick := time.NewTicker(max(d/10, 5*time.Millisecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if s.idleSince(started) > d && s.processAll(ctx) && s.idleSince(started) > d {
					s.StopAll()
					return
				}
			}
		}
	}()
	return func() {
		stop()
		<-ended
	}
}

// processAll lets every query that runs process what its sources hold; false if ctx
// ended first.
func (s *Session) processAll(ctx context.Context) bool {
	for _, q := range s.Queries() {
		_ = q.ProcessAllAvailable(ctx) // a query that has ended, also by an error, is idle
	}
	return ctx.Err() == nil
}

// idleSince is how long ago any query last had data, or was started.
func (s *Session) idleSince(started time.Time) time.Duration {
	last := started.UnixNano()
	for _, q := range s.Queries() {
		last = max(last, q.lastData.Load())
	}
	return time.Duration(time.Now().UnixNano() - last)
}
