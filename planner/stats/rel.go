package stats

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Rel is the estimate of a result.
type Rel struct {
	Rows float64
	Cols []Col
	// Guess says that a table below is one of which nothing is known.
	Guess bool
}

// Col is the estimate of a column.
type Col struct {
	// Lo and Hi bound numbers and times; Bounded says that they are known.
	Lo, Hi  float64
	Bounded bool
	// Distinct is how many values differ, 0 if nothing is known; Domain is how many
	// did in the table, before any row was dropped.
	Distinct, Domain float64
	// Unique says that no two rows of the table share a value; Sure that this was
	// seen and not concluded from how far the bounds are apart.
	Unique, Sure bool
	Nulls        float64 // share of the rows
	Width        float64 // bytes of a value
	// Origin is what the column was read from, Base how many rows that has.
	Origin logical.Node
	Base   float64
}

// rowOverhead is what a row takes besides its values in a hash table.
const rowOverhead = 8

// Bytes estimates the size of the result in memory.
func (r *Rel) Bytes() float64 {
	w := float64(rowOverhead)
	for _, c := range r.Cols {
		w += c.Width
	}
	return r.Rows * w
}

// scaled is the result with other rows: fewer values are left in each column.
func (r *Rel) scaled(rows float64) *Rel {
	rows = max(rows, 0)
	out := &Rel{Rows: rows, Guess: r.Guess, Cols: make([]Col, len(r.Cols))}
	for i, c := range r.Cols {
		out.Cols[i] = c.kept(rows, r.Rows)
	}
	return out
}

// kept is the column when rows of all are left, drawn at random.
func (c Col) kept(rows, all float64) Col {
	if c.Distinct > 0 && rows < all {
		c.Distinct = drawn(c.Distinct, rows, all)
	}
	return c
}

// drawn is how many of d values are seen in rows of all rows.
func drawn(d, rows, all float64) float64 {
	if d <= 0 || all <= 0 {
		return d
	}
	if d >= all {
		return max(1, min(d, rows))
	}
	return max(1, min(rows, d*(1-math.Pow(1-min(1, rows/all), all/d))))
}

// unknownRows is what a table of which nothing is known is taken to hold: too
// much to be sent to every task.
const unknownRows = 1e7

// defaultDistinct is the share of a table's rows that differ in a column of
// which nothing is known.
const defaultDistinct = 0.1

// ofTable turns what is known of a table into an estimate of its columns.
func ofTable(n *logical.Scan, st *batch.TableStats) *Rel {
	schema := n.Schema()
	out := &Rel{Rows: unknownRows, Guess: true, Cols: make([]Col, schema.NumFields())}
	if st != nil && st.Rows > 0 {
		out.Rows, out.Guess = float64(st.Rows), !st.Exact
	}
	for i, f := range schema.Fields() {
		at := i
		if n.Columns != nil {
			at = n.Columns[i]
		}
		c := Col{Origin: n, Base: out.Rows, Width: widthOf(f.Type)}
		if st != nil && at < len(st.Columns) {
			c.fill(st.Columns[at], out.Rows)
		}
		if f.Type.ID() == arrow.BOOL && c.Distinct == 0 {
			c.Distinct = 2
		}
		c.Domain = c.Distinct
		out.Cols[i] = c
	}
	return out
}

func (c *Col) fill(st batch.ColumnStats, rows float64) {
	if st.Width > 0 {
		c.Width = st.Width
	}
	if st.Nulls > 0 && rows > 0 {
		c.Nulls = min(1, float64(st.Nulls)/rows)
	}
	lo, ok := number(st.Min)
	hi, ok2 := number(st.Max)
	if ok && ok2 && lo <= hi {
		c.Lo, c.Hi, c.Bounded = lo, hi, true
	}
	c.Distinct = min(st.Distinct, rows)
	if _, whole := st.Min.(int64); whole && c.Bounded {
		values := hi - lo + 1
		if c.Distinct == 0 {
			c.Distinct = min(values, rows)
		}
		c.Unique = c.Distinct >= 0.97*rows
		c.Sure = c.Unique && (st.Distinct > 0 || values <= 1.03*rows)
	} else if st.Distinct > 0 {
		c.Unique = c.Distinct >= 0.97*rows
		c.Sure = c.Unique
	}
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, !math.IsNaN(v) && !math.IsInf(v, 0)
	}
	return 0, false
}

// textWidth is the width of a text of which nothing is known.
const textWidth = 24

func widthOf(t arrow.DataType) float64 {
	if f, ok := t.(arrow.FixedWidthDataType); ok {
		return math.Ceil(float64(f.BitWidth()) / 8)
	}
	return textWidth
}

// distinct is the number of values of a column, guessed if need be.
func (c Col) distinct(rows float64) float64 {
	if c.Distinct > 0 {
		return max(1, min(c.Distinct, rows))
	}
	return max(1, rows*defaultDistinct)
}
