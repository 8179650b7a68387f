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

// The kinds of pages that hold something for us.
const (
	dataPage       = 0
	dictionaryPage = 2
	dataPageV2     = 3
)

// pageHeader is what a page's header says. The field numbers are those of
// PageHeader in Parquet's thrift definition.
type pageHeader struct {
	kind          int64
	plain, packed int64 // bytes of the page
	values        int64
	encoding      int64
	levels        int64 // encoding of the definition levels, of a page of version 1
	nulls, rows   int64 // of a page of version 2
	defBytes      int64 // of a page of version 2, in front of the values
	repBytes      int64
	dictionary    bool
	crc           uint32
	hasCRC        bool
	loose         bool // the values of a page of version 2 are not compressed
}

// chunkRange is where the pages of a column chunk lie.
func chunkRange(f formats.File, md *metadata.ColumnChunkMetaData) (at, end int64) {
	at = md.DataPageOffset()
	if md.HasDictionaryPage() && md.DictionaryPageOffset() > 0 {
		at = min(at, md.DictionaryPageOffset())
	}
	return at, min(at+md.TotalCompressedSize(), f.Size)
}

// checkPages walks over the page headers of a column chunk without reading the
// pages (Q2). The library makes room for a dictionary's values by their
// declared number: a page of some bytes could ask for gigabytes.
func checkPages(f formats.File, md *metadata.ColumnChunkMetaData) error {
	at, end := chunkRange(f, md)
	for values := int64(0); at < end && values < md.NumValues(); {
		h, n, err := readPageHeader(f, at, end)
		if err != nil {
			return fmt.Errorf("page header at byte %d: %w", at, err)
		}
		if err := h.check(at, end-at-n); err != nil {
			return err
		}
		if !h.dictionary {
			values += h.values
		}
		at += n + h.packed
	}
	return nil
}

// check compares a header with the bytes that its column chunk has left behind it.
func (h *pageHeader) check(at, left int64) error {
	if h.plain < 0 || h.packed < 0 || h.values < 0 || h.values > maxPageValues || h.packed > left {
		return fmt.Errorf("page at byte %d declares %d bytes, %d unpacked, with %d values, and its column chunk has %d bytes left", at, h.packed, h.plain, h.values, left)
	}
	if h.dictionary && h.values > h.plain {
		return fmt.Errorf("dictionary page at byte %d declares %d values in %d bytes", at, h.values, h.plain)
	}
	if h.defBytes < 0 || h.repBytes < 0 || h.defBytes > h.packed || h.repBytes > h.packed-h.defBytes || h.defBytes+h.repBytes > h.plain {
		return fmt.Errorf("page at byte %d declares levels of %d and %d bytes in a page of %d", at, h.defBytes, h.repBytes, h.packed)
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

func (w *thriftWalk) signed() (int64, error) {
	v, err := w.varint()
	return int64(v>>1) ^ -int64(v&1), err
}

func (w *thriftWalk) pageHeader() (h pageHeader, err error) {
	err = w.fields(func(id int, t byte) (err error) {
		switch id {
		case 1:
			h.kind, err = w.signed()
		case 2:
			h.plain, err = w.signed()
		case 3:
			h.packed, err = w.signed()
		case 4:
			var v int64
			v, err = w.signed()
			h.crc, h.hasCRC = uint32(v), true
		case 5:
			return w.fields(h.data(w))
		case 7:
			h.dictionary = true
			return w.fields(h.data(w))
		case 8:
			return w.fields(h.dataV2(w))
		default:
			return w.field(t)
		}
		return err
	})
	return h, err
}

// data reads the fields that data pages of version 1 and dictionary pages share.
func (h *pageHeader) data(w *thriftWalk) func(id int, t byte) error {
	return func(id int, t byte) (err error) {
		switch id {
		case 1:
			h.values, err = w.signed()
			return err
		case 2:
			h.encoding, err = w.signed()
			return err
		case 3:
			if !h.dictionary {
				h.levels, err = w.signed()
				return err
			}
		}
		return w.field(t)
	}
}

func (h *pageHeader) dataV2(w *thriftWalk) func(id int, t byte) error {
	return func(id int, t byte) (err error) {
		switch id {
		case 1:
			h.values, err = w.signed()
		case 2:
			h.nulls, err = w.signed()
		case 3:
			h.rows, err = w.signed()
		case 4:
			h.encoding, err = w.signed()
		case 5:
			h.defBytes, err = w.signed()
		case 6:
			h.repBytes, err = w.signed()
		case 7:
			h.loose = t == 2 // the type of a boolean field is its value; 2 is false
		default:
			return w.field(t)
		}
		return err
	}
}

// field skips a struct's field, whose booleans have no bytes of their own.
func (w *thriftWalk) field(t byte) error {
	if t == 1 || t == 2 {
		return nil
	}
	return w.value(t, 2)
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
			v, err := w.signed()
			if err != nil {
				return err
			}
			id = int(v)
		}
		if err := visit(id, h&15); err != nil {
			return err
		}
	}
}
