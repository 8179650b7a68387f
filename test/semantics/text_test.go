package semantics

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
)

// feed is rows of a table.
type feed struct {
	table string
	whole bool // the rows are all of the table, which is one file
	rows  [][]string
}

// parseFeeds reads lines of "table: row  row", or "table = row  row" for the new
// contents of a table that is one file. Rows are parted by two spaces.
func parseFeeds(input string) ([]feed, error) {
	var feeds []feed
	for line := range strings.Lines(input) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		table, rest, ok := strings.Cut(line, ":")
		whole := false
		if name, r, eq := strings.Cut(line, "="); eq && len(name) < len(table) {
			table, rest, whole, ok = strings.TrimSpace(name), r, true, true
		}
		if !ok || strings.Contains(table, " ") {
			return nil, fmt.Errorf("%q is not 'table: rows'", line)
		}
		f := feed{table: table, whole: whole}
		for _, row := range regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(rest), -1) {
			if row == "" {
				continue
			}
			values := strings.Split(row, ",")
			for i, v := range values {
				values[i] = csvValue(strings.TrimSpace(v))
			}
			f.rows = append(f.rows, values)
		}
		feeds = append(feeds, f)
	}
	return feeds, nil
}

// csvValue writes @5 as a time, NULL as nothing.
func csvValue(v string) string {
	if v == "NULL" {
		return ""
	}
	if s, ok := strings.CutPrefix(v, "@"); ok {
		if secs, err := strconv.ParseFloat(s, 64); err == nil {
			return time.UnixMicro(int64(secs * 1e6)).UTC().Format("2006-01-02 15:04:05.999999")
		}
	}
	return `"` + v + `"`
}

// timeText writes times within a day of 1970 as their seconds.
func timeText(t time.Time) string {
	s := float64(t.UnixMicro()) / 1e6
	if s <= -86400 || s >= 86400 {
		return strings.ReplaceAll(t.UTC().Format("2006-01-02 15:04:05.999999"), " ", "T")
	}
	return "@" + strconv.FormatFloat(s, 'f', -1, 64)
}

var timeLike = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?`)

func shortTimes(text string) string {
	return timeLike.ReplaceAllStringFunc(text, func(s string) string {
		t, err := time.Parse("2006-01-02 15:04:05.999999", s)
		if err != nil {
			return s
		}
		return timeText(t)
	})
}

// outBatch is the rows of a batch as text, with their kinds where they have any.
type outBatch struct {
	names []string
	rows  [][]string
	ops   []string
}

var opNames = map[string]string{"0": "+I", "1": "-U", "2": "+U", "3": "-D"}

func newOutBatch(recs []arrow.RecordBatch) (*outBatch, error) {
	f, err := render.New("UTC")
	if err != nil {
		return nil, err
	}
	b := &outBatch{}
	for _, rec := range recs {
		n := int(rec.NumCols())
		kinds := rec.ColumnName(n-1) == sluice.OpColumn
		if kinds {
			n--
		}
		b.names = b.names[:0]
		for c := range n {
			b.names = append(b.names, rec.ColumnName(c))
		}
		for i := range int(rec.NumRows()) {
			row := make([]string, n)
			for c := range row {
				if row[c] = "NULL"; !rec.Column(c).IsNull(i) {
					row[c] = shortTimes(string(f.AppendText(nil, rec.Column(c), i)))
				}
			}
			b.rows = append(b.rows, row)
			if kinds {
				b.ops = append(b.ops, opNames[string(f.AppendText(nil, rec.Column(n), i))])
			}
		}
	}
	if b.ops != nil && len(b.ops) != len(b.rows) {
		return nil, fmt.Errorf("some rows of a batch have a kind of change, others have none")
	}
	return b, nil
}

func rowText(row []string) string { return "(" + strings.Join(row, " ") + ")" }

// lines prints the rows, sorted unless their order says something. What an update
// takes back stands before what it puts in its place.
func (b *outBatch) lines(ordered bool) []string {
	out := make([]string, len(b.rows))
	for i, row := range b.rows {
		out[i] = rowText(row)
		if b.ops != nil {
			out[i] = b.ops[i] + out[i]
		}
	}
	if !ordered {
		slices.SortFunc(out, func(x, y string) int {
			if b.ops != nil {
				if c := strings.Compare(x[2:], y[2:]); c != 0 {
					return c
				}
			}
			return strings.Compare(x, y)
		})
	}
	return out
}

// accumulated is what a reader of the output holds; nil if only a key could tell.
func (o *output) accumulated(mode sluice.Mode, keys []string) ([]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	ids := []int64{}
	for id := range o.batches {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	rows := [][]string{}
	for _, id := range ids {
		b := o.batches[id]
		if mode == sluice.Complete {
			rows = rows[:0]
		}
		if mode == sluice.Update && len(keys) == 0 && b.ops != nil && len(b.rows) > 0 {
			return nil, nil
		}
		var err error
		if rows, err = b.apply(rows, mode, keys); err != nil {
			return nil, fmt.Errorf("batch %d: %w", id, err)
		}
	}
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = rowText(row)
	}
	return out, nil
}

// apply changes rows as the batch says. Partitions come in any order, so that what
// is taken back in a batch may stand behind what it was taken for.
func (b *outBatch) apply(rows [][]string, mode sluice.Mode, keys []string) ([][]string, error) {
	if b.ops == nil {
		return append(rows, b.rows...), nil
	}
	var at []int
	for _, k := range keys {
		i := slices.Index(b.names, k)
		if i < 0 {
			return nil, fmt.Errorf("the result has no column %q", k)
		}
		at = append(at, i)
	}
	if mode == sluice.Update {
		if err := b.once(at); err != nil {
			return nil, err
		}
	}
	for _, first := range []bool{true, false} {
		for i, row := range b.rows {
			out := b.ops[i] == "-U" || b.ops[i] == "-D"
			if out != first {
				continue
			}
			j := slices.IndexFunc(rows, func(have []string) bool {
				if mode != sluice.Update {
					return slices.Equal(have, row)
				}
				return !slices.ContainsFunc(at, func(c int) bool { return have[c] != row[c] })
			})
			switch {
			case out && j < 0:
				return nil, fmt.Errorf("%w: %s", errTakenBack, rowText(row))
			case out, mode == sluice.Update && j >= 0:
				rows = slices.Delete(rows, j, j+1)
			}
			if !out {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

// once makes sure that an update says of each key one thing: whoever applies it
// takes the rows in any order.
func (b *outBatch) once(at []int) error {
	seen := map[string]bool{}
	for _, row := range b.rows {
		var key []string
		for _, c := range at {
			key = append(key, row[c])
		}
		k := strings.Join(key, "\x00")
		if len(at) > 0 && seen[k] {
			return fmt.Errorf("the key %q comes twice in an update: %s", key, b.lines(false))
		}
		seen[k] = true
	}
	return nil
}

// splitStatements parts declarations at semicolons; none of them has one inside.
func splitStatements(text string) []string {
	var out []string
	for s := range strings.SplitSeq(text, ";") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
