package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/formats"
)

const (
	maxFooter  = 256 << 20
	maxNesting = 64 // of thrift structs in a footer
)

var errFooter = errors.New("damaged footer")

// checkFooter reads the footer's bytes and walks its thrift structure without
// building it (Q2): the library allocates lists by the counts that they
// declare, so that a file of some hundred bytes could ask for gigabytes.
func checkFooter(f formats.File) error {
	if f.Size < 12 {
		return fmt.Errorf("%d bytes are too few for a Parquet file", f.Size)
	}
	var tail [8]byte
	if _, err := f.ReadAt(tail[:], f.Size-8); err != nil {
		return fmt.Errorf("read the last bytes: %w", err)
	}
	switch string(tail[4:]) {
	case "PAR1":
	case "PARE":
		return errors.New("the file is encrypted, which is not supported")
	default:
		return errors.New("not a Parquet file, or cut off: it does not end in PAR1")
	}
	n := int64(binary.LittleEndian.Uint32(tail[:4]))
	if n > f.Size-12 || n > maxFooter {
		return fmt.Errorf("%w: it declares %d bytes of a file of %d", errFooter, n, f.Size)
	}
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, f.Size-8-n); err != nil {
		return fmt.Errorf("read the footer: %w", err)
	}
	w := thriftWalk{b: buf}
	return w.structure(0)
}

// thriftWalk skips over the compact protocol, checking every count.
type thriftWalk struct{ b []byte }

func (w *thriftWalk) varint() (uint64, error) {
	v, n := binary.Uvarint(w.b)
	if n <= 0 {
		return 0, errFooter
	}
	w.b = w.b[n:]
	return v, nil
}

func (w *thriftWalk) skip(n uint64) error {
	if n > uint64(len(w.b)) {
		return errFooter
	}
	w.b = w.b[n:]
	return nil
}

func (w *thriftWalk) structure(depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%w: nested too deep", errFooter)
	}
	for {
		if len(w.b) == 0 {
			return errFooter
		}
		h := w.b[0]
		w.b = w.b[1:]
		if h == 0 {
			return nil
		}
		if h>>4 == 0 {
			if _, err := w.varint(); err != nil {
				return err
			}
		}
		if t := h & 15; t == 1 || t == 2 {
			continue // a boolean's value is its type
		}
		if err := w.value(h&15, depth); err != nil {
			return err
		}
	}
}

func (w *thriftWalk) value(t byte, depth int) error {
	switch t {
	case 1, 2, 3:
		return w.skip(1)
	case 4, 5, 6:
		_, err := w.varint()
		return err
	case 7:
		return w.skip(8)
	case 8:
		n, err := w.varint()
		if err != nil {
			return err
		}
		return w.skip(n)
	case 9, 10:
		return w.list(depth)
	case 12:
		return w.structure(depth + 1)
	}
	return errFooter // Parquet's metadata has no maps
}

func (w *thriftWalk) list(depth int) error {
	return w.each(func(t byte) error { return w.value(t, depth+1) })
}

// each visits the elements of a list.
func (w *thriftWalk) each(visit func(t byte) error) error {
	if len(w.b) == 0 {
		return errFooter
	}
	h := w.b[0]
	w.b = w.b[1:]
	n := uint64(h >> 4)
	if n == 15 {
		var err error
		if n, err = w.varint(); err != nil {
			return err
		}
	}
	// An element takes one byte at least.
	if n > uint64(len(w.b)) {
		return fmt.Errorf("%w: it declares a list of %d in %d bytes", errFooter, n, len(w.b))
	}
	for range n {
		if err := visit(h & 15); err != nil {
			return err
		}
	}
	return nil
}
