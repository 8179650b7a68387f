package memory

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "n", Type: arrow.PrimitiveTypes.Int64},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// fill returns a stream with rows 0 to 99 in uneven parts, and its allocator.
func fill(t testing.TB) *Stream {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	s := NewStream(schema)
	t.Cleanup(func() {
		s.Close()
		mem.AssertSize(t, 0)
	})
	for from, size := int64(0), int64(1); from < 100; size++ {
		add(t, s, mem, from, min(from+size, 100))
		from += size
	}
	return s
}

func add(t testing.TB, s *Stream, mem memory.Allocator, from, to int64) batch.Offset {
	t.Helper()
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	for n := from; n < to; n++ {
		b.Field(0).(*array.Int64Builder).Append(n)
		if n%5 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(strings.Repeat("x", int(n%7)))
		}
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	at, err := s.AddData(rec)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func openStream(t testing.TB, s *Stream, stream bool) (sources.Source, sources.Opener) {
	t.Helper()
	c := Connector(func(name string) (*Stream, bool) { return s, name == "s" })
	spec := sources.Spec{Name: "s#0", Table: "s", Stream: stream, Options: options.Map{"name": "s", "split-rows": "9"}}
	return sourcetest.Open(t, c, spec)
}

func TestConformance(t *testing.T) {
	for name, stream := range map[string]bool{"stream": true, "static": false} {
		t.Run(name, func(t *testing.T) {
			s := fill(t)
			sourcetest.Run(t, sourcetest.Case{
				Open:  func(t testing.TB) (sources.Source, sources.Opener) { return openStream(t, s, stream) },
				Limit: sources.Limit{Rows: 17}, Rows: 100,
			})
		})
	}
}

func TestAddedRowsAreAnnounced(t *testing.T) {
	s := NewStream(schema)
	defer s.Close()
	src, _ := openStream(t, s, true)
	static, _ := openStream(t, s, false)
	at := add(t, s, memory.DefaultAllocator, 0, 5)
	select {
	case <-src.(sources.Notifier).Changed():
	default:
		t.Error("no notice")
	}
	if got, err := src.Latest(t.Context(), "", sources.Limit{}); err != nil || got != at {
		t.Errorf("latest is %q (%v), want %q", got, err, at)
	}
	if got, err := static.Latest(t.Context(), "", sources.Limit{}); err != nil || got != "" {
		t.Errorf("a static read sees rows added later: %q (%v)", got, err)
	}
	if src.(sources.Bounded).Ended(at) {
		t.Error("ended before End")
	}
	s.End()
	if !src.(sources.Bounded).Ended(at) || src.(sources.Bounded).Ended("") {
		t.Error("ended wrongly after End")
	}
	rec := array.NewRecordBatch(schema, []arrow.Array{
		array.MakeArrayOfNull(memory.DefaultAllocator, arrow.PrimitiveTypes.Int64, 0),
		array.MakeArrayOfNull(memory.DefaultAllocator, arrow.BinaryTypes.String, 0),
	}, 0)
	if _, err := s.AddData(rec); err == nil {
		t.Error("rows were taken after End")
	}
}

func TestReleasedRowsAreDropped(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	s := NewStream(schema)
	s.DropReleased = true
	first := add(t, s, mem, 0, 10)
	second := add(t, s, mem, 10, 20)
	a, o := openStream(t, s, true)
	b, _ := openStream(t, s, true)
	release := func(src sources.Source, to batch.Offset) {
		if err := src.Release(t.Context(), to); err != nil {
			t.Fatal(err)
		}
	}
	release(a, second)
	if s.state.dropped != 0 {
		t.Fatal("E2: dropped what another query may read")
	}
	release(b, first)
	if s.state.dropped != 10 {
		t.Fatalf("%d rows dropped, want 10", s.state.dropped)
	}
	splits, err := a.Plan(t.Context(), batch.Range{End: second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Open(t.Context(), splits[0], nil, mem); err == nil || !strings.Contains(err.Error(), "holds 10 to 20") {
		t.Errorf("reading dropped rows gave %v", err)
	}
	s.Close()
	mem.AssertSize(t, 0)
}

func TestFaults(t *testing.T) {
	s := NewStream(schema)
	c := Connector(func(name string) (*Stream, bool) { return s, name == "s" })
	other := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int8}}, nil)
	for _, f := range []struct {
		spec sources.Spec
		want string
	}{
		{sources.Spec{Table: "t"}, "option 'name' is missing"},
		{sources.Spec{Table: "t", Options: options.Map{"name": "x"}}, `no memory stream "x"`},
		{sources.Spec{Table: "t", Options: options.Map{"name": "s", "split-rows": "0"}}, "want at least 1"},
		{sources.Spec{Table: "t", Options: options.Map{"name": "s"}, Schema: other}, "declared as"},
	} {
		if _, err := c.New(t.Context(), f.spec); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("got %v, want %q", err, f.want)
		}
	}
	if _, err := s.AddData(array.NewRecordBatch(other, []arrow.Array{array.MakeArrayOfNull(memory.DefaultAllocator, arrow.PrimitiveTypes.Int8, 1)}, 1)); err == nil {
		t.Error("took rows of another schema")
	}
}
