package executor

import (
	"bytes"
	"container/heap"
	"encoding/binary"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
)

// dueTimer is a timer whose time has come.
type dueTimer struct {
	at    batch.EventTime
	key   []byte          // with its key group
	depth int             // how many timers have set one another to come to this one
	judge batch.EventTime // of the rows that it puts out, see processState
}

// dueTimers are those of a key group, a heap by time and key.
type dueTimers struct {
	timers []dueTimer
	limit  batch.EventTime
	clock  bool
	depth  int // of the one that is being fired
}

func (d *dueTimers) Len() int { return len(d.timers) }
func (d *dueTimers) Less(i, j int) bool {
	a, b := &d.timers[i], &d.timers[j]
	return a.at < b.at || a.at == b.at && bytes.Compare(a.key, b.key) < 0
}
func (d *dueTimers) Swap(i, j int) { d.timers[i], d.timers[j] = d.timers[j], d.timers[i] }

// Push implements heap.Interface.
func (d *dueTimers) Push(x any) { d.timers = append(d.timers, x.(dueTimer)) }

// Pop implements heap.Interface.
func (d *dueTimers) Pop() any {
	last := d.timers[len(d.timers)-1]
	d.timers = d.timers[:len(d.timers)-1]
	return last
}

// next takes out the first.
func (d *dueTimers) next() dueTimer {
	t := heap.Pop(d).(dueTimer)
	d.depth = t.depth
	return t
}

// appendTime appends a time in the form that sorts.
func appendTime(dst []byte, t batch.EventTime) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^1<<63)
}

func timeAt(key []byte, from int) (batch.EventTime, error) {
	if len(key) < from+8 {
		return 0, rowkey.ErrDamaged
	}
	return batch.EventTime(binary.BigEndian.Uint64(key[from:]) ^ 1<<63), nil
}

// timerKeys are the two rows of a timer of the key in hand: by time, and by key.
func (s *processState) timerKeys(at batch.EventTime, clock bool) (byTime, byKey []byte) {
	section, kind := byte(sectionEvent), byte(0)
	if clock {
		section, kind = sectionClock, 1
	}
	byTime = append(appendTime([]byte{s.key[0], section}, at), s.key[1:]...)
	return byTime, appendTime(append(s.path(nil, sectionTimers), kind), at)
}

// Set sets a timer; one that is there stays.
func (s *processState) Set(at batch.EventTime, clock bool) error {
	byTime, byKey := s.timerKeys(at, clock)
	if d := s.firing; d != nil && d.clock == clock && at <= d.limit {
		heap.Push(d, dueTimer{at: at, key: bytes.Clone(s.key), depth: d.depth + 1, judge: max(at-1, s.judge)})
	} else if clock {
		s.clock[s.key[0]] = min(s.clock[s.key[0]], at)
	} else {
		s.event[s.key[0]] = min(s.event[s.key[0]], at)
	}
	var late []byte
	if !clock && at <= s.judge { // it fires in this batch, and stands for no step of the watermark
		late = appendTime(nil, s.judge)
	}
	if err := s.txn.Put(byTime, late); err != nil {
		return err
	}
	return s.txn.Put(byKey, nil)
}

// Remove takes a timer back; that there is none is no fault.
func (s *processState) Remove(at batch.EventTime, clock bool) error {
	byTime, byKey := s.timerKeys(at, clock)
	if err := s.txn.Delete(byTime); err != nil {
		return err
	}
	if err := s.txn.Delete(byKey); err != nil {
		return err
	}
	section, next := sectionEvent, &s.event[s.key[0]]
	if clock {
		section, next = sectionClock, &s.clock[s.key[0]]
	}
	if *next < at {
		return nil
	}
	return s.earliest(int(s.key[0]), section, next)
}

// List returns the timers of the key in hand in the order of time.
func (s *processState) List(clock bool) ([]batch.EventTime, error) {
	kind := byte(0)
	if clock {
		kind = 1
	}
	prefix := append(s.path(nil, sectionTimers), kind)
	var out []batch.EventTime
	err := s.txn.Scan(prefix, successor(prefix), func(key, _ []byte) (bool, error) {
		at, err := timeAt(key, len(prefix))
		out = append(out, at)
		return true, err
	})
	return out, err
}

// due returns the timers of a key group that are due, nil if there are none. Those
// that are set from now on until fired is called join them if they are due, too.
func (s *processState) due(g int, clock bool, limit batch.EventTime) (*dueTimers, error) {
	section, next := byte(sectionEvent), &s.event[g]
	if clock {
		section, next = sectionClock, &s.clock[g]
	}
	if *next > limit || *next == batch.EndOfTime || limit == batch.NoTime {
		return nil, nil
	}
	*next = batch.EndOfTime
	d := &dueTimers{limit: limit, clock: clock}
	err := s.txn.Scan([]byte{byte(g), section}, []byte{byte(g), section + 1}, func(key, late []byte) (bool, error) {
		at, err := timeAt(key, 2)
		if err != nil {
			return false, err
		}
		if at > limit {
			*next = at
			return false, nil
		}
		// They come in the order of the heap.
		t := dueTimer{at: at, key: append([]byte{byte(g)}, key[10:]...), judge: at - 1}
		if len(late) > 0 {
			if t.judge, err = timeAt(late, 0); err != nil {
				return false, err
			}
		}
		d.timers = append(d.timers, t)
		return true, nil
	})
	s.firing = d
	return d, err
}

// fired ends the time in which timers join those that are due.
func (s *processState) fired() { s.firing = nil }

// takeTimer turns to the key of a timer and takes it out of the store. It reports
// whether it is still there.
func (s *processState) takeTimer(t dueTimer, clock bool) (bool, error) {
	if err := s.take(t.key); err != nil {
		return false, err
	}
	byTime, byKey := s.timerKeys(t.at, clock)
	there := false
	if err := s.txn.Get([][]byte{bytes.Clone(byTime)}, func(int, []byte) error { there = true; return nil }); err != nil || !there {
		return false, err
	}
	if err := s.txn.Delete(byTime); err != nil {
		return false, err
	}
	return true, s.txn.Delete(byKey)
}
