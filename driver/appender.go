package driver

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/microbatch"
)

// appendsWaiting is how many requests may wait while one is written. The machine
// asks for a handful at most before it has to wait for an answer.
const appendsWaiting = 16

// appender writes records in order on a goroutine of its own: while one group
// is being made durable, what queues up becomes the next group.
type appender struct {
	log   BatchLog
	queue chan appendRequest
	post  func(microbatch.Event)
}

type appendRequest struct {
	recs    []microbatch.Record
	through uint64
}

func newAppender(log BatchLog, post func(microbatch.Event)) *appender {
	return &appender{log: log, queue: make(chan appendRequest, appendsWaiting), post: post}
}

// run ends when ctx is done, or after the first failure: a failed append is
// never repeated and nothing may follow it.
func (a *appender) run(ctx context.Context) {
	for {
		var req appendRequest
		select {
		case <-ctx.Done():
			return
		case req = <-a.queue:
		}
		recs := req.recs
		for more := true; more; {
			select {
			case next := <-a.queue:
				recs = append(recs[:len(recs):len(recs)], next.recs...)
				req.through = next.through
			default:
				more = false
			}
		}
		pass(recs, fault.C1, fault.C6)
		if err := a.log.Append(ctx, newestTerm(recs), recs...); err != nil {
			a.post(microbatch.AppendFailed{Err: err})
			return
		}
		pass(recs, fault.C2, fault.C10)
		a.post(microbatch.LogAppended{Through: req.through})
	}
}

// pass is the crash points before or after records become durable.
func pass(recs []microbatch.Record, planned, committed fault.Point) {
	if !fault.On {
		return
	}
	for _, rec := range recs {
		switch rec.(type) {
		case microbatch.Planned:
			fault.Hit(planned)
		case microbatch.Committed:
			fault.Hit(committed)
		default:
		}
	}
}

func newestTerm(recs []microbatch.Record) batch.Term {
	var t batch.Term
	for _, r := range recs {
		t = max(t, r.LogTerm())
	}
	return t
}
