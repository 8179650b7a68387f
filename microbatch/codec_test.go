package microbatch

import (
	"errors"
	"reflect"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// sampleRecords holds every field of every record with a value of its own.
func sampleRecords() []Record {
	id := Identity{Query: "q", PlanHash: "h\xff", Policy: MaxWatermark, KeyGroups: 256}
	return []Record{
		Started{Term: 3, Last: batch.None, At: -5, Identity: id},
		Started{Term: 4, Last: 7, At: -5, Identity: id, Workers: []string{"w1", "w2"}},
		Planned{Batch: 7, Term: 3, Ranges: []batch.Range{{Source: "a", Start: "1", End: "22"}, {Source: "b", Pin: "v9"}},
			Watermark: batch.NoTime, Close: batch.EndOfTime, Now: 11, TriggeredAt: 10, Seed: 1 << 63, PlanHash: "h", NoData: true},
		Committed{Batch: 7, Term: 4,
			Prepared: []batch.Prepared{{Sink: "s", Partition: 1, Payload: []byte{0, 1}, Rows: 2, Digest: batch.Digest{Hi: 1, Lo: 2}}},
			Shards:   []batch.ShardDigest{{Shard: batch.Shard{Operator: "agg", Partition: 2, FirstGroup: 3, EndGroup: 9}, Digest: batch.Digest{Hi: 3, Lo: 4}}},
			Counters: batch.Counters{RowsIn: 1, BytesIn: 2, RowsOut: 3, Late: 4, Quarantined: 5, StateRows: 6, StateBytes: 7},
			Marks:    []Mark{{Source: "a", Partition: "p0", Max: 5, Seen: 6}}, NextWatermark: 8, NextDue: batch.EndOfTime},
		Checkpointed{Batch: 7, Term: 4, Prev: 5, Manifests: []Manifest{{Shard: batch.Shard{Operator: "agg", EndGroup: 256}, Ref: "r", Bytes: 12, Digest: batch.Digest{Lo: 1}}}, Identity: id},
		Committed{Batch: 0, Term: 1},
		Committed{Batch: 8, Term: 4, NextDue: batch.EndOfTime, NextWake: 77},
		Planned{Batch: 0, Term: 1},
		Adopted{Term: 5, From: "ck/a before-v2", Plan: Planned{Batch: 7, Term: 5, PlanHash: "n", Ranges: []batch.Range{{Source: "a", Start: "22", End: "22"}}},
			Commit:    Committed{Batch: 7, Term: 5, Marks: []Mark{{Source: "a", Max: 5, Seen: 6}}, NextDue: 9, NextWake: 4},
			Manifests: []Manifest{{Shard: batch.Shard{Operator: "agg", EndGroup: 256}, Ref: "r", Bytes: 12, Digest: batch.Digest{Lo: 1}}}, Identity: id},
	}
}

func TestRecordsSurviveTheirEncoding(t *testing.T) {
	for _, r := range sampleRecords() {
		b := EncodeRecord(r)
		got, err := DecodeRecord(b)
		if err != nil {
			t.Fatalf("decode %+v: %v", r, err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("got  %+v\nwant %+v", got, r)
		}
	}
}

// A record cut anywhere, or with a byte more, is never taken for a valid one (C3).
func TestCutRecordsAreRefused(t *testing.T) {
	for _, r := range sampleRecords() {
		b := EncodeRecord(r)
		for n := range b {
			if got, err := DecodeRecord(b[:n]); !errors.Is(err, ErrBadRecord) {
				t.Errorf("%T cut to %d of %d bytes: %+v, %v", r, n, len(b), got, err)
			}
		}
		if _, err := DecodeRecord(append(b, 0)); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%T with a byte more: %v", r, err)
		}
	}
}

// The bytes of format version 1 are a contract with every log on disk.
func TestOldBytesDecode(t *testing.T) {
	old := []byte("\x01\x02\x0e\x03\x01\x01a\x011\x0222\x00\x14\x16\x18\x1a\x05\x01h\x00")
	want := Planned{Batch: 7, Term: 3, Ranges: []batch.Range{{Source: "a", Start: "1", End: "22"}},
		Watermark: 10, Close: 11, Now: 12, TriggeredAt: 13, Seed: 5, PlanHash: "h"}
	got, err := DecodeRecord(old)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range sampleRecords() {
		f.Add(EncodeRecord(r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			if !errors.Is(err, ErrBadRecord) {
				t.Fatalf("error without its name: %v", err)
			}
			return
		}
		if string(EncodeRecord(r)) != string(b) {
			t.Fatalf("%x decodes to %+v, which encodes otherwise", b, r)
		}
	})
}
