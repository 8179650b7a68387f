package kafka

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Places in a record batch of the second message format, which all brokers since 2017
// write.
const (
	atLength     = 8
	atEpoch      = 12
	atMagic      = 16
	atCRC        = 17
	atAttributes = 21
	atLastDelta  = 23
	atFirstTime  = 27
	atMaxTime    = 35
	atProducer   = 43
	atCount      = 57
	headBytes    = 61
	// lengthFrom is behind the length, which counts from there.
	lengthFrom = atLength + 4
)

// Attributes of a record batch.
const (
	compressed    = 0x07
	logAppendTime = 0x08
	transactional = 0x10
	control       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// run is the messages of one record batch, taken apart only as they are read: what waits
// in memory is the broker's own bytes, and no message is an object of its own.
type run struct {
	first, end int64 // offsets [first, end), of which some may have no message
	millis     int64 // the time from which messages' times count, or that of all
	appended   bool  // millis is when the broker got them
	era        int32
	count      int
	raw        []byte
}

// runOverhead is about what a run takes in memory besides its bytes.
const runOverhead = 100

func (r *run) size() int64 { return int64(len(r.raw)) + runOverhead }

// message is a message of a run. Its texts are parts of the run's bytes.
type message struct {
	lane       lane
	offset     int64
	millis     int64
	appended   bool
	key, value []byte
	headers    []byte // as they came, their number first
}

// cursor reads the messages of runs within [from, to).
type cursor struct {
	lane     lane
	runs     []run
	from, to int64
	rest     []byte // of the run in hand
	left     int    // messages in it
}

func newCursor(l lane, p piece) cursor {
	c := cursor{lane: l, runs: p.runs, from: p.from, to: p.to}
	if len(c.runs) > 0 {
		c.rest, c.left = c.runs[0].raw, c.runs[0].count
	}
	return c
}

// next reads the next message into m; ok is false if there is none.
func (c *cursor) next(m *message) (ok bool, err error) {
	for len(c.runs) > 0 {
		r := &c.runs[0]
		if c.left == 0 || r.end <= c.from {
			c.drop()
			continue
		}
		if r.first >= c.to {
			c.runs = nil
			break
		}
		var good bool
		if c.rest, good = m.read(r, c.rest); !good {
			return false, fmt.Errorf("%s: the record batch at offset %d is damaged: it has %d messages, of which %d can be read", c.lane, r.first, r.count, r.count-c.left)
		}
		c.left--
		if m.offset < c.from {
			continue
		}
		if m.offset >= c.to {
			c.runs = nil
			break
		}
		m.lane = c.lane
		return true, nil
	}
	return false, nil
}

// drop goes on to the next run.
func (c *cursor) drop() {
	c.runs[0] = run{}
	if c.runs = c.runs[1:]; len(c.runs) > 0 {
		c.rest, c.left = c.runs[0].raw, c.runs[0].count
	}
}

// read takes the first message off b.
func (m *message) read(r *run, b []byte) (rest []byte, ok bool) {
	size, n := varint(b)
	if n <= 0 || size < 1 || size > int64(len(b)-n) {
		return b, false
	}
	b, rest = b[n+1:n+int(size)], b[n+int(size):] // behind the attributes, of which there are none
	var delta int64
	if delta, n = varint(b); n <= 0 {
		return rest, false
	}
	if m.millis, m.appended = r.millis, r.appended; !r.appended {
		m.millis += delta
	}
	b = b[n:]
	if delta, n = varint(b); n <= 0 {
		return rest, false
	}
	m.offset = r.first + delta
	if m.key, b, ok = field(b[n:]); !ok {
		return rest, false
	}
	m.value, m.headers, ok = field(b)
	return rest, ok
}

// varint is binary.Varint, for which most are of one byte.
func varint(b []byte) (v int64, n int) {
	if len(b) > 0 && b[0] < 0x80 {
		return int64(b[0]>>1) ^ -int64(b[0]&1), 1
	}
	return binary.Varint(b)
}

// field reads bytes behind their length; -1 is none.
func field(b []byte) (v, rest []byte, ok bool) {
	size, n := varint(b)
	switch {
	case n <= 0 || size < -1 || size > int64(len(b)-n):
		return nil, nil, false
	case size < 0:
		return nil, b[n:], true
	}
	end := n + int(size)
	return b[n:end:end], b[end:], true
}

var errHeaders = errors.New("its headers are damaged")

// eachHeader visits the headers of a message.
func (m *message) eachHeader(visit func(key string, value []byte)) error {
	count, n := varint(m.headers)
	if n <= 0 {
		return errHeaders
	}
	b := m.headers[n:]
	for range count {
		key, rest, ok := field(b)
		if !ok || key == nil {
			return errHeaders
		}
		var value []byte
		if value, b, ok = field(rest); !ok {
			return errHeaders
		}
		visit(string(key), value)
	}
	return nil
}

// errBatch is about bytes that are no record batch although the broker says so.
var errBatch = errors.New("a record batch is damaged")

// runs takes the record batches of an answer apart, from an offset on. next is behind
// the last whole one, and era is that of it; a part of one at the end, as brokers send it, is left out. Of a
// damaged one on err tells, and what is before it is good.
func (t *table) runs(rp *kmsg.FetchResponseTopicPartition, at int64) (runs []run, next int64, era int32, err error) {
	in, next := rp.RecordBatches, at
	aborted := abortedOf(rp, t.committed)
	for len(in) > atMagic {
		size := int64(int32(binary.BigEndian.Uint32(in[atLength:]))) + lengthFrom
		if size < lengthFrom || size > int64(len(in)) {
			break
		}
		if in[atMagic] != 2 {
			older, after, err := t.older(rp, in, next)
			return append(runs, older...), after, 0, err
		}
		b := in[:size:size]
		in = in[size:]
		if size < headBytes || crc32.Checksum(b[atAttributes:], castagnoli) != binary.BigEndian.Uint32(b[atCRC:]) {
			return runs, next, era, fmt.Errorf("%w: its checksum does not match, behind offset %d", errBatch, next)
		}
		r, attributes := runOf(b)
		if r.end <= r.first || r.count < 0 {
			return runs, next, era, fmt.Errorf("%w: the one at offset %d ends at %d and has %d messages", errBatch, r.first, r.end, r.count)
		}
		if r.end <= next {
			continue
		}
		producer := int64(binary.BigEndian.Uint64(b[atProducer:]))
		keep := aborted.keep(attributes, producer, r.first, b[headBytes:])
		if kind := attributes & compressed; kind != 0 && keep {
			if r.raw, err = t.inflate.Decompress(r.raw, kgo.CompressionCodecType(kind)); err != nil {
				return runs, next, era, fmt.Errorf("%w: decompress the one at offset %d: %w", errBatch, r.first, err)
			}
		}
		if keep && r.count > len(r.raw) {
			return runs, next, era, fmt.Errorf("%w: the one at offset %d has %d messages in %d bytes", errBatch, r.first, r.count, len(r.raw))
		}
		if keep && r.count > 0 {
			runs = append(runs, r)
		}
		next, era = r.end, r.era
	}
	return runs, next, era, nil
}

// runOf reads the head of a record batch.
func runOf(b []byte) (r run, attributes uint16) {
	attributes = binary.BigEndian.Uint16(b[atAttributes:])
	r.first = int64(binary.BigEndian.Uint64(b))
	r.end = r.first + int64(int32(binary.BigEndian.Uint32(b[atLastDelta:]))) + 1
	r.era = eraOf(int32(binary.BigEndian.Uint32(b[atEpoch:])))
	r.millis = int64(binary.BigEndian.Uint64(b[atFirstTime:]))
	if r.appended = attributes&logAppendTime != 0; r.appended {
		r.era = eraOf(int32(binary.BigEndian.Uint32(b[atEpoch:])))
		r.millis = int64(binary.BigEndian.Uint64(b[atMaxTime:]))
	}
	r.count, r.raw = int(int32(binary.BigEndian.Uint32(b[atCount:]))), b[headBytes:]
	return r, attributes
}

// abortions are where the transactions begin that were given up, of each producer, in order.
type abortions map[int64][]int64

func abortedOf(rp *kmsg.FetchResponseTopicPartition, committed bool) abortions {
	if !committed || len(rp.AbortedTransactions) == 0 {
		return nil
	}
	all := slices.Clone(rp.AbortedTransactions) // not all brokers sort them
	slices.SortFunc(all, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	a := abortions{}
	for _, x := range all {
		a[x.ProducerID] = append(a[x.ProducerID], x.FirstOffset)
	}
	return a
}

// keep reports whether a record batch has messages that may be read. A marker has none;
// one that gives a transaction up ends what is left out of its producer.
func (a abortions) keep(attributes uint16, producer, first int64, marker []byte) bool {
	open := a[producer]
	given := attributes&transactional != 0 && len(open) > 0 && first >= open[0]
	if attributes&control == 0 {
		return !given
	}
	var m message
	if _, ok := m.read(&run{}, marker); given && ok && len(m.key) >= 4 && m.key[2] == 0 && m.key[3] == 0 {
		a[producer] = open[1:]
	}
	return false
}

// older reads message sets of the formats before, through the client library, and writes
// each message anew.
func (t *table) older(rp *kmsg.FetchResponseTopicPartition, in []byte, at int64) ([]run, int64, error) {
	rest := *rp
	rest.RecordBatches = in
	o := kgo.ProcessFetchPartitionOpts{Offset: at, Partition: rp.Partition, IsolationLevel: kgo.ReadUncommitted()}
	if t.committed {
		o.IsolationLevel = kgo.ReadCommitted()
	}
	fp, next := kgo.ProcessFetchPartition(o, &rest, t.inflate, nil)
	var runs []run
	for _, r := range fp.Records {
		b := appendField(appendField([]byte{0, 0, 0}, r.Key), r.Value) // attributes, both deltas
		b = binary.AppendVarint(b, int64(len(r.Headers)))
		for _, h := range r.Headers {
			b = appendField(appendField(b, []byte(h.Key)), h.Value)
		}
		raw := append(binary.AppendVarint(nil, int64(len(b))), b...)
		runs = append(runs, run{first: r.Offset, end: r.Offset + 1, millis: r.Timestamp.UnixMilli(), appended: r.Attrs.TimestampType() == 1, count: 1, raw: raw})
	}
	if fp.Err != nil && kerr.ErrorForCode(rp.ErrorCode) == nil {
		fp.Err = fmt.Errorf("%w: %w", errBatch, fp.Err)
	}
	return runs, max(next, at), fp.Err
}

func appendField(dst, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(v))), v...)
}
