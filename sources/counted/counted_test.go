package counted

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
)

// thousand is a stream of 1000 rows, 300 a batch, 64 a split, 10 bytes a row.
func thousand() Table {
	return Table{
		Spec: sources.Spec{Name: "t#0", Table: "t", Stream: true}, Unit: "row",
		Rows: 1000, Limit: 5000, Split: 64, Trigger: 300, RowBytes: 10,
	}
}

func TestLatest(t *testing.T) {
	static := thousand()
	static.Spec.Stream, static.PerSecond = false, 1 // only a stream is paced, so that no clock is asked
	for _, c := range []struct {
		table Table
		from  batch.Offset
		limit sources.Limit
		want  batch.Offset
	}{
		{thousand(), "", sources.Limit{}, "300"},
		{thousand(), "900", sources.Limit{}, "1000"},
		{thousand(), "1000", sources.Limit{}, "1000"},
		{thousand(), "10", sources.Limit{Rows: 7}, "17"},
		{thousand(), "10", sources.Limit{Bytes: 55}, "15"},
		{thousand(), "10", sources.Limit{Bytes: 1}, "11"}, // a row that is larger than the limit comes alone
		{thousand(), "10", sources.Limit{Rows: 7, Bytes: 55}, "15"},
		{static, "", sources.Limit{}, "1000"},
		{static, "", sources.Limit{Rows: 20}, "20"},
	} {
		got, err := New(c.table).Latest(t.Context(), c.from, c.limit)
		if err != nil || got != c.want {
			t.Errorf("latest after %q within %+v is %q (%v), want %q", c.from, c.limit, got, err, c.want)
		}
	}
}

func TestPace(t *testing.T) {
	c := clock.NewManual(time.Unix(0, 0))
	table := thousand()
	table.PerSecond, table.Clock = 10, c
	latest := func(s *Source, from, want batch.Offset) {
		t.Helper()
		if got, err := s.Latest(t.Context(), from, sources.Limit{}); err != nil || got != want {
			t.Errorf("latest after %q is %q (%v), want %q", from, got, err, want)
		}
	}
	s := New(table)
	latest(s, "", "")
	c.Advance(1500 * time.Millisecond)
	latest(s, "", "15")
	// C2: an hour without the query brings no rows.
	c.Advance(time.Hour)
	s = New(table)
	latest(s, "15", "15")
	c.Advance(time.Second)
	latest(s, "15", "25")
	c.Advance(100 * 365 * 24 * time.Hour)
	latest(s, "25", "325") // what is due stays bounded
}

func TestPlan(t *testing.T) {
	table := thousand()
	table.Estimate = func(n int64) int64 { return n / 2 }
	s := New(table)
	splits, err := s.Plan(t.Context(), batch.Range{Source: "t#0", Start: "60", End: "130"})
	if err != nil {
		t.Fatal(err)
	}
	// C1: the cuts are at 64 and 128.
	want := []string{"60 64", "64 128", "128 130"}
	if len(splits) != len(want) {
		t.Fatalf("%d splits", len(splits))
	}
	for i, split := range splits {
		from, to, err := Rows(split.Payload, table.Limit)
		if err != nil || string(split.Payload) != want[i] || split.Index != i || split.Source != "t#0" {
			t.Errorf("split %d is %+v (%v), want %q", i, split, err, want[i])
		}
		if split.Rows != (to-from)/2 || split.Bytes != (to-from)*10 {
			t.Errorf("split %d has %d rows and %d bytes", i, split.Rows, split.Bytes)
		}
	}
	if splits, err := s.Plan(t.Context(), batch.Range{Start: "7", End: "7"}); err != nil || len(splits) != 0 {
		t.Errorf("an empty range has splits %v (%v)", splits, err)
	}
}

func TestEnded(t *testing.T) {
	s := New(thousand())
	for at, want := range map[batch.Offset]bool{"": false, "999": false, "1000": true, "1001": false, "x": false} {
		if got := s.Ended(at); got != want {
			t.Errorf("ended at %q: %v", at, got)
		}
	}
}

func TestOffsetsThatAreNone(t *testing.T) {
	s := New(thousand())
	for offset, want := range map[batch.Offset]string{
		"x": "is no row number", "-1": "is no row number", "5001": "is no row number", "99999999999999999999": "is no row number",
		"1001": "the query has read 1001 rows, now the table ends after 1000",
	} {
		_, latest := s.Latest(t.Context(), offset, sources.Limit{})
		_, start := s.Plan(t.Context(), batch.Range{Start: offset, End: "3"})
		_, end := s.Plan(t.Context(), batch.Range{End: offset})
		for _, err := range []error{latest, start, end, s.Release(t.Context(), offset)} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: got %v, want %q", offset, err, want)
			}
		}
	}
}

func TestPayloadsThatAreNone(t *testing.T) {
	for _, payload := range []string{"", "1", "1 ", " 1", "2 1", "0 1 2", "-1 3", "0 5001", "a b"} {
		if from, to, err := Rows([]byte(payload), 5000); err == nil {
			t.Errorf("%q is [%d, %d)", payload, from, to)
		}
	}
}
