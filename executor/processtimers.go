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

// holdOf is what a timer of the key in hand holds, NoTime for nothing, and whether the
// timer is there.
func (s *processState) holdOf(byKey []byte) (hold batch.EventTime, there bool, err error) {
	hold = batch.NoTime
	err = s.txn.Get([][]byte{byKey}, func(_ int, stored []byte) (err error) {
		if there = true; len(stored) > 0 {
			hold, err = timeAt(stored, 0)
		}
		return err
	})
	return hold, there, err
}

// holdKey is the row of an event time that a timer of the key in hand holds.
func (s *processState) holdKey(hold, at batch.EventTime) []byte {
	return appendTime(append(appendTime([]byte{s.key[0], sectionHold}, hold), s.key[1:]...), at)
}

// release lets go what a timer holds.
func (s *processState) release(byKey []byte, at batch.EventTime) error {
	hold, _, err := s.holdOf(byKey)
	if err != nil || hold == batch.NoTime {
		return err
	}
	if err := s.txn.Delete(s.holdKey(hold, at)); err != nil {
		return err
	}
	return s.earliest(int(s.key[0]), sectionHold, &s.held[s.key[0]])
}

// lowestHold is the earliest event time that the key in hand holds; EndOfTime if none.
func (s *processState) lowestHold() (batch.EventTime, error) {
	lowest := batch.EndOfTime
	if !s.holds || s.held[s.key[0]] == batch.EndOfTime {
		return lowest, nil
	}
	prefix := append(s.path(nil, sectionTimers), 0)
	err := s.txn.Scan(prefix, successor(prefix), func(_, stored []byte) (bool, error) {
		if len(stored) == 0 {
			return true, nil
		}
		at, err := timeAt(stored, 0)
		lowest = min(lowest, at)
		return true, err
	})
	return lowest, err
}

// Hold sets a timer that holds an event time, but none that is over already.
func (s *processState) Hold(at, hold batch.EventTime) error {
	if !s.holds {
		return batch.UserErrorf("a timer holds event time: the processor needs the option HoldEventTime")
	}
	if hold > at {
		return batch.UserErrorf("a timer at %s cannot hold event time at %s, after it", at, hold)
	}
	if s.judge != batch.NoTime {
		hold = max(hold, s.judge+1)
	}
	if err := s.Remove(at, false); err != nil {
		return err
	}
	if err := s.Set(at, false); err != nil {
		return err
	}
	_, byKey := s.timerKeys(at, false)
	if err := s.txn.Put(byKey, appendTime(nil, hold)); err != nil {
		return err
	}
	s.held[s.key[0]] = min(s.held[s.key[0]], hold)
	return s.txn.Put(s.holdKey(hold, at), nil)
}

// Set sets a timer; one that is there stays.
func (s *processState) Set(at batch.EventTime, clock bool) error {
	byTime, byKey := s.timerKeys(at, clock)
	if s.holds && !clock {
		if _, there, err := s.holdOf(byKey); err != nil || there {
			return err
		}
	}
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
	if s.holds && !clock {
		if err := s.release(byKey, at); err != nil {
			return err
		}
	}
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
// whether it is still there, and the earliest event time that the key has held.
func (s *processState) takeTimer(t dueTimer, clock bool) (there bool, held batch.EventTime, err error) {
	if err := s.take(t.key); err != nil {
		return false, 0, err
	}
	byTime, byKey := s.timerKeys(t.at, clock)
	if err := s.txn.Get([][]byte{bytes.Clone(byTime)}, func(int, []byte) error { there = true; return nil }); err != nil || !there {
		return false, 0, err
	}
	if held, err = s.lowestHold(); err != nil {
		return false, 0, err
	}
	if s.holds && !clock {
		if err := s.release(byKey, t.at); err != nil {
			return false, 0, err
		}
	}
	if err := s.txn.Delete(byTime); err != nil {
		return false, 0, err
	}
	return true, held, s.txn.Delete(byKey)
}
