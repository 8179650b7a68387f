package parquet

import (
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"github.com/sluice-stream/sluice/batch"
)

// rowRange is a range of rows of a row group.
type rowRange struct{ from, to int64 }

// pageStats is what the page index says of a page.
type pageStats struct {
	rowRange
	stats batch.ColumnStats
}

// maxIndex bounds the bytes of an index that are looked at.
const maxIndex = 16 << 20

// pageIndex reads what is known of a column chunk's pages; nil if there is no
// index, or none that makes sense: then nothing is skipped.
func (c *column) pageIndex(f *File, md *metadata.ColumnChunkMetaData, rows int64) []pageStats {
	ci := f.indexBytes(md.GetColumnIndexLocation())
	oi := f.indexBytes(md.GetOffsetIndexLocation())
	if ci == nil || oi == nil {
		return nil
	}
	first, err := (&thriftWalk{b: oi}).offsetIndex()
	if err != nil || len(first) < 2 || first[0].row != 0 {
		return nil
	}
	x, err := (&thriftWalk{b: ci}).columnIndex()
	if n := len(first); err != nil || len(x.nullPage) != n || len(x.low) != n || len(x.high) != n || len(x.nulls) != 0 && len(x.nulls) != n {
		return nil
	}
	out := make([]pageStats, len(first))
	for i := range out {
		p := &out[i]
		p.from, p.to, p.stats.Nulls = first[i].row, rows, -1
		if i+1 < len(first) {
			p.to = first[i+1].row
		}
		if p.to <= p.from {
			return nil
		}
		if len(x.nulls) > 0 {
			p.stats.Nulls = x.nulls[i]
		}
		if x.nullPage[i] {
			p.stats.Nulls = p.to - p.from
		} else {
			p.stats.Min, p.stats.Max = c.bound(x.low[i]), c.bound(x.high[i])
			p.stats = ordered(p.stats)
		}
	}
	return out
}

// indexBytes reads an index of the file, if it lies inside of it and is sound.
func (f *File) indexBytes(at *metadata.IndexLocation) []byte {
	if at == nil || at.Offset <= 0 || at.Length <= 0 || int64(at.Length) > maxIndex || at.Offset > f.in.Size-int64(at.Length) {
		return nil
	}
	b := make([]byte, at.Length)
	if _, err := f.in.ReadAt(b, at.Offset); err != nil {
		return nil
	}
	if w := (thriftWalk{b: b}); w.structure(0) != nil {
		return nil
	}
	return b
}

// pagePlace is where a page begins, and its first row.
type pagePlace struct{ at, row int64 }

// pagePlaces reads where the pages of a column chunk are; nil if there is no index, or
// none that makes sense.
func (f *File) pagePlaces(md *metadata.ColumnChunkMetaData, rows int64) []pagePlace {
	b := f.indexBytes(md.GetOffsetIndexLocation())
	if b == nil {
		return nil
	}
	places, err := (&thriftWalk{b: b}).offsetIndex()
	if err != nil || len(places) < 2 || places[0].row != 0 || places[len(places)-1].row >= rows {
		return nil
	}
	for i, p := range places[1:] {
		if p.row <= places[i].row || p.at <= places[i].at {
			return nil
		}
	}
	return places
}

// offsetIndex returns the place and the first row of each page.
func (w *thriftWalk) offsetIndex() (first []pagePlace, err error) {
	err = w.fields(func(id int, t byte) error {
		if id != 1 || t != 9 {
			return w.field(t)
		}
		return w.each(func(byte) error {
			p := pagePlace{-1, -1}
			err := w.fields(func(id int, t byte) (err error) {
				switch id {
				case 1:
					p.at, err = w.signed()
				case 3:
					p.row, err = w.signed()
				default:
					return w.field(t)
				}
				return err
			})
			first = append(first, p)
			return err
		})
	})
	return first, err
}

type columnIndex struct {
	nullPage  []bool
	low, high [][]byte
	nulls     []int64
}

func (w *thriftWalk) columnIndex() (x columnIndex, err error) {
	err = w.fields(func(id int, t byte) error {
		switch {
		case t != 9:
			return w.field(t)
		case id == 1:
			return w.each(func(byte) error {
				if len(w.b) == 0 {
					return errFooter
				}
				x.nullPage = append(x.nullPage, w.b[0] == 1)
				w.b = w.b[1:]
				return nil
			})
		case id == 2 || id == 3:
			return w.each(func(byte) error {
				n, err := w.varint()
				if err != nil || n > uint64(len(w.b)) {
					return errFooter
				}
				if id == 2 {
					x.low = append(x.low, w.b[:n])
				} else {
					x.high = append(x.high, w.b[:n])
				}
				return w.skip(n)
			})
		case id == 5:
			return w.each(func(byte) error {
				v, err := w.signed()
				x.nulls = append(x.nulls, v)
				return err
			})
		}
		return w.field(t)
	})
	return x, err
}

// without takes the ranges of out away from in; both ascend.
func without(in []rowRange, out rowRange) []rowRange {
	kept := make([]rowRange, 0, len(in)+1)
	for _, r := range in {
		if r.to <= out.from || r.from >= out.to {
			kept = append(kept, r)
			continue
		}
		if r.from < out.from {
			kept = append(kept, rowRange{r.from, out.from})
		}
		if r.to > out.to {
			kept = append(kept, rowRange{out.to, r.to})
		}
	}
	return kept
}
