package formats

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// QuarantineTable names the table that takes the rows of 'bad-rows' = 'quarantine'.
var QuarantineTable = options.Option{Key: "quarantine-table", Kind: options.Text,
	Doc: "The table that takes the rows which cannot be read, under 'bad-rows' = 'quarantine'; by default one of the query's own."}

// Quarantines reports whether rows that cannot be read are to be set aside.
func Quarantines(c Config) bool { return c.Options.Get(BadRows) == "quarantine" }

// SetAside takes rows that cannot be read. Raw is borrowed, and File is the
// caller's to fill in.
type SetAside func(row batch.BadRow) error

// Quarantiner is implemented by the readers of formats whose rows can be bad one
// by one. It is called before the first Next. A reader that nobody tells where
// bad rows go to stops at the first, whatever 'bad-rows' says.
type Quarantiner interface{ SetAside(to SetAside) }

// Aside keeps account of the bad rows of one reader.
type Aside struct {
	to   SetAside
	f    File
	from int64 // where the reader's piece starts
	base int64 // lines before it; -1: not counted yet
	drop []int // rows of the batch in hand that are bad
}

// NewAside starts the account of a piece of a file.
func NewAside(f File, from int64, to SetAside) *Aside {
	return &Aside{to: to, f: f, from: from, base: -1}
}

// Add sets a row aside: its text, its line and offset within the piece (-1 if
// unknown), and why.
func (a *Aside) Add(raw []byte, line, offset int64, reason string) error {
	if a.base < 0 {
		a.base = 0
		if a.from > 0 {
			a.base = CountLines(a.f, a.from)
		}
	}
	if offset >= 0 {
		offset += a.from
	}
	return a.to(batch.BadRow{Raw: raw, Line: a.base + line, Offset: offset, Reason: strings.TrimPrefix(strings.TrimPrefix(reason, ","), " ")})
}

// Drop notes that row i of the batch in hand is bad: half of it is in the builders.
func (a *Aside) Drop(i int) { a.drop = append(a.drop, i) }

// Clean takes the bad rows out of the batch in hand, which it takes over.
func (a *Aside) Clean(rec arrow.RecordBatch, alloc memory.Allocator) (arrow.RecordBatch, error) {
	if a == nil || len(a.drop) == 0 {
		return rec, nil
	}
	defer rec.Release()
	drop := a.drop
	a.drop = a.drop[:0]
	n := rec.NumRows() - int64(len(drop))
	cols := make([]arrow.Array, rec.NumCols())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i := range cols {
		var err error
		if cols[i], err = without(rec.Column(i), drop, alloc); err != nil {
			return nil, err
		}
	}
	return array.NewRecordBatch(rec.Schema(), cols, n), nil
}

// without copies the runs between the rows to be left out.
func without(col arrow.Array, drop []int, alloc memory.Allocator) (arrow.Array, error) {
	var runs []arrow.Array
	defer func() {
		for _, r := range runs {
			r.Release()
		}
	}()
	from := 0
	for _, d := range append(drop[:len(drop):len(drop)], col.Len()) {
		if d > from {
			runs = append(runs, array.NewSlice(col, int64(from), int64(d)))
		}
		from = d + 1
	}
	if len(runs) == 0 {
		return array.NewSlice(col, 0, 0), nil
	}
	return array.Concatenate(runs, alloc)
}
