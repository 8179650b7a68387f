//go:build synctests

package bubble

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// complete reports whether nothing is missing of the outputs, and says what is.
func (w *world) complete(copies, counts *reader) (missing string) {
	if n := len(copies.recs); n < len(w.user.rows) {
		return fmt.Sprintf("%d of %d copies", n, len(w.user.rows))
	}
	sum := int64(0)
	last := map[string]int64{}
	for _, rec := range counts.recs {
		var c count
		if err := json.Unmarshal(rec.Value, &c); err != nil {
			w.violated("counts: %s: %v", rec.Value, err)
			return ""
		}
		sum += c.N - last[c.K]
		last[c.K] = c.N
	}
	if sum < int64(len(w.user.rows)) {
		return fmt.Sprintf("%d of %d rows are counted", sum, len(w.user.rows))
	}
	if n, want := len(w.windows()), len(w.expectedWindows()); n < want {
		return fmt.Sprintf("%d of %d windows", n, want)
	}
	return ""
}

type count struct {
	K     string
	N     int64
	Total int64
}

// check holds the outputs against the input.
func (w *world) check(copies, counts *reader) {
	w.checkCopies(copies)
	w.checkCounts(counts)
	got := map[string]bool{}
	want := w.expectedWindows()
	for _, line := range w.windows() {
		if got[line] {
			w.violated("window %s is there twice", line)
		}
		got[line] = true
		if !want[line] {
			w.violated("window %s is not the recomputed one", line)
		}
	}
	for line := range want {
		if !got[line] {
			w.violated("window %s is missing", line)
		}
	}
}

// checkCopies: each row once, and of each key in order.
func (w *world) checkCopies(r *reader) {
	seen, last := make([]int, len(w.user.rows)), map[string]int64{}
	for _, rec := range r.recs {
		var c row
		if err := json.Unmarshal(rec.Value, &c); err != nil || c.ID < 0 || c.ID >= int64(len(seen)) {
			w.violated("copies: %s: %v", rec.Value, err)
			continue
		}
		if in := w.user.rows[c.ID]; in.K != c.K || in.V != c.V {
			w.violated("row %d went in as %+v and came out as %s", c.ID, in, rec.Value)
		}
		if was, ok := last[c.K]; ok && c.ID <= was {
			w.violated("of key %s, row %d comes behind row %d", c.K, c.ID, was)
		}
		last[c.K] = c.ID
		seen[c.ID]++
	}
	for id, n := range seen {
		if n != 1 {
			w.violated("row %d is there %d times", id, n)
		}
	}
}

// checkCounts: each correction is the answer over a prefix of the key's rows, longer than
// the one before, and the last is that over all.
func (w *world) checkCounts(r *reader) {
	prefix := map[string][]int64{} // total after n rows
	for _, in := range w.user.rows {
		p := prefix[in.K]
		if p == nil {
			p = []int64{0}
		}
		prefix[in.K] = append(p, p[len(p)-1]+in.V)
	}
	last := map[string]int64{}
	for _, rec := range r.recs {
		var c count
		if err := json.Unmarshal(rec.Value, &c); err != nil {
			w.violated("counts: %s: %v", rec.Value, err)
			continue
		}
		p := prefix[c.K]
		switch {
		case c.N < 1 || c.N >= int64(len(p)):
			w.violated("counts: %s, and there are %d rows", rec.Value, len(p)-1)
		case c.Total != p[c.N]:
			w.violated("counts: %s, and the first %d rows make %d", rec.Value, c.N, p[c.N])
		case c.N <= last[c.K]:
			w.violated("the count of %s goes from %d to %d", c.K, last[c.K], c.N)
		}
		last[c.K] = c.N
	}
	for k, p := range prefix {
		if last[k] != int64(len(p)-1) {
			w.violated("the count of %s ends with %d, want %d", k, last[k], len(p)-1)
		}
	}
}

// expectedWindows are those that are closed by what was written, as lines.
func (w *world) expectedWindows() map[string]bool {
	type key struct {
		start time.Time
		k     string
	}
	n, total := map[key]int64{}, map[key]int64{}
	for _, r := range w.user.rows {
		at := key{r.at.Truncate(10 * time.Second), r.K}
		n[at]++
		total[at] += r.V
	}
	out := map[string]bool{}
	for at := range n {
		if at.start.Add(10 * time.Second).After(w.user.at.Add(-2 * time.Second)) {
			continue
		}
		out[fmt.Sprintf("%s,%s,%d,%d", at.start.Format(time.RFC3339), at.k, n[at], total[at])] = true
	}
	return out
}

// windows are the lines of the folder, as any reader of it sees them.
func (w *world) windows() (lines []string) {
	names, err := w.shared.List("out/windows")
	if err != nil {
		return nil
	}
	for _, name := range names {
		if name[0] == '_' || name[0] == '.' || !strings.HasSuffix(name, ".csv") {
			continue
		}
		b, err := vfsx.ReadFile(w.shared, "out/windows/"+name, 1<<20)
		if err != nil {
			w.violated("%v", err)
			continue
		}
		for line := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n") {
			if line != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines
}
