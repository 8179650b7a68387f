package parquet

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/parquet/metadata"

	"github.com/sluice-stream/sluice/formats"
)

// Page headers are read in steps of this size, up to the library's own limit.
const (
	pageHeaderStep = 1 << 10
	maxPageHeader  = 4 << 20
	maxPageValues  = 1 << 26 // no writer comes near; some decoders make room for all at once
)

// pageHeader is what the check needs of a page's header. The field numbers are
// those of PageHeader in Parquet's thrift definition.
type pageHeader struct {
	plain, packed int64 // bytes of the page
	values        int64
	dictionary    bool
}

// checkPages walks over the page headers of a column chunk without reading the
// pages (Q2). The library makes room for a dictionary's values by their
// declared number: a page of some bytes could ask for gigabytes.
func checkPages(f formats.File, md *metadata.ColumnChunkMetaData) error {
	at := md.DataPageOffset()
	if md.HasDictionaryPage() && md.DictionaryPageOffset() > 0 {
		at = min(at, md.DictionaryPageOffset())
	}
	end := min(at+md.TotalCompressedSize(), f.Size)
	for values := int64(0); at < end && values < md.NumValues(); {
		h, n, err := readPageHeader(f, at, end)
		if err != nil {
			return fmt.Errorf("page header at byte %d: %w", at, err)
		}
		if h.plain < 0 || h.packed < 0 || h.values < 0 || h.values > maxPageValues || h.packed > end-at-n {
			return fmt.Errorf("page at byte %d declares %d bytes, %d unpacked, with %d values, and its column chunk has %d bytes left", at, h.packed, h.plain, h.values, end-at-n)
		}
		if h.dictionary {
			if h.values > h.plain {
				return fmt.Errorf("dictionary page at byte %d declares %d values in %d bytes", at, h.values, h.plain)
			}
		} else {
			values += h.values
		}
		at += n + h.packed
	}
	return nil
}

func readPageHeader(f formats.File, at, end int64) (h pageHeader, n int64, err error) {
	for size := int64(pageHeaderStep); ; size *= 4 {
		buf := make([]byte, min(size, end-at))
		if _, err := f.ReadAt(buf, at); err != nil {
			return h, 0, err
		}
		w := thriftWalk{b: buf}
		h, err := w.pageHeader()
		if err == nil {
			return h, int64(len(buf) - len(w.b)), nil
		}
		if int64(len(buf)) < size || size > maxPageHeader {
			return h, 0, errors.New("it cannot be read")
		}
	}
}

func (w *thriftWalk) pageHeader() (h pageHeader, err error) {
	err = w.fields(func(id int, t byte) error {
		switch id {
		case 2, 3:
			v, err := w.varint()
			n := int64(v>>1) ^ -int64(v&1)
			if id == 2 {
				h.plain = n
			} else {
				h.packed = n
			}
			return err
		case 5, 7, 8:
			h.dictionary = id == 7
			return w.fields(func(id int, t byte) error {
				if id != 1 {
					return w.value(t, 2)
				}
				v, err := w.varint()
				h.values = int64(v>>1) ^ -int64(v&1)
				return err
			})
		}
		return w.value(t, 1)
	})
	return h, err
}

// fields walks over a struct, leaving each field's value to visit.
func (w *thriftWalk) fields(visit func(id int, t byte) error) error {
	id := 0
	for {
		if len(w.b) == 0 {
			return errFooter
		}
		h := w.b[0]
		w.b = w.b[1:]
		if h == 0 {
			return nil
		}
		if d := int(h >> 4); d > 0 {
			id += d
		} else {
			v, err := w.varint()
			if err != nil {
				return err
			}
			id = int(int64(v>>1) ^ -int64(v&1))
		}
		if t := h & 15; t == 1 || t == 2 {
			continue // a boolean's value is its type
		}
		if err := visit(id, h&15); err != nil {
			return err
		}
	}
}
