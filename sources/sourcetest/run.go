package sourcetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

// Run runs the suite over a case.
func Run(t *testing.T, c Case) {
	t.Helper()
	for _, s := range []struct {
		name string
		run  func(*testing.T, Case)
	}{
		{"LatestGrowsWithinTheLimit", latestGrows},
		{"SameRangeSameRows", sameRange},
		{"SameRangeSameRowsAfterRestart", restart},
		{"CutsDoNotChangeRows", cuts},
		{"SplitsReadAtTheSameTime", parallel},
		{"ProjectionChangesNoValue", projection},
		{"ReleasedPrefixLeavesTheRest", release},
		{"EndIsTheEnd", ended},
		{"CancelledContextEndsReading", cancelled},
		{"ClosedEarlyGivesEverythingBack", closedEarly},
		{"ForeignOffsetsAndPayloadsAreErrors", garbage},
	} {
		t.Run(s.name, func(t *testing.T) {
			if c.Fresh != nil {
				c.Fresh(t)
			}
			s.run(t, c)
		})
	}
}

// opened opens both halves and closes the source with the test.
func (c Case) opened(t *testing.T) (sources.Source, sources.Opener) {
	t.Helper()
	src, op := c.Open(t)
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return src, op
}

func latestGrows(t *testing.T, c Case) {
	src, op := c.opened(t)
	var total int64
	for _, r := range c.ranges(t, src) {
		n := int64(len(readRange(t, src, op, r, []int{})))
		if n == 0 {
			t.Errorf("range %v has no rows", r)
		}
		if c.Limit.Rows > 0 && n > c.Limit.Rows {
			t.Errorf("range %v has %d rows, the limit is %d", r, n, c.Limit.Rows)
		}
		again, err := src.Latest(t.Context(), r.Start, c.Limit)
		if err != nil || again != r.End {
			t.Errorf("asked again, latest after %q is %q (%v), it was %q", r.Start, again, err, r.End)
		}
		total += n
	}
	if c.Rows >= 0 && total != c.Rows {
		t.Errorf("%d rows in all, want %d", total, c.Rows)
	}
}

func sameRange(t *testing.T, c Case) {
	src, op := c.opened(t)
	for _, r := range c.ranges(t, src) {
		first, second := plan(t, src, r), plan(t, src, r)
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("S1: range %v was cut into %v, then into %v", r, first, second)
		}
		equalRows(t, fmt.Sprintf("S1: range %v read again", r), readRange(t, src, op, r, nil), readRange(t, src, op, r, nil))
	}
}

func restart(t *testing.T, c Case) {
	src, op := c.Open(t)
	ranges := c.ranges(t, src)
	var splits [][]batch.Split
	var rows [][]row
	for _, r := range ranges {
		splits = append(splits, plan(t, src, r))
		rows = append(rows, readRange(t, src, op, r, nil))
	}
	schema := src.Schema()
	if err := src.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	src, op = c.opened(t)
	if !src.Schema().Equal(schema) {
		t.Fatalf("the schema changed from %v to %v", schema, src.Schema())
	}
	for i, r := range ranges {
		if got := plan(t, src, r); !reflect.DeepEqual(got, splits[i]) {
			t.Fatalf("S1: after a restart range %v is cut into %v, before into %v", r, got, splits[i])
		}
		equalRows(t, fmt.Sprintf("S1: range %v after a restart", r), readRange(t, src, op, r, nil), rows[i])
	}
	last := ranges[len(ranges)-1]
	if got, err := src.Latest(t.Context(), last.Start, c.Limit); err != nil || got != last.End {
		t.Errorf("after a restart latest after %q is %q (%v), it was %q", last.Start, got, err, last.End)
	}
}

func cuts(t *testing.T, c Case) {
	src, op := c.opened(t)
	ranges := c.ranges(t, src)
	var rows []row
	for _, r := range ranges {
		rows = append(rows, readRange(t, src, op, r, nil)...)
	}
	whole := step{Source: ranges[0].Source, Start: "", End: ranges[len(ranges)-1].End}
	c.sameRows(t, "all in one range", readRange(t, src, op, whole, nil), rows)
	if c.Unsliced {
		return
	}
	tail := step{Source: ranges[0].Source, Start: ranges[0].End, End: whole.End}
	head := readRange(t, src, op, ranges[0], nil)
	c.sameRows(t, "first range and the rest", append(head, readRange(t, src, op, tail, nil)...), rows)
}

func parallel(t *testing.T, c Case) {
	src, op := c.opened(t)
	ranges := c.ranges(t, src)
	whole := step{Source: ranges[0].Source, Start: "", End: ranges[len(ranges)-1].End}
	splits := plan(t, src, whole)
	want := make([][]row, len(splits))
	for i, s := range splits {
		want[i] = readSplit(t, src.Schema(), op, s, nil)
	}
	var g errgroup.Group
	g.SetLimit(8)
	got := make([][]row, 2*len(splits))
	for i := range got {
		g.Go(func() (err error) {
			got[i], err = readAll(t, src.Schema(), op, splits[i/2], nil, memory.NewGoAllocator())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		equalRows(t, fmt.Sprintf("split %d read beside others", i/2), got[i], want[i/2])
	}
}

func projection(t *testing.T, c Case) {
	src, op := c.opened(t)
	r := c.ranges(t, src)[1]
	all := readRange(t, src, op, r, nil)
	n := src.Schema().NumFields()
	reversed := make([]int, n)
	for i := range reversed {
		reversed[i] = n - 1 - i
	}
	wanted := [][]int{{}, reversed}
	for i := range n {
		wanted = append(wanted, []int{i}, slices.Delete(slices.Clone(reversed), i, i+1))
	}
	for _, columns := range wanted {
		want := make([]row, len(all))
		for i, full := range all {
			want[i] = full.pick(columns)
		}
		equalRows(t, fmt.Sprintf("columns %v", columns), readRange(t, src, op, r, columns), want)
	}
}

func release(t *testing.T, c Case) {
	src, op := c.opened(t)
	ranges := c.ranges(t, src)
	last := ranges[len(ranges)-1]
	want := readRange(t, src, op, last, nil)
	for range 2 {
		if err := src.Release(t.Context(), last.Start); err != nil {
			t.Fatalf("release up to %q: %v", last.Start, err)
		}
	}
	equalRows(t, "S3: after the rest was released", readRange(t, src, op, last, nil), want)
}

func ended(t *testing.T, c Case) {
	src, _ := c.opened(t)
	b, ok := src.(sources.Bounded)
	at := c.offsets(t, src)
	if !ok {
		if c.Rows >= 0 {
			t.Skip("the source has no end")
		}
		return
	}
	for _, o := range at[:len(at)-1] {
		if b.Ended(o) {
			t.Errorf("ended at %q, and more came", o)
		}
	}
	last := at[len(at)-1]
	if !b.Ended(last) {
		return
	}
	if got, err := src.Latest(t.Context(), last, sources.Limit{}); err != nil || got != last {
		t.Errorf("ended at %q, but latest is %q (%v)", last, got, err)
	}
}

func cancelled(t *testing.T, c Case) {
	src, op := c.opened(t)
	r := c.ranges(t, src)[0]
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	reader, err := op.Open(ctx, plan(t, src, r)[0], nil, mem)
	if err == nil {
		defer func() {
			if err := reader.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}()
		_, err = reader.Next(ctx)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("reading under a cancelled context gave %v", err)
	}
}

func closedEarly(t *testing.T, c Case) {
	src, op := c.opened(t)
	r := c.ranges(t, src)[0]
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	split := plan(t, src, r)[0]
	for reads := range 2 {
		reader, err := op.Open(t.Context(), split, nil, mem)
		if err != nil {
			t.Fatal(err)
		}
		for range reads {
			rec, err := reader.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			rec.Release()
		}
		if err := reader.Close(); err != nil {
			t.Errorf("close after %d reads: %v", reads, err)
		}
	}
}

func garbage(t *testing.T, c Case) {
	src, op := c.opened(t)
	for _, o := range []batch.Offset{"\x00", "-1", "{", "zebra", "99999999999999999999999"} {
		if _, err := src.Latest(t.Context(), o, c.Limit); err == nil {
			t.Errorf("latest took %q for an offset", o)
		}
		if _, err := src.Plan(t.Context(), step{Source: "src#0", Start: o, End: o + "1"}); err == nil {
			t.Errorf("plan took %q for an offset", o)
		}
	}
	for _, p := range []string{"", "\x00", "{", "-1 5", "zebra"} {
		r, err := op.Open(t.Context(), batch.Split{Source: "src#0", Payload: []byte(p)}, nil, memory.NewGoAllocator())
		if err == nil {
			_, err = r.Next(t.Context())
			err = errors.Join(err, r.Close())
		}
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("open took %q for a split", p)
		}
	}
}
