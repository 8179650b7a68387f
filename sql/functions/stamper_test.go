package functions

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
)

// What is kept from one row to the next never shows: every text is the one that is
// written from nothing, across days, changes of a zone's clock and other patterns.
func TestStamperKeepsWhatIsTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	patterns := []string{
		"yyyy-MM-dd", "HH:mm", "yyyy-MM-dd HH:mm:ss.SSSSSS", "hh a", "EEEE D Q", "yy M d H m s", "XXX", "yyyy-MM-dd HH z", "'day' dd[ HH]", "x", "VV ss", "uuuu K k", "GG", "",
	}
	for _, zone := range []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"} {
		z, err := civil.Load(zone)
		if err != nil {
			t.Fatal(err)
		}
		s := &stamper{zone: z}
		us, pattern := int64(0), patterns[0]
		for range 20000 {
			switch r.IntN(12) {
			case 0:
				us = r.Int64N(4e15) - 2e15
			case 1:
				us = 1_427_590_800_000_000 + r.Int64N(2*civil.Hour) - civil.Hour // summer time begins in Berlin
			case 2:
				us -= us % civil.Day
			case 3:
				us--
			case 4:
				pattern = patterns[r.IntN(len(patterns))]
			default:
				us += r.Int64N(10 * civil.Second)
			}
			f, err := compilePattern(pattern)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.append([]byte("x"), us, pattern)
			if want := string(f.append([]byte("x"), us, z)); err != nil || string(got) != want {
				t.Fatalf("%s, '%s' of %d: %q %v, want %q", zone, pattern, us, got, err, want)
			}
		}
	}
}

// A column of one span is written at once, others row by row; both are what each
// row alone is.
func TestSameStampIsWhatEachRowIs(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(5, 2))
	kernel := formatWith(func(us int64) int64 { return us })
	for range 2000 {
		zone := []string{"UTC", "Europe/Berlin", "Asia/Kolkata"}[r.IntN(3)]
		kc := &expr.KernelContext{Alloc: alloc, Result: arrow.BinaryTypes.String, Zone: zone}
		z, err := civil.Load(zone)
		if err != nil {
			t.Fatal(err)
		}
		pattern := []string{"yyyy-MM-dd", "HH:mm", "ss.SSS", "HH z", ""}[r.IntN(5)]
		f, err := compilePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		b := array.NewTimestampBuilder(alloc, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"})
		at, n := 1_427_590_800_000_000-r.Int64N(3*civil.Hour), 1+r.IntN(20)
		var want []string
		for range n {
			at += r.Int64N(1 << r.IntN(32))
			if r.IntN(40) == 0 {
				b.AppendNull()
				want = append(want, "(null)")
				continue
			}
			b.Append(arrow.Timestamp(at))
			want = append(want, string(f.append(nil, at, z)))
		}
		p := array.NewStringBuilder(alloc)
		p.Append(pattern)
		times, text := b.NewArray(), p.NewArray()
		got, err := kernel(kc, []expr.Vec{{Arr: times}, {Arr: text, Const: true}}, n)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got.ValueStr(i) != w {
				t.Fatalf("'%s' in %s, row %d of %v: %q, want %q", pattern, zone, i, times, got.ValueStr(i), w)
			}
		}
		for _, a := range []interface{ Release() }{got, times, text, b, p} {
			a.Release()
		}
	}
}
