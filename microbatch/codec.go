package microbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/invariants"
)

// Records have one byte form each: a version, a kind and the fields in the
// order of their structs, integers as varints and texts with their length. It is
// canonical, so two records are the same if and only if their bytes are. The
// log's framing adds length and checksum.
const codecVersion = 1

// moreVersion is the version of a Committed record with a NextWake and of a Started
// record with Workers, which come last.
const moreVersion = 2

const (
	kindStarted byte = iota + 1
	kindPlanned
	kindCommitted
	kindCheckpointed
	kindAdopted
)

// ErrBadRecord is what every failure to decode a record wraps.
var ErrBadRecord = errors.New("damaged batch log record")

// EncodeRecord returns the canonical bytes of a record.
func EncodeRecord(r Record) []byte { return AppendRecord(nil, r) }

// AppendRecord appends the canonical bytes of a record to dst.
func AppendRecord(dst []byte, r Record) []byte {
	e := encoder{b: append(dst, codecVersion)}
	switch r := r.(type) {
	case Started:
		if len(r.Workers) > 0 {
			e.b[len(dst)] = moreVersion
		}
		e.b = append(e.b, kindStarted)
		e.started(r)
	case Planned:
		e.b = append(e.b, kindPlanned)
		e.planned(r)
	case Committed:
		if r.NextWake != 0 {
			e.b[len(dst)] = moreVersion
		}
		e.b = append(e.b, kindCommitted)
		e.committed(r)
	case Checkpointed:
		e.b = append(e.b, kindCheckpointed)
		e.checkpointed(r)
	case Adopted:
		e.b = append(e.b, kindAdopted)
		e.adopted(r)
	default:
		invariants.Unreachable("a record of unknown type %T is encoded", r)
	}
	return e.b
}

// DecodeRecord reads back what EncodeRecord wrote. It never panics and never
// allocates more than a small multiple of len(b); whatever is not the canonical
// form of a record is refused.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: %d bytes", ErrBadRecord, len(b))
	}
	more := b[0] == moreVersion && (b[1] == kindCommitted || b[1] == kindStarted)
	if b[0] != codecVersion && !more {
		return nil, fmt.Errorf("%w: format version %d, this program reads %d", ErrBadRecord, b[0], codecVersion)
	}
	d := decoder{b: b[2:]}
	var r Record
	switch b[1] {
	case kindStarted:
		s := d.started()
		if more {
			s.Workers = d.names()
		}
		r = s
	case kindPlanned:
		r = d.planned()
	case kindCommitted:
		c := d.committed()
		if more {
			c.NextWake = d.time()
		}
		r = c
	case kindCheckpointed:
		r = d.checkpointed()
	case kindAdopted:
		r = d.adopted()
	default:
		return nil, fmt.Errorf("%w: unknown kind %d", ErrBadRecord, b[1])
	}
	switch {
	case d.bad:
		return nil, fmt.Errorf("%w: cut short", ErrBadRecord)
	case len(d.b) > 0:
		return nil, fmt.Errorf("%w: %d bytes too many", ErrBadRecord, len(d.b))
	case !bytes.Equal(EncodeRecord(r), b):
		return nil, fmt.Errorf("%w: not in canonical form", ErrBadRecord)
	}
	if err := checkRecord(r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	return r, nil
}

// SameRecord reports whether two records are equal.
func SameRecord(a, b Record) bool { return bytes.Equal(EncodeRecord(a), EncodeRecord(b)) }

func checkRecord(r Record) error {
	least := batch.ID(0)
	if _, ok := r.(Started); ok {
		least = batch.None
	}
	if r.ID() < least {
		return fmt.Errorf("batch %d", r.ID())
	}
	if r.LogTerm() == 0 {
		return errors.New("term 0")
	}
	if c, ok := r.(Checkpointed); ok && (c.Prev < batch.None || c.Prev >= c.Batch) {
		return fmt.Errorf("checkpoint %d follows checkpoint %d", c.Batch, c.Prev)
	}
	if p, ok := r.(Planned); ok && p.Close < p.Watermark {
		return fmt.Errorf("batch %d closes before its watermark", p.Batch)
	}
	if a, ok := r.(Adopted); ok && (a.Commit.Batch != a.Plan.Batch || a.Plan.Close < a.Plan.Watermark) {
		return fmt.Errorf("batch %d is adopted with the commit of batch %d", a.Plan.Batch, a.Commit.Batch)
	}
	return nil
}

type encoder struct{ b []byte }

func (e *encoder) u(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) i(v int64)  { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) s(v string) { e.u(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) p(v []byte) { e.u(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) digest(d batch.Digest) {
	e.b = binary.BigEndian.AppendUint64(e.b, d.Hi)
	e.b = binary.BigEndian.AppendUint64(e.b, d.Lo)
}

func (e *encoder) bool(v bool) {
	n := byte(0)
	if v {
		n = 1
	}
	e.b = append(e.b, n)
}

func (e *encoder) identity(v Identity) {
	e.s(string(v.Query))
	e.s(v.PlanHash)
	e.i(int64(v.Policy))
	e.i(int64(v.KeyGroups))
}

func (e *encoder) started(r Started) {
	e.u(uint64(r.Term))
	e.i(int64(r.Last))
	e.i(int64(r.At))
	e.identity(r.Identity)
	if len(r.Workers) > 0 {
		e.u(uint64(len(r.Workers)))
		for _, w := range r.Workers {
			e.s(w)
		}
	}
}

func (e *encoder) planned(r Planned) {
	e.i(int64(r.Batch))
	e.u(uint64(r.Term))
	e.u(uint64(len(r.Ranges)))
	for _, g := range r.Ranges {
		e.s(g.Source)
		e.s(string(g.Start))
		e.s(string(g.End))
		e.s(g.Pin)
	}
	e.i(int64(r.Watermark))
	e.i(int64(r.Close))
	e.i(int64(r.Now))
	e.i(int64(r.TriggeredAt))
	e.u(r.Seed)
	e.s(r.PlanHash)
	e.bool(r.NoData)
}

func (e *encoder) shard(s batch.Shard) {
	e.s(s.Operator)
	e.i(int64(s.Partition))
	e.i(int64(s.FirstGroup))
	e.i(int64(s.EndGroup))
}

func (e *encoder) committed(r Committed) {
	e.i(int64(r.Batch))
	e.u(uint64(r.Term))
	e.u(uint64(len(r.Prepared)))
	for _, p := range r.Prepared {
		e.s(p.Sink)
		e.i(int64(p.Partition))
		e.p(p.Payload)
		e.i(p.Rows)
		e.digest(p.Digest)
	}
	e.u(uint64(len(r.Shards)))
	for _, s := range r.Shards {
		e.shard(s.Shard)
		e.digest(s.Digest)
	}
	c := r.Counters
	for _, n := range []int64{c.RowsIn, c.BytesIn, c.RowsOut, c.Late, c.Quarantined, c.StateRows, c.StateBytes} {
		e.i(n)
	}
	e.u(uint64(len(r.Marks)))
	for _, m := range r.Marks {
		e.s(m.Source)
		e.s(m.Partition)
		e.i(int64(m.Max))
		e.i(int64(m.Seen))
	}
	e.i(int64(r.NextWatermark))
	e.i(int64(r.NextDue))
	if r.NextWake != 0 {
		e.i(int64(r.NextWake))
	}
}

func (e *encoder) checkpointed(r Checkpointed) {
	e.i(int64(r.Batch))
	e.u(uint64(r.Term))
	e.i(int64(r.Prev))
	e.manifests(r.Manifests)
	e.identity(r.Identity)
}

func (e *encoder) manifests(ms []Manifest) {
	e.u(uint64(len(ms)))
	for _, m := range ms {
		e.shard(m.Shard)
		e.s(m.Ref)
		e.i(m.Bytes)
		e.digest(m.Digest)
	}
}

// adopted writes the timer of the commit always, so that the form needs no version.
func (e *encoder) adopted(r Adopted) {
	e.u(uint64(r.Term))
	e.s(r.From)
	e.planned(r.Plan)
	c := r.Commit
	c.NextWake = 0
	e.committed(c)
	e.i(int64(r.Commit.NextWake))
	e.manifests(r.Manifests)
	e.identity(r.Identity)
}
