package test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
)

// accumulated is what a reader of a query's output sees: what ForeachBatch hands
// over, applied as the output mode says and no more kindly.
type accumulated struct {
	mode  sluice.Mode
	seen  bool
	last  int64
	batch [][]string // the last one, as it came
	rows  [][]string
	keys  []int // by which update replaces rows
	grows bool  // rows are only added
	fault error
}

// keyed finds the columns by which update replaces rows.
func (a *accumulated) keyed(schema *arrow.Schema, names []string) error {
	a.keys = []int{}
	for _, name := range names {
		at := schema.FieldIndices(name)
		if len(at) != 1 {
			return fmt.Errorf("update replaces rows by the column %s, of which there are %d", name, len(at))
		}
		a.keys = append(a.keys, at[0])
	}
	return nil
}

// apply takes a batch once. After a restart the last one may come again, and must
// be the same.
func (a *accumulated) apply(_ context.Context, id int64, recs []arrow.RecordBatch) error {
	rows, changes := textRows(recs)
	a.take(id, rows, changes)
	return nil
}

// take takes the rows of a batch, with the kinds of change behind them if there are any.
func (a *accumulated) take(id int64, rows [][]string, changes bool) {
	if a.seen && id <= a.last {
		if id < a.last || !sameRows(rows, a.batch) {
			a.faultf(id, "came again after batch %d, and otherwise: %v, before it was %v", a.last, rows, a.batch)
		}
		return
	}
	a.seen, a.last, a.batch = true, id, rows
	switch {
	case a.mode == sluice.Complete && changes, a.mode == sluice.Append && changes:
		a.faultf(id, "has kinds of change")
	case a.mode == sluice.Complete:
		a.rows = rows
	case !changes:
		if a.mode == sluice.Update && a.keys != nil {
			for _, row := range rows {
				a.upsert(row)
			}
			return
		}
		a.rows = append(a.rows, rows...)
	case a.mode == sluice.Update:
		a.update(id, rows)
	default:
		a.change(id, rows)
	}
}

func (a *accumulated) faultf(id int64, format string, args ...any) {
	a.fault = errors.Join(a.fault, fmt.Errorf("output mode %s: batch %d %s", a.mode, id, fmt.Sprintf(format, args...)))
}

// change applies a changelog. Within a batch partitions come in any order, so what
// is taken back may come first.
func (a *accumulated) change(id int64, rows [][]string) {
	var back [][]string
	for _, row := range rows {
		op, row := row[len(row)-1], row[:len(row)-1]
		switch op {
		case "0", "2":
			a.rows = append(a.rows, row)
		case "1", "3":
			back = append(back, row)
		default:
			a.faultf(id, "has a change of kind %s", op)
		}
	}
	for _, row := range back {
		i := slices.IndexFunc(a.rows, func(o []string) bool { return slices.Equal(o, row) })
		if i < 0 {
			a.faultf(id, "takes back a row that is not there: %s", strings.Join(row, "|"))
			continue
		}
		a.rows = slices.Delete(slices.Clone(a.rows), i, i+1)
	}
}

// update applies upserts and deletes by key, of which a batch has one each.
func (a *accumulated) update(id int64, rows [][]string) {
	var touched [][]string
	for _, row := range rows {
		op, row := row[len(row)-1], row[:len(row)-1]
		key := a.key(row)
		if slices.ContainsFunc(touched, func(o []string) bool { return slices.Equal(o, key) }) {
			a.faultf(id, "changes the key %s twice", strings.Join(key, "|"))
		}
		touched = append(touched, key)
		switch op {
		case "0", "2":
			a.upsert(row)
		case "3":
			i := a.find(key)
			if i < 0 {
				a.faultf(id, "deletes a row that is not there: %s", strings.Join(row, "|"))
				continue
			}
			a.rows = slices.Delete(slices.Clone(a.rows), i, i+1)
		default:
			a.faultf(id, "has a change of kind %s", op)
		}
	}
}

func (a *accumulated) upsert(row []string) {
	a.rows = slices.Clone(a.rows)
	if i := a.find(a.key(row)); i >= 0 {
		a.rows[i] = row
		return
	}
	a.rows = append(a.rows, row)
}

func (a *accumulated) key(row []string) []string {
	key := make([]string, len(a.keys))
	for i, k := range a.keys {
		key[i] = row[k]
	}
	return key
}

func (a *accumulated) find(key []string) int {
	return slices.IndexFunc(a.rows, func(o []string) bool { return slices.Equal(a.key(o), key) })
}

// textRows are rows as SQL logic tests write them; changes says that the last
// column is the kind of change.
func textRows(recs []arrow.RecordBatch) (rows [][]string, changes bool) {
	f := render.UTC()
	for _, rec := range recs {
		n := int(rec.NumCols())
		changes = n > 0 && rec.ColumnName(n-1) == sluice.OpColumn
		for i := range int(rec.NumRows()) {
			row := make([]string, n)
			for c, col := range rec.Columns() {
				if row[c] = "NULL"; !col.IsNull(i) {
					row[c] = string(f.AppendText(nil, col, i))
				}
			}
			rows = append(rows, row)
		}
	}
	return rows, changes
}

func sameRows(a, b [][]string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, slices.Compare)
	slices.SortFunc(b, slices.Compare)
	return slices.EqualFunc(a, b, slices.Equal)
}
