package file

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/sources"
)

// Bounds of what a plan may cost before it has begun: a table of more files is
// estimated by statsFiles of them, spread evenly over the list; statsKept files'
// statistics are kept, by path, size and time of change.
const (
	statsFiles = 24
	statsKept  = 8192
)

// statsCache keeps what the metadata of files said.
type statsCache struct {
	mu struct {
		sync.Mutex
		files map[entry]formats.Stats
	}
}

func (c *statsCache) get(e entry) (formats.Stats, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, ok := c.mu.files[e]
	return st, ok
}

func (c *statsCache) put(e entry, st formats.Stats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.files == nil || len(c.mu.files) >= statsKept {
		c.mu.files = map[entry]formats.Stats{}
	}
	c.mu.files[e] = st
}

// stats estimates what the table holds now. Files without statistics of their
// own are guessed by their size.
func (t *table) stats(ctx context.Context, cache *statsCache, es []entry) (batch.TableStats, error) {
	var (
		sum    merged
		out    batch.TableStats
		all    int64
		looked int64
	)
	for _, e := range es {
		all += e.Size
	}
	if len(es) == 0 || t.spec.Schema == nil {
		return out, nil
	}
	out.Exact = true
	step := (len(es) + statsFiles - 1) / statsFiles
	for i := 0; i < len(es); i += step {
		e := es[i]
		st, known, err := t.fileStats(ctx, cache, e)
		if err != nil {
			return batch.TableStats{}, err
		}
		out.Exact = out.Exact && known
		looked += e.Size
		sum.add(st, known)
	}
	scale := 1.0
	if looked > 0 && looked < all {
		scale, out.Exact = float64(all)/float64(looked), false
	}
	out.Rows, out.Bytes = int64(float64(sum.rows)*scale), int64(float64(sum.bytes)*scale)
	out.Columns = sum.columns(t.spec.Schema, scale)
	t.partitionStats(es, &out)
	if out.Rows == 0 { // an empty table is as good as one of a row, and 0 says nothing
		out.Rows, out.Bytes = 1, 1
	}
	return out, nil
}

// fileStats reads what one file says; known is false for a guess.
func (t *table) fileStats(ctx context.Context, cache *statsCache, e entry) (st formats.Stats, known bool, err error) {
	format, err := t.formatOf(e.Path)
	if err != nil {
		return st, false, err
	}
	if format.Stats == nil {
		return t.guess(e), false, nil
	}
	if st, ok := cache.get(e); ok {
		return st, true, nil
	}
	f, err := openEntry(e)
	if err != nil {
		return st, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if st, err = format.Stats(ctx, asFile(f, e), t.config); err != nil {
		return st, false, err
	}
	cache.put(e, st)
	return st, true, nil
}

// Of a text file: how many bytes a value takes, and how much smaller a
// compressed one is.
const (
	textValue = 9
	textRatio = 4
)

// guess takes a text file's rows to be as long as those of most are.
func (t *table) guess(e entry) formats.Stats {
	size := float64(e.Size)
	if formats.CompressionOf(e.Path).Extension() != "" {
		size *= textRatio
	}
	row := float64(textValue * max(1, t.spec.Schema.NumFields()))
	rows := int64(size/row) + 1
	return formats.Stats{Rows: rows, Bytes: int64(size)}
}

// merged adds the statistics of files up.
type merged struct {
	rows, bytes int64
	files       []formats.Stats
	guessed     bool
}

func (m *merged) add(st formats.Stats, known bool) {
	m.rows += st.Rows
	m.bytes += st.Bytes
	m.files = append(m.files, st)
	m.guessed = m.guessed || !known
}

// columns brings the files' columns into the order of the schema. What a file
// does not tell is not known of the table.
func (m *merged) columns(schema *arrow.Schema, scale float64) []batch.ColumnStats {
	if m.guessed {
		return nil
	}
	out := make([]batch.ColumnStats, schema.NumFields())
	for i, f := range schema.Fields() {
		out[i] = m.column(f.Name, scale)
	}
	return out
}

func (m *merged) column(name string, scale float64) batch.ColumnStats {
	var c batch.ColumnStats
	var most, total, width float64
	first, bounded, apart := true, true, true
	for _, f := range m.files {
		one, ok := f.Columns[name]
		if f.Rows == 0 {
			continue
		}
		if !ok {
			return batch.ColumnStats{Nulls: -1}
		}
		width += one.Width * float64(f.Rows)
		total, most = total+one.Distinct, max(most, one.Distinct)
		if one.Nulls < 0 || c.Nulls < 0 {
			c.Nulls = -1
		} else {
			c.Nulls += one.Nulls
		}
		if one.Min == nil || one.Max == nil {
			bounded = false
			continue
		}
		if first {
			c.Min, c.Max, first = one.Min, one.Max, false
			continue
		}
		apart = apart && (batch.BoundLess(c.Max, one.Min) || batch.BoundLess(one.Max, c.Min))
		if batch.BoundLess(one.Min, c.Min) {
			c.Min = one.Min
		}
		if batch.BoundLess(c.Max, one.Max) {
			c.Max = one.Max
		}
	}
	if !bounded {
		c.Min, c.Max, apart = nil, nil, false
	}
	c.Distinct = most
	if apart {
		c.Distinct = total * scale
	}
	if m.rows > 0 {
		c.Width = width / float64(m.rows)
	}
	if c.Nulls > 0 {
		c.Nulls = int64(float64(c.Nulls) * scale)
	}
	return c
}

// partitionStats fills in the columns that the directories name.
func (t *table) partitionStats(es []entry, out *batch.TableStats) {
	if out.Columns == nil {
		return
	}
	seen := map[string]map[string]bool{}
	for _, e := range es {
		keys, values := t.partitionsOf(e.Path)
		for i, k := range keys {
			if seen[k] == nil {
				seen[k] = map[string]bool{}
			}
			seen[k][values[i]] = true
		}
	}
	for i, f := range t.spec.Schema.Fields() {
		values := seen[f.Name]
		if len(values) == 0 {
			continue
		}
		c := batch.ColumnStats{Nulls: -1, Distinct: float64(len(values))}
		if arrow.IsInteger(f.Type.ID()) {
			for v := range values {
				n, err := text.ParseInt([]byte(v))
				if err != nil {
					continue
				}
				if c.Min == nil || n < c.Min.(int64) {
					c.Min = n
				}
				if c.Max == nil || n > c.Max.(int64) {
					c.Max = n
				}
			}
		}
		out.Columns[i] = c
	}
}

// statsOf answers for the registry.
func statsOf(reg *formats.Registry, cache *statsCache) func(context.Context, sources.Spec) (batch.TableStats, error) {
	return func(ctx context.Context, spec sources.Spec) (batch.TableStats, error) {
		t, err := newTable(reg, spec)
		if err != nil {
			return batch.TableStats{}, err
		}
		es, err := t.list(ctx, time.Now())
		if err != nil {
			return batch.TableStats{}, err
		}
		return t.stats(ctx, cache, es)
	}
}
