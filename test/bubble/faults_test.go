//go:build synctests

package bubble

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fault breaks something and returns what mends it; nil: nothing is to be mended.
type fault struct {
	name string
	long time.Duration // how long it lasts at most
	do   func(w *world) (mend func())
}

var faults = []fault{
	{"leading driver killed", 8 * time.Second, func(w *world) func() { return w.felled(w.leaderOr()) }},
	{"driver killed", 8 * time.Second, func(w *world) func() { return w.felled(w.any(w.drivers)) }},
	{"worker killed", 8 * time.Second, func(w *world) func() { return w.felled(w.any(w.workers)) }},
	{"power lost", 3 * time.Second, func(w *world) func() {
		w.blackout()
		return w.raiseAll
	}},
	{"leader stopped in good order", 4 * time.Second, func(w *world) func() { return w.left(w.leaderOr()) }},
	{"worker stopped in good order", 4 * time.Second, func(w *world) func() { return w.left(w.any(w.workers)) }},
	{"line cut", 12 * time.Second, func(w *world) func() {
		a, b := w.pair()
		return w.cut([2]string{a, b}, [2]string{b, a})
	}},
	{"line cut one way", 12 * time.Second, func(w *world) func() {
		a, b := w.pair()
		return w.cut([2]string{a, b})
	}},
	{"line flaps", 0, func(w *world) func() {
		a, b := w.pair()
		for range 2 + w.rng.IntN(6) {
			mend := w.cut([2]string{a, b}, [2]string{b, a})
			pause(time.Duration(w.rng.IntN(900)) * time.Millisecond)
			mend()
			pause(time.Duration(w.rng.IntN(600)) * time.Millisecond)
		}
		return nil
	}},
	{"connections reset", 0, func(w *world) func() {
		w.net.breakLines(w.pair())
		return nil
	}},
	{"leader cut off from drivers", 10 * time.Second, func(w *world) func() {
		l := w.leaderOr()
		var lines [][2]string
		for _, d := range w.drivers {
			if d != l {
				lines = append(lines, [2]string{l, d}, [2]string{d, l})
			}
		}
		return w.cut(lines...)
	}},
	{"leader cut off from workers", 10 * time.Second, func(w *world) func() {
		l := w.leaderOr()
		var lines [][2]string
		for _, d := range w.workers {
			lines = append(lines, [2]string{l, d}, [2]string{d, l})
		}
		return w.cut(lines...)
	}},
	{"zombie driver", 40 * time.Second, func(w *world) func() { return w.slept(w.leaderOr()) }},
	{"zombie worker", 40 * time.Second, func(w *world) func() { return w.slept(w.any(w.workers)) }},
	{"broker away", 15 * time.Second, func(w *world) func() { return w.slept("broker") }},
	{"broker restarted", 0, func(w *world) func() {
		for _, h := range slices.Concat(w.drivers, w.workers) {
			w.net.breakLines(h, "broker")
		}
		return nil
	}},
	{"answer to EndTxn lost", 0, func(w *world) func() {
		w.broker.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.RequestTimedOut, Count: 1 + w.rng.IntN(3)})
		return nil
	}},
	{"request refused", 0, func(w *world) func() {
		keys := []kmsg.Key{kmsg.EndTxn, kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.AddOffsetsToTxn, kmsg.InitProducerID, kmsg.OffsetFetch, kmsg.Fetch, kmsg.FindCoordinator}
		errs := []*kerr.Error{kerr.UnknownServerError, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions, kerr.NotLeaderForPartition}
		f := kfake.Fault{Keys: []kmsg.Key{keys[w.rng.IntN(len(keys))]}, Err: errs[w.rng.IntN(len(errs))], Count: 1 + w.rng.IntN(2)}
		switch f.Keys[0] { // the user's own requests go through
		case kmsg.Produce:
			f.Topic = w.any([]string{"copies", "counts"})
		case kmsg.Fetch:
			f.Topic = "in"
		case kmsg.InitProducerID:
			f.When = func(r kmsg.Request) bool { return r.(*kmsg.InitProducerIDRequest).TransactionalID != nil }
		}
		w.broker.Fault(f)
		return nil
	}},
	{"driver's disk fails", 0, func(w *world) func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if d := w.mu.drivers[w.any(w.drivers)]; d != nil {
			d.badWrites.Add(1)
		}
		return nil
	}},
	{"worker's disk fails", 0, func(w *world) func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if p := w.mu.workers[w.any(w.workers)]; p != nil {
			p.badWrites.Add(int32(1 + w.rng.IntN(3)))
		}
		return nil
	}},
}

func (w *world) any(ids []string) string { return ids[w.rng.IntN(len(ids))] }

// leaderOr is the driver that runs the query, or any.
func (w *world) leaderOr() string {
	id := w.any(w.drivers)
	if l := w.leader(); l != "" {
		return l
	}
	return id
}

// pair are two hosts that speak with each other.
func (w *world) pair() (a, b string) {
	all := slices.Concat([]string{"broker"}, w.drivers, w.workers)
	a, b = w.any(all[1:]), w.any(all)
	for a == b {
		b = w.any(all)
	}
	return a, b
}

func (w *world) felled(id string) func() {
	w.fell(id)
	return func() { w.raise(id) }
}

func (w *world) left(id string) func() {
	done := w.leave(id)
	return func() {
		<-done
		w.raise(id)
	}
}

func (w *world) cut(lines ...[2]string) func() {
	for _, l := range lines {
		w.net.cut(true, l[0], l[1])
	}
	return func() {
		for _, l := range lines {
			w.net.cut(false, l[0], l[1])
		}
	}
}

func (w *world) slept(id string) func() {
	w.net.sleep(true, id)
	return func() { w.net.sleep(false, id) }
}

// breaking breaks things for a while, one upon the other, while rows come. At its end
// nothing is broken.
func (w *world) breaking() {
	type due struct {
		at   time.Time
		mend func()
		name string
	}
	var open []due
	mend := func(all bool) {
		open = slices.DeleteFunc(open, func(d due) bool {
			if !all && d.at.After(time.Now()) {
				return false
			}
			w.note("mended: %s", d.name)
			d.mend()
			return true
		})
	}
	for range 2 + w.rng.IntN(7) {
		f := faults[w.rng.IntN(len(faults))]
		w.note("fault: %s", f.name)
		w.count(f.name)
		if m := f.do(w); m != nil {
			open = append(open, due{time.Now().Add(time.Duration(w.rng.Int64N(int64(f.long)))), m, f.name})
		}
		w.trickle(time.Duration(w.rng.Int64N(int64(w.calm))))
		mend(false)
	}
	mend(true)
}

// trickle lets time pass while rows come now and then, so that what breaks next breaks
// into a batch.
func (w *world) trickle(d time.Duration) {
	for end := time.Now().Add(d); ; {
		w.user.write(1 + w.rng.IntN(12))
		left := time.Until(end)
		if left <= 0 {
			return
		}
		pause(min(left, time.Duration(20+w.rng.IntN(int(w.trigger/time.Millisecond)))*time.Millisecond))
	}
}
