package executor

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/statestore"
)

// The sections of a key group in a processor's shard; docs/formats/state-rows.md
// has their rows.
const (
	sectionMeta   = iota // 0: the initial rows are read; 1, name: what a state is
	sectionEvent         // time, key: a timer by event time
	sectionClock         // time, key: a timer by the clock
	sectionExpiry        // time, key of a row of data: it may be over
	sectionData          // key, name of the state, sub: a value
	sectionTimers        // key, clock or not, time: the timers of a key
	sectionOut           // key, update key: the row that was put out
	sectionHold          // time, key, time of the timer: an event time that is held
)

// processState is the shard of a processor as the code of a user sees it: the
// states and timers of the key in hand.
type processState struct {
	keys  *stateKeys
	decls []logical.StateDecl
	alloc memory.Allocator
	txn   statestore.Txn
	now   batch.EventTime

	holds  bool       // timers may hold event time
	firing *dueTimers // nil but while timers are fired
	// judge is the event time by which rows that are put out now are late: the watermark
	// or, while a timer is fired, the last instant before its time, since what closes by
	// event time has closed by the watermark of an older batch, which was before that.
	// So it does not matter for a timer how far the watermark has come in one step. Rows
	// that an operator below has held back stand for their own times in the same way.
	judge batch.EventTime

	key []byte // in hand, with its key group
	buf []byte
	alt []byte

	first, end int
	version    batch.ID // that the arrays describe
	valid      bool
	event      [batch.KeyGroups]batch.EventTime // no timer of a group is before
	clock      [batch.KeyGroups]batch.EventTime
	expiry     [batch.KeyGroups]batch.EventTime
	held       [batch.KeyGroups]batch.EventTime
	declared   [batch.KeyGroups]bool // the group's states are those that are declared
}

var (
	_ logical.ProcessState  = (*processState)(nil)
	_ logical.ProcessTimers = (*processState)(nil)
)

func newProcessState(keys []arrow.DataType) (*processState, error) {
	k, err := newStateKeys(keys, -1, 0, nil)
	return &processState{keys: k}, err
}

// forget is before another life of the user's code, which declares its states again.
func (s *processState) forget() { s.decls, s.valid, s.key = nil, false, s.key[:0] }

// Declare adds a state; it gives its number.
func (s *processState) Declare(d logical.StateDecl) (int, error) {
	if d.Name == "" || len(d.Name) > 255 {
		return 0, batch.UserErrorf("state %q: a name has 1 to 255 bytes", d.Name)
	}
	if slices.ContainsFunc(s.decls, func(o logical.StateDecl) bool { return o.Name == d.Name }) {
		return 0, batch.UserErrorf("state %q is declared twice", d.Name)
	}
	s.decls = append(s.decls, d)
	return len(s.decls) - 1, nil
}

// open starts a batch. What is remembered of the version before saves looking for
// the next timer of every key group.
func (s *processState) open(tc *TaskContext, txn statestore.Txn) error {
	s.alloc, s.txn, s.now = tc.Alloc, txn, tc.Spec.Now
	s.key, s.firing, s.judge = s.key[:0], nil, batch.NoTime
	spec := &tc.Spec
	first, end := batch.GroupsOf(spec.Task.Partition, max(spec.Parts, 1))
	known := s.valid && s.version == spec.Base && s.first == first && s.end == end
	s.first, s.end, s.version, s.valid = first, end, spec.Base+1, false
	if known {
		return nil
	}
	for g := first; g < end; g++ {
		s.declared[g] = false
		for _, x := range []struct {
			section int
			at      *batch.EventTime
		}{{sectionEvent, &s.event[g]}, {sectionClock, &s.clock[g]}, {sectionExpiry, &s.expiry[g]}, {sectionHold, &s.held[g]}} {
			*x.at = batch.EndOfTime
			if _, once := txn.(*oneKeyStore); once || spec.Base == batch.None {
				continue
			}
			if err := s.earliest(g, x.section, x.at); err != nil {
				return err
			}
		}
	}
	return nil
}

// earliest looks for the first row of a section that is sorted by time.
func (s *processState) earliest(g, section int, at *batch.EventTime) error {
	*at = batch.EndOfTime
	return s.txn.Scan([]byte{byte(g), byte(section)}, []byte{byte(g), byte(section + 1)}, func(key, _ []byte) (bool, error) {
		var err error
		*at, err = timeAt(key, 2)
		return false, err
	})
}

// report says when the next timers are due, whose event time may lie so far behind
// the watermark.
func (s *processState) report(res *batch.TaskResult, shift int64) {
	s.valid = true
	wake := batch.EndOfTime
	for g := s.first; g < s.end; g++ {
		if s.event[g] != batch.EndOfTime {
			res.NextDue = min(res.NextDue, shifted(int64(s.event[g]), shift))
		}
		wake = min(wake, s.clock[g])
		if at := s.held[g]; at != batch.EndOfTime {
			if at = shifted(int64(at), shift); !res.Holds || at < res.Hold {
				res.Hold, res.Holds = at, true
			}
		}
	}
	if wake != batch.EndOfTime && (res.NextWake == 0 || wake < res.NextWake) {
		res.NextWake = max(wake, 1)
	}
}

// take turns to a key.
func (s *processState) take(key []byte) error {
	s.key = append(s.key[:0], key...)
	if s.declared[key[0]] {
		return nil
	}
	s.declared[key[0]] = true
	for i := range s.decls {
		if err := s.check(&s.decls[i]); err != nil {
			return err
		}
	}
	return s.dropUndeclared(key[0])
}

// dropUndeclared takes the states out of a key group that the code declares no more.
func (s *processState) dropUndeclared(g byte) error {
	if _, once := s.txn.(*oneKeyStore); once {
		return nil
	}
	var rows [][]byte
	gone := map[string]bool{}
	err := s.txn.Scan([]byte{g, sectionMeta, 1}, []byte{g, sectionMeta, 2}, func(key, _ []byte) (bool, error) {
		name := string(key[3:])
		if !slices.ContainsFunc(s.decls, func(d logical.StateDecl) bool { return d.Name == name }) {
			rows, gone[name] = append(rows, bytes.Clone(key)), true
		}
		return true, nil
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	err = s.txn.Scan([]byte{g, sectionData}, []byte{g, sectionData + 1}, func(key, _ []byte) (bool, error) {
		rest, err := s.keys.enc.Behind(key[2:])
		if err != nil {
			return false, err
		}
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return false, rowkey.ErrDamaged
		}
		if gone[string(rest[1:1+rest[0]])] {
			rows = append(rows, bytes.Clone(key))
		}
		return true, nil
	})
	for i := 0; i < len(rows) && err == nil; i++ {
		err = s.txn.Delete(rows[i])
	}
	return err
}

// declVersion is the first byte of the row that says what a state is.
const declVersion = 1

// check holds a declaration against what the key group has, and notes it there.
func (s *processState) check(d *logical.StateDecl) error {
	if _, once := s.txn.(*oneKeyStore); once {
		return nil
	}
	now, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("declare state %q: %w", d.Name, err)
	}
	now = append([]byte{declVersion}, now...)
	key := append([]byte{s.key[0], sectionMeta, 1}, d.Name...)
	same := false
	err = s.txn.Get([][]byte{key}, func(_ int, value []byte) error {
		if same = bytes.Equal(value, now); same {
			return nil
		}
		if len(value) == 0 || value[0] != declVersion {
			return rowkey.ErrDamaged
		}
		var was logical.StateDecl
		if err := json.Unmarshal(value[1:], &was); err != nil {
			return rowkey.ErrDamaged
		}
		if why := grows(&was, d); why != "" {
			return batch.UserErrorf("state %q is not what the checkpoint holds: %s; give the processor another version and the query a CHECKPOINT of its own, or use another name for the state", d.Name, why)
		}
		return nil
	})
	if err != nil || same {
		return err
	}
	return s.txn.Put(key, now)
}

// grows says why a state cannot become another one; "" if it can.
func grows(was, is *logical.StateDecl) string {
	if was.Kind != is.Kind {
		return fmt.Sprintf("it was a %s, now it is a %s", was.Kind, is.Kind)
	}
	if !slices.Equal(was.Key, is.Key) {
		return fmt.Sprintf("its keys were %s, now they are %s", fieldsText(was.Key), fieldsText(is.Key))
	}
	for i, f := range was.Fields {
		switch {
		case i >= len(is.Fields):
			return fmt.Sprintf("field %s %s is gone", f.Name, f.Type)
		case is.Fields[i].Name != f.Name:
			return fmt.Sprintf("field %d was %s, now it is %s (new fields come last)", i+1, f.Name, is.Fields[i].Name)
		case is.Fields[i].Type != f.Type:
			return fmt.Sprintf("field %s was %s, now it is %s", f.Name, f.Type, is.Fields[i].Type)
		case f.Nullable && !is.Fields[i].Nullable:
			return fmt.Sprintf("field %s could be NULL, now it cannot", f.Name)
		}
	}
	for _, f := range is.Fields[len(was.Fields):] {
		if !f.Nullable {
			return fmt.Sprintf("field %s is new and cannot be NULL, which it is in the values that are there", f.Name)
		}
	}
	return ""
}

func fieldsText(fs []logical.StateField) string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = f.Name + " " + f.Type
	}
	return "(" + strings.Join(out, ", ") + ")"
}

// path starts a row's key in a section of the key in hand.
func (s *processState) path(dst []byte, section byte) []byte {
	return append(append(dst[:0], s.key[0], section), s.key[1:]...)
}

// data is the key of a value.
func (s *processState) data(state int, sub []byte) []byte {
	name := s.decls[state].Name
	s.buf = append(s.path(s.buf, sectionData), byte(len(name)))
	s.buf = append(append(s.buf, name...), sub...)
	return s.buf
}

// processRow is a stored value: 0 and the value, or 1, when it is over, under which time
// it stands in the section of expiries, and the value.
type processRow struct {
	expiry, listed batch.EventTime
	mortal         bool
	value          []byte
}

func storedRow(stored []byte) (r processRow, err error) {
	switch {
	case len(stored) > 0 && stored[0] == 0:
		r.value = stored[1:]
		return r, nil
	case len(stored) > 0 && stored[0] == 1:
		expiry, n := binary.Varint(stored[1:])
		if n <= 0 {
			break
		}
		listed, m := binary.Varint(stored[1+n:])
		if m <= 0 {
			break
		}
		return processRow{batch.EventTime(expiry), batch.EventTime(listed), true, stored[1+n+m:]}, nil
	}
	return r, rowkey.ErrDamaged
}

func (r *processRow) append(dst []byte) []byte {
	if !r.mortal {
		return append(append(dst, 0), r.value...)
	}
	dst = binary.AppendVarint(append(dst, 1), int64(r.expiry))
	return append(binary.AppendVarint(dst, int64(r.listed)), r.value...)
}

func (r *processRow) over(now batch.EventTime) bool { return r.mortal && r.expiry <= now }

// Get visits a value. Reading makes it live longer if the state says so.
func (s *processState) Get(state int, sub []byte, visit func(value []byte) error) (bool, error) {
	found := false
	var renewed []byte
	err := s.txn.Get([][]byte{s.data(state, sub)}, func(_ int, stored []byte) error {
		r, err := storedRow(stored)
		if err != nil || r.over(s.now) {
			return err
		}
		if found = true; s.renews(state, r) {
			renewed = append([]byte{}, r.value...)
		}
		return visit(r.value)
	})
	if err == nil && renewed != nil {
		err = s.Put(state, sub, renewed)
	}
	return found, err
}

// renews reports whether a value that is read lives longer from now on.
func (s *processState) renews(state int, r processRow) bool {
	d := &s.decls[state]
	return d.OnRead && d.TTL > 0 && (!r.mortal || r.expiry < later(s.now, d.TTL))
}

// Put sets a value, and with a TTL when it is over. A row is listed once among the
// expiries: a later expiry of a row that is listed is found when its time comes.
func (s *processState) Put(state int, sub, value []byte) error {
	key := s.data(state, sub)
	r := processRow{value: value}
	if ttl := s.decls[state].TTL; ttl > 0 {
		r.mortal, r.expiry, r.listed = true, later(s.now, ttl), 0
		listed := false
		err := s.txn.Get([][]byte{key}, func(_ int, stored []byte) error {
			was, err := storedRow(stored)
			if listed = was.mortal; listed {
				r.listed = was.listed
			}
			return err
		})
		if err != nil {
			return err
		}
		if !listed || r.listed > r.expiry { // of a TTL that is shorter now
			r.listed = r.expiry
			if err := s.list(key, r.listed); err != nil {
				return err
			}
		}
	}
	s.alt = r.append(s.alt[:0])
	return s.txn.Put(key, s.alt)
}

// list puts a row among the expiries.
func (s *processState) list(key []byte, at batch.EventTime) error {
	k := appendTime([]byte{key[0], sectionExpiry}, at)
	s.expiry[key[0]] = min(s.expiry[key[0]], at)
	return s.txn.Put(append(k, key[2:]...), nil)
}

func later(t batch.EventTime, d time.Duration) batch.EventTime {
	return shifted(int64(t), max(d.Microseconds(), 1))
}

// Delete forgets a value. Its place among the expiries is found empty in time.
func (s *processState) Delete(state int, sub []byte) error { return s.txn.Delete(s.data(state, sub)) }

// Scan visits the values of a state.
func (s *processState) Scan(state int, visit func(sub, value []byte) (bool, error)) error {
	prefix := bytes.Clone(s.data(state, nil))
	var subs, values [][]byte // to be renewed
	err := s.txn.Scan(prefix, successor(prefix), func(key, stored []byte) (bool, error) {
		r, err := storedRow(stored)
		if err != nil || r.over(s.now) {
			return err == nil, err
		}
		if s.renews(state, r) {
			subs, values = append(subs, bytes.Clone(key[len(prefix):])), append(values, bytes.Clone(r.value))
		}
		return visit(key[len(prefix):], r.value)
	})
	for i := 0; i < len(subs) && err == nil; i++ {
		err = s.Put(state, subs[i], values[i])
	}
	return err
}

// expire takes the rows out of the store that are over.
func (s *processState) expire() error {
	for g := s.first; g < s.end; g++ {
		if s.expiry[g] > s.now {
			continue
		}
		var listed [][]byte
		limit := appendTime([]byte{byte(g), sectionExpiry}, s.now+1)
		err := s.txn.Scan([]byte{byte(g), sectionExpiry}, limit, func(key, _ []byte) (bool, error) {
			listed = append(listed, bytes.Clone(key))
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, k := range listed {
			if err := s.expireRow(k); err != nil {
				return err
			}
		}
		if err := s.earliest(g, sectionExpiry, &s.expiry[g]); err != nil {
			return err
		}
	}
	return nil
}

// expireRow looks at a row whose listed time has come.
func (s *processState) expireRow(listed []byte) error {
	at, err := timeAt(listed, 2)
	if err != nil {
		return err
	}
	key := append([]byte{listed[0], sectionData}, listed[10:]...)
	var r processRow
	gone := true
	err = s.txn.Get([][]byte{key}, func(_ int, stored []byte) error {
		var err error
		r, err = storedRow(stored)
		r.value = bytes.Clone(r.value)
		gone = !r.mortal || r.listed != at
		return err
	})
	switch {
	case err != nil:
		return err
	case gone: // it was cleared, and perhaps set again and listed anew
	case r.over(s.now):
		err = s.txn.Delete(key)
	default:
		r.listed = r.expiry
		err = errors.Join(s.list(key, r.listed), s.txn.Put(key, r.append(nil)))
	}
	return errors.Join(err, s.txn.Delete(listed))
}
