package batch

import (
	"fmt"
	"math"
	"time"
)

// Offset is a position in a source, in the source's own canonical text (often
// JSON). The empty Offset is the beginning. Only its source interprets it.
type Offset string

// Range is the half-open part [Start, End) of one source that a batch reads.
type Range struct {
	Source string `json:"source"` // the source's name within the query, e.g. "flights#0"
	Start  Offset `json:"start"`
	End    Offset `json:"end"`
	// Pin holds what a static table's version is (file list with sizes and
	// times, snapshot ID). Empty for a streaming source. Opaque to the core.
	Pin string `json:"pin,omitempty"`
}

// Split is a part of a range, the unit of work: one task reads it from its
// first row to its last. Splits of a range are ordered by Index, and results
// never depend on how splits are spread over workers.
type Split struct {
	Source  string `json:"source"`
	Index   int    `json:"index"`
	Payload []byte `json:"payload"`         // the source's own description
	Rows    int64  `json:"rows,omitempty"`  // estimate, 0 if unknown
	Bytes   int64  `json:"bytes,omitempty"` // estimate, 0 if unknown
	// Partition is the part of the source whose rows are in order of their own, such as
	// a topic's: the lowest of their event times counts. "" for a source without parts:
	// pieces of one sequence, such as generated rows, are none, since the next piece
	// would hold the watermark back as a part of its own.
	Partition string `json:"partition,omitempty"`
}

// EventTime is microseconds since 1970-01-01T00:00:00Z.
type EventTime int64

// NoTime stands for "no event time seen yet": it is less than any other.
const NoTime EventTime = math.MinInt64

// EndOfTime is the watermark of an input that has ended: everything is due.
const EndOfTime EventTime = math.MaxInt64

// AtTheEnd is when what waits for the end of its input is due.
const AtTheEnd = EndOfTime - 1

// Time converts to a time.Time in UTC.
func (t EventTime) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }

// TimeOf converts from a time.Time.
func TimeOf(t time.Time) EventTime { return EventTime(t.UnixMicro()) }

// String prints RFC 3339 with microseconds, or a word for the two extremes.
func (t EventTime) String() string {
	switch t {
	case NoTime:
		return "none"
	case EndOfTime:
		return "end"
	default:
		return t.Time().Format("2006-01-02T15:04:05.999999Z07:00")
	}
}

// Digest is a 128-bit sum of row hashes. Being a sum it does not depend on
// order, and a changed row is accounted for by Sub of the old and Add of the new.
type Digest struct {
	Hi uint64 `json:"hi"`
	Lo uint64 `json:"lo"`
}

// Add returns d + o modulo 2^128.
func (d Digest) Add(o Digest) Digest {
	lo := d.Lo + o.Lo
	hi := d.Hi + o.Hi
	if lo < d.Lo {
		hi++
	}
	return Digest{Hi: hi, Lo: lo}
}

// Sub returns d - o modulo 2^128.
func (d Digest) Sub(o Digest) Digest {
	hi := d.Hi - o.Hi
	if d.Lo < o.Lo {
		hi--
	}
	return Digest{Hi: hi, Lo: d.Lo - o.Lo}
}

// String prints 32 hexadecimal digits.
func (d Digest) String() string { return fmt.Sprintf("%016x%016x", d.Hi, d.Lo) }
