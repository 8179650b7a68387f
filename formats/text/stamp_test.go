package text

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// What is written is what Go's own formatting writes, at any year it can hold and
// whatever was written before.
func TestTimesAreWrittenAsGoWritesThem(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	var d days
	last := int64(0)
	for i := range 300000 {
		us := int64(r.Uint64()>>1) >> r.IntN(60)
		switch r.IntN(6) {
		case 0:
			us = -us
		case 1:
			us = last + int64(r.IntN(2_000_000)) // within the day, mostly
		case 2:
			us -= us % dayMicros // the first instant of a day
		case 3:
			us = us/1000*1000 - 1
		}
		last = us % (math.MaxInt64 / 2)
		at := time.UnixMicro(us).UTC()
		want := string(at.AppendFormat(nil, "2006-01-02T15:04:05.999999"))
		if got := string(d.timestamp([]byte("x"), us, false)); got != "x"+want {
			t.Fatalf("%d: %d is %q, want %q", i, us, got, want)
		}
		if got := string(AppendTimestamp(nil, us, true)); got != want+"Z" {
			t.Fatalf("%d: %d is %q, want %q", i, us, got, want+"Z")
		}
		if got, want := string(d.append(nil, int64(int32(us)))), time.Unix(int64(int32(us))*86400, 0).UTC().Format("2006-01-02"); got != want {
			t.Fatalf("%d: day %d is %q, want %q", i, int32(us), got, want)
		}
		v := int64(r.Uint64()) >> r.IntN(64)
		if got, want := string(appendInt(nil, v)), strconv.FormatInt(v, 10); got != want {
			t.Fatalf("%d: %d is %q", i, v, got)
		}
	}
}

func TestTimesAreWrittenWithoutAllocation(t *testing.T) {
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() { buf = AppendTimestamp(buf[:0], 1436918400123456, true) }); n != 0 {
		t.Errorf("%v allocations for a timestamp", n)
	}
}

func BenchmarkTimestamp(b *testing.B) {
	var d days
	var buf []byte
	us := int64(1436918400000000)
	for b.Loop() {
		us += 10_000
		buf = d.timestamp(buf[:0], us, true)
	}
}
