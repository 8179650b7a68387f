package slt

import (
	"slices"
	"strings"
)

// arrange puts the rows of feeds that follow one another in turns, one of each
// source after the other, so that tables grow side by side. Rows of one source keep
// their order, and a statement that adds rows stays behind what is above it.
func arrange(feeds []Feed) []Feed {
	var out []Feed
	for from := 0; from < len(feeds); {
		to := from
		for to < len(feeds) && feeds[to].SQL == "" {
			to++
		}
		if to == from {
			out = append(out, feeds[from])
			from++
			continue
		}
		out = append(out, inTurns(feeds[from:to])...)
		from = to
	}
	return out
}

func inTurns(feeds []Feed) []Feed {
	var rows []Feed // one for each source
	for _, f := range feeds {
		i := slices.IndexFunc(rows, func(o Feed) bool { return strings.EqualFold(o.Source, f.Source) })
		if i < 0 {
			rows = append(rows, Feed{Source: f.Source, Rows: slices.Clone(f.Rows)})
			continue
		}
		rows[i].Rows = append(rows[i].Rows, f.Rows...)
	}
	var out []Feed
	for left := true; left; {
		left = false
		for i := range rows {
			if f := &rows[i]; len(f.Rows) > 0 {
				out = append(out, Feed{Source: f.Source, Rows: f.Rows[:1]})
				f.Rows = f.Rows[1:]
				left = true
			}
		}
	}
	return out
}

// Cut divides the rows of feeds, taken in order, into at most n micro-batches
// of nearly equal size, none of them empty. A statement counts as a row.
func Cut(feeds []Feed, n int) [][]Feed {
	total := totalOf(feeds)
	n = max(min(n, total), 1)
	batches := make([][]Feed, n)
	b, at := 0, 0 // the batch being filled, and the rows handed out so far
	for _, f := range feeds {
		for left := f.size(); left > 0; {
			end := (b + 1) * total / n
			if at == end {
				b++
				continue
			}
			take := min(end-at, left)
			part := f
			if f.SQL == "" {
				part.Rows, f.Rows = f.Rows[:take], f.Rows[take:]
			}
			batches[b] = append(batches[b], part)
			left, at = left-take, at+take
		}
	}
	for i := range batches {
		batches[i] = joined(batches[i])
	}
	return batches
}

// joined makes one feed of neighbours from one source.
func joined(feeds []Feed) []Feed {
	var out []Feed
	for _, f := range feeds {
		if last := len(out) - 1; last >= 0 && f.SQL == "" && out[last].SQL == "" && f.Source == out[last].Source {
			out[last].Rows = slices.Concat(out[last].Rows, f.Rows)
			continue
		}
		out = append(out, f)
	}
	return out
}

func totalOf(feeds []Feed) int {
	total := 0
	for i := range feeds {
		total += feeds[i].size()
	}
	return total
}
