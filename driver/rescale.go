package driver

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// rescale is a change of parallelism under way. It belongs to the loop's
// goroutine, and between two lives to the query's.
type rescale struct {
	to      int // 0: none is under way
	waiting []chan error
	moving  bool // the life with the new parallelism has begun
}

// cancel forgets the change: the query is to end.
func (r *rescale) cancel() { r.to = 0 }

// take begins the change when a life has ended for it.
func (r *rescale) take(opt *Options) bool {
	if r.to == 0 {
		return false
	}
	opt.Parallelism, r.to, r.moving = r.to, 0, true
	return true
}

// status tells who waits that state is rebuilt in the new partitions.
func (r *rescale) status(st microbatch.Status) {
	if !r.moving || st.Phase == microbatch.Reading || st.Phase == microbatch.Recovering || st.Phase == microbatch.Ended {
		return
	}
	for _, w := range r.waiting {
		w <- nil // it has room
	}
	r.waiting, r.moving = nil, false
}

// Parallelism returns the number of partitions of Hash stages.
func (q *Query) Parallelism() int { return int(q.parts.Load()) }

// Rescale gives the query another parallelism between two batches: the running
// batch is finished and shown, a checkpoint of its state written, and the state
// loaded again in other partitions, from that checkpoint or an older one and the
// batches since. That is the road of a restart (C1 to C18), so a crash anywhere on
// it loses and doubles nothing. It returns when batches run again.
func (q *Query) Rescale(ctx context.Context, parallelism int) error {
	if parallelism < 1 || parallelism > batch.KeyGroups {
		return batch.UserErrorf("parallelism %d is not between 1 and %d", parallelism, batch.KeyGroups)
	}
	if q.opt.Protocol.Trigger.Kind == microbatch.Once {
		return batch.UserErrorf("query %q runs one batch and ends (TRIGGER ONCE): start it with another parallelism", q.opt.Name)
	}
	done := make(chan error, 1)
	taken := q.request(nil, func() {
		if q.opt.Parallelism == parallelism && q.rescale.to == 0 {
			done <- nil
			return
		}
		q.opt.Auto = false
		q.rescale.to = parallelism
		q.rescale.waiting = append(q.rescale.waiting, done)
		q.step(microbatch.StopRequested{})
	})
	if !taken {
		return ErrEnded
	}
	select {
	case err := <-done:
		return err
	case <-q.done:
		select {
		case err := <-done:
			return err
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
