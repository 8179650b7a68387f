package driver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
)

func TestGroupSplits(t *testing.T) {
	split := func(source string, rows, bytes int64) batch.Split {
		return batch.Split{Source: source, Rows: rows, Bytes: bytes}
	}
	tiny := make([]batch.Split, 5)
	for i := range tiny {
		tiny[i] = split("a", 100, 1<<10)
	}
	cases := []struct {
		name   string
		splits []batch.Split
		out    physical.Output
		want   string
	}{
		{"none", nil, physical.ToOne{}, ""},
		{"tiny ones are one task", tiny, physical.ToOne{}, "5"},
		{"sources are not mixed", append(append([]batch.Split{}, tiny[:2]...), split("b", 100, 1)), physical.ToOne{}, "2 1"},
		{"by rows", []batch.Split{split("a", 40<<10, 1), split("a", 20<<10, 1), split("a", 10<<10, 1)}, physical.ToOne{}, "2 1"},
		{"by bytes", []batch.Split{split("a", 1, 3<<20), split("a", 1, 2<<20)}, physical.ToOne{}, "1 1"},
		{"a sink takes more", []batch.Split{split("a", 40<<10, 1), split("a", 40<<10, 1)}, physical.ToSink{}, "2"},
		{"a large one stands alone", []batch.Split{tiny[0], split("a", 1<<20, 1), tiny[0]}, physical.ToOne{}, "1 1 1"},
		{"unknown sizes stand alone", []batch.Split{tiny[0], split("a", 0, 0), tiny[0], tiny[0]}, physical.ToOne{}, "1 1 2"},
	}
	for _, c := range cases {
		var got []string
		n := 0
		for _, g := range groupSplits(c.splits, c.out) {
			got = append(got, fmt.Sprint(len(g)))
			n += len(g)
		}
		if s := strings.Join(got, " "); s != c.want || n != len(c.splits) {
			t.Errorf("%s: got %q of %d splits, want %q", c.name, s, n, c.want)
		}
	}
}
