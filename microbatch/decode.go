package microbatch

import (
	"encoding/binary"

	"github.com/sluice-stream/sluice/batch"
)

// decoder reads fields off the front of b. After the first field that does not
// fit it is bad and reads zeros, so that callers check once, at the end.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.b = true, nil }

func (d *decoder) u() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) i() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// take returns the next n bytes without copying them.
func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

// count reads the length of a list whose elements take at least size bytes
// each, so that a damaged length cannot ask for more memory than there is input.
func (d *decoder) count(size int) int {
	n := d.u()
	if n > uint64(len(d.b)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) s() string { return string(d.take(d.u())) }

func (d *decoder) p() []byte {
	v := d.take(d.u())
	if len(v) == 0 {
		return nil
	}
	return append([]byte(nil), v...)
}

func (d *decoder) bool() bool {
	v := d.take(1)
	return len(v) == 1 && v[0] == 1
}

func (d *decoder) digest() batch.Digest {
	v := d.take(16)
	if v == nil {
		return batch.Digest{}
	}
	return batch.Digest{Hi: binary.BigEndian.Uint64(v), Lo: binary.BigEndian.Uint64(v[8:])}
}

func (d *decoder) time() batch.EventTime { return batch.EventTime(d.i()) }

func (d *decoder) identity() Identity {
	return Identity{Query: batch.QueryID(d.s()), PlanHash: d.s(), Policy: WatermarkPolicy(d.i()), KeyGroups: int(d.i())}
}

func (d *decoder) started() Started {
	return Started{Term: batch.Term(d.u()), Last: batch.ID(d.i()), At: d.time(), Identity: d.identity()}
}

func (d *decoder) names() []string {
	out := make([]string, d.count(1))
	for i := range out {
		out[i] = d.s()
	}
	return out
}

func (d *decoder) planned() Planned {
	r := Planned{Batch: batch.ID(d.i()), Term: batch.Term(d.u())}
	if n := d.count(4); n > 0 {
		r.Ranges = make([]batch.Range, n)
	}
	for i := range r.Ranges {
		r.Ranges[i] = batch.Range{Source: d.s(), Start: batch.Offset(d.s()), End: batch.Offset(d.s()), Pin: d.s()}
	}
	r.Watermark, r.Close, r.Now, r.TriggeredAt = d.time(), d.time(), d.time(), d.time()
	r.Seed, r.PlanHash, r.NoData = d.u(), d.s(), d.bool()
	return r
}

func (d *decoder) shard() batch.Shard {
	return batch.Shard{Operator: d.s(), Partition: int(d.i()), FirstGroup: int(d.i()), EndGroup: int(d.i())}
}

func (d *decoder) committed() Committed {
	r := Committed{Batch: batch.ID(d.i()), Term: batch.Term(d.u())}
	if n := d.count(20); n > 0 {
		r.Prepared = make([]batch.Prepared, n)
	}
	for i := range r.Prepared {
		r.Prepared[i] = batch.Prepared{Sink: d.s(), Partition: int(d.i()), Payload: d.p(), Rows: d.i(), Digest: d.digest()}
	}
	if n := d.count(20); n > 0 {
		r.Shards = make([]batch.ShardDigest, n)
	}
	for i := range r.Shards {
		r.Shards[i] = batch.ShardDigest{Shard: d.shard(), Digest: d.digest()}
	}
	r.Counters = batch.Counters{RowsIn: d.i(), BytesIn: d.i(), RowsOut: d.i(), Late: d.i(), Quarantined: d.i(), StateRows: d.i(), StateBytes: d.i()}
	if n := d.count(4); n > 0 {
		r.Marks = make([]Mark, n)
	}
	for i := range r.Marks {
		r.Marks[i] = Mark{Source: d.s(), Partition: d.s(), Max: d.time(), Seen: d.time()}
	}
	r.NextWatermark, r.NextDue = d.time(), d.time()
	return r
}

func (d *decoder) checkpointed() Checkpointed {
	r := Checkpointed{Batch: batch.ID(d.i()), Term: batch.Term(d.u()), Prev: batch.ID(d.i())}
	r.Manifests = d.manifests()
	r.Identity = d.identity()
	return r
}

func (d *decoder) manifests() []Manifest {
	n := d.count(22)
	if n == 0 {
		return nil
	}
	ms := make([]Manifest, n)
	for i := range ms {
		ms[i] = Manifest{Shard: d.shard(), Ref: d.s(), Bytes: d.i(), Digest: d.digest()}
	}
	return ms
}

func (d *decoder) adopted() Adopted {
	r := Adopted{Term: batch.Term(d.u()), From: d.s(), Plan: d.planned(), Commit: d.committed()}
	r.Commit.NextWake = d.time()
	r.Manifests = d.manifests()
	r.Identity = d.identity()
	return r
}
