package memory

import (
	"encoding/binary"
	"strconv"

	"github.com/sluice-stream/sluice/internal/render"
)

// place is where a row lies.
type place struct {
	part *part
	row  int
}

// oneRow stands for the key of a result that is a single row: every row has it.
const oneRow = -1

// index finds rows by key, or by all columns where there is none.
type index struct {
	keys   []int // columns; all if empty
	places map[string][]place
	format *render.Formatter
	buf    []byte
	cell   []byte
}

func newIndex(keys []int, parts []*part) *index {
	x := &index{keys: keys, places: map[string][]place{}, format: render.UTC()}
	for _, p := range parts {
		for row := range int(p.rec.NumRows()) {
			if p.gone == nil || !p.gone[row] {
				x.add(p, row)
			}
		}
	}
	return x
}

func (x *index) add(p *part, row int) {
	k := string(x.key(p, row))
	x.places[k] = append(x.places[k], place{p, row})
}

// take removes and returns the newest row with the key of a row.
func (x *index) take(p *part, row int) (place, bool) {
	k := x.key(p, row)
	at := x.places[string(k)]
	if len(at) == 0 {
		return place{}, false
	}
	last := at[len(at)-1]
	if len(at) == 1 {
		delete(x.places, string(k))
	} else {
		x.places[string(k)] = at[:len(at)-1]
	}
	return last, true
}

// key makes a row's key of its values as JSON, each with its length, so that two
// rows have the same key just when they have the same values.
func (x *index) key(p *part, row int) []byte {
	x.buf = x.buf[:0]
	add := func(column int) {
		x.cell = x.format.AppendJSON(x.cell[:0], p.rec.Column(column), row)
		x.buf = binary.AppendUvarint(x.buf, uint64(len(x.cell)))
		x.buf = append(x.buf, x.cell...)
	}
	if len(x.keys) == 0 {
		for c := range int(p.rec.NumCols()) {
			add(c)
		}
	}
	for _, c := range x.keys {
		if c != oneRow {
			add(c)
		}
	}
	if len(x.buf) == 0 { // a table without columns, or of one row
		return strconv.AppendInt(x.buf, 0, 10)
	}
	return x.buf
}
