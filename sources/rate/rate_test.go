package rate

import (
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t testing.TB, c clock.Clock, m options.Map) (sources.Source, sources.Opener) {
	t.Helper()
	spec := sources.Spec{Name: "r#0", Table: "r", Stream: true, Options: m}
	return sourcetest.Open(t, Connector(c), spec)
}

func TestConformance(t *testing.T) {
	for _, m := range []options.Map{
		{"rows-per-second": "10"},
		{"rows-per-second": "10", "ramp-up-time": "60s"},
	} {
		c := clock.NewManual(began)
		sourcetest.Run(t, sourcetest.Case{
			Open: func(t testing.TB) (sources.Source, sources.Opener) {
				src, o := open(t, c, m)
				c.Advance(time.Minute)
				return src, o
			},
			Limit: sources.Limit{Rows: 7}, Rows: -1, Batches: 4,
		})
	}
}

func TestRowsComeWithTheirTime(t *testing.T) {
	c := clock.NewManual(began)
	src, o := open(t, c, options.Map{"rows-per-second": "4"})
	at, err := src.Latest(t.Context(), "", sources.Limit{})
	if err != nil || at != "" {
		t.Fatalf("latest at the start is %q (%v)", at, err)
	}
	c.Advance(1500 * time.Millisecond)
	if at, err = src.Latest(t.Context(), "", sources.Limit{}); err != nil {
		t.Fatal(err)
	}
	// A restart an hour later goes on with the first start.
	c.Advance(time.Hour)
	src, _ = open(t, c, options.Map{"rows-per-second": "4"})
	next, err := src.Latest(t.Context(), at, sources.Limit{})
	if err != nil || next != batch.Offset(strings.Replace(string(at), `"value":6}`, `"value":14406}`, 1)) || next == at {
		t.Fatalf("after a restart latest is %q (%v), it was %q", next, err, at)
	}
	splits, err := src.Plan(t.Context(), batch.Range{End: at})
	if err != nil || len(splits) != 1 {
		t.Fatal(splits, err)
	}
	r, err := o.Open(t.Context(), splits[0], nil, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := r.Next(t.Context())
	if err != nil || rec.NumRows() != 6 {
		t.Fatal(rec, err)
	}
	for i := range 6 {
		got := rec.Column(0).(*array.Timestamp).Value(i).ToTime(arrow.Microsecond)
		if want := began.Add(time.Duration(i) * 250 * time.Millisecond); !got.Equal(want) || rec.Column(1).(*array.Int64).Value(i) != int64(i) {
			t.Errorf("row %d: %v at %v, want %v", i, rec.Column(1), got, want)
		}
	}
}

func TestLargeRangesAreCut(t *testing.T) {
	c := clock.NewManual(began)
	src, o := open(t, c, options.Map{"rows-per-second": "100000"})
	c.Advance(time.Second)
	end, err := src.Latest(t.Context(), "", sources.Limit{})
	if err != nil {
		t.Fatal(err)
	}
	splits, err := src.Plan(t.Context(), batch.Range{End: end})
	if err != nil || len(splits) != 2 || splits[0].Rows != splitRows || splits[0].Rows+splits[1].Rows != 100_000 {
		t.Fatalf("splits %v (%v)", splits, err)
	}
	next := int64(0)
	for _, s := range splits {
		sourcetest.Read(t, o, s, []int{1}, func(rec arrow.RecordBatch) {
			for _, v := range rec.Column(0).(*array.Int64).Int64Values() {
				if v != next {
					t.Fatalf("value %d, want %d", v, next)
				}
				next++
			}
		})
	}
	if next != 100_000 {
		t.Errorf("%d values", next)
	}
}

func TestTimelineNeverRunsAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := timeline{rate: rapid.Int64Range(1, maxRate).Draw(t, "rate"), ramp: rapid.Int64Range(0, 1e10).Draw(t, "ramp")}
		elapsed := rapid.Int64Range(0, 1e11).Draw(t, "elapsed")
		n := l.due(elapsed)
		if n > 0 && n < maxValue && l.at(n-1) > elapsed {
			t.Fatalf("R1: value %d of %+v is due at %d, read at %d", n-1, l, l.at(n-1), elapsed)
		}
		if n > 1 && l.at(n-1) < l.at(n-2) {
			t.Fatalf("R1: value %d of %+v lies before value %d", n-1, l, n-2)
		}
		if later := l.due(elapsed + 1); later < n {
			t.Fatalf("due falls from %d to %d at %d of %+v", n, later, elapsed, l)
		}
	})
	l := timeline{rate: 100, ramp: 10_000_000}
	if got := l.due(10_000_000); got != 500 {
		t.Errorf("%d rows in the ramp, want 500", got)
	}
	if got := l.due(20_000_000); got != 1500 {
		t.Errorf("%d rows in 20 s, want 1500", got)
	}
}

func TestFaults(t *testing.T) {
	column := arrow.NewSchema([]arrow.Field{{Name: "vlaue", Type: arrow.PrimitiveTypes.Int64}}, nil)
	typed := arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.PrimitiveTypes.Int32}}, nil)
	for _, f := range []struct {
		spec sources.Spec
		want string
	}{
		{sources.Spec{Table: "r", Stream: true, Options: options.Map{"rows-per-second": "0"}}, "want 1 to"},
		{sources.Spec{Table: "r", Stream: true, Options: options.Map{"ramp-up-time": "-1s"}}, "negative"},
		{sources.Spec{Table: "r", Stream: true, Options: options.Map{"rows-per-sec": "1"}}, `did you mean "rows-per-second"?`},
		{sources.Spec{Table: "r"}, "never ends"},
		{sources.Spec{Table: "r", Stream: true, Schema: column}, `no column "vlaue", did you mean "value"?`},
		{sources.Spec{Table: "r", Stream: true, Schema: typed}, "declared int32"},
	} {
		if _, err := Connector(clock.System()).New(t.Context(), f.spec); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("got %v, want %q", err, f.want)
		}
	}
}
