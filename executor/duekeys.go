package executor

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/statestore"
)

// Keys of operators whose state lies in several parts, told apart by the byte
// behind the key group: an index by the time at which something is due comes
// first, [key group][0][time].. .

// tagged puts a part's byte into a group's key, behind the key group.
func tagged(group []byte, tag byte) []byte {
	out := make([]byte, 0, len(group)+40)
	out = append(out, group[0], tag)
	return append(out, group[1:]...)
}

// timeWord appends a time so that its bytes order as the times do.
func timeWord(dst []byte, t int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^1<<63)
}

func wordTime(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

func spanKey(group []byte, start int64) []byte { return timeWord(tagged(group, sessionSpan), start) }

func dueKey(group []byte, s openSpan) []byte {
	key := make([]byte, 0, len(group)+24)
	key = timeWord(append(key, group[0], sessionDue), s.end)
	return timeWord(append(key, group[1:]...), s.start)
}

// dueSession takes an entry of the index of sessions apart, which it changes.
func dueSession(entry []byte) (group []byte, s openSpan, err error) {
	if len(entry) < 18 {
		return nil, s, rowkey.ErrDamaged
	}
	cut := len(entry) - 8
	s = openSpan{start: wordTime(entry[cut:]), end: wordTime(entry[2:])}
	return dueGroup(entry[:cut:cut]), s, nil
}

func rowKey(group []byte, t int64, row []byte) []byte {
	sum := xxh3.Hash128(row).Bytes()
	return append(timeWord(tagged(group, sessionRow), t), sum[:]...)
}

// dueTime reads the time of the first part's keys.
func dueTime(key []byte) (batch.EventTime, error) {
	if len(key) < 10 {
		return 0, rowkey.ErrDamaged
	}
	return batch.EventTime(wordTime(key[2:])), nil
}

// dueGroup is the group's key of an entry of the index, made where the entry is.
func dueGroup(entry []byte) []byte {
	entry[9] = entry[0]
	return entry[9:]
}

// dueRow is the key that an entry of the index is of, in another part of the state,
// made where the entry is.
func dueRow(entry []byte, tag byte) []byte {
	entry[8], entry[9] = entry[0], tag
	return entry[8:]
}

// timesIn is the last of an operator's columns, a time.
func timesIn(what fmt.Stringer, cols []arrow.Array) (*array.Timestamp, error) {
	last := cols[len(cols)-1]
	times, ok := last.(*array.Timestamp)
	if !ok {
		return nil, fmt.Errorf("%s: the time is %s, not a timestamp", what, last.DataType())
	}
	return times, nil
}

// timeOf is the time of a row, math.MinInt64 for none.
func timeOf(times *array.Timestamp, i int) (int64, error) {
	if times.IsNull(i) {
		return math.MinInt64, nil
	}
	t := int64(times.Value(i))
	return t, checkTime(t)
}

// oneMore is how often a row has come, with this time.
func oneMore(txn statestore.Txn, key []byte) (int64, error) {
	count := int64(1)
	err := txn.Get([][]byte{key}, func(_ int, stored []byte) error {
		have, _, err := countOf(stored)
		count += have
		return err
	})
	return count, err
}

// limitOf is up to when what ends by event time or by the clock is over.
func limitOf(tc *TaskContext, clock bool) batch.EventTime {
	if clock && tc.Spec.Close != batch.EndOfTime {
		return tc.Spec.Now
	}
	return tc.Spec.Close
}

// noteDue reports when the next of it is.
func noteDue(tc *TaskContext, clock bool, at batch.EventTime) {
	if clock {
		noteWake(tc.Result, at)
		return
	}
	tc.Result.NextDue = min(tc.Result.NextDue, at)
}

// loadBy is load for keys with an index by time in front.
func (d *dues) loadBy(tc *TaskContext, txn statestore.Txn) error {
	return d.readPart(tc, txn, 0)
}

// readPart is loadBy for an index that is another part of the state.
func (d *dues) readPart(tc *TaskContext, txn statestore.Txn, tag byte) error {
	return d.read(tc, txn, dueTime, func(g int) (from, to []byte) { return []byte{byte(g), tag}, []byte{byte(g), tag + 1} })
}
