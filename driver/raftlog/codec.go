package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	textMax = 16 << 20 // bytes of any text or byte string that is decoded
	listMax = 1 << 20  // elements of any list that is decoded
)

var errShort = errors.New("the bytes end too early")

type encoder struct{ b []byte }

func (e *encoder) u(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) i(v int64)  { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) s(v string) { e.u(uint64(len(v))); e.b = append(e.b, v...) }
func (e *encoder) p(v []byte) { e.u(uint64(len(v))); e.b = append(e.b, v...) }

func (e *encoder) list(vs []string) {
	e.u(uint64(len(vs)))
	for _, v := range vs {
		e.s(v)
	}
}

// decoder reads what encoder wrote. After the first fault it reads zeros, so that
// only the end has to ask.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decoder) u() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 { // the last: a longer form of the same number
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) i() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// p returns a part of what is decoded, not a copy.
func (d *decoder) p() []byte { return d.bytes(textMax) }

func (d *decoder) bytes(most uint64) []byte {
	n := d.u()
	if n > uint64(len(d.b)) || n > most {
		d.fail(errShort)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) s() string { return string(d.p()) }

// count reads the length of a list whose elements have at least a byte each.
func (d *decoder) count() int {
	n := d.u()
	if n > uint64(len(d.b)) || n > listMax {
		d.fail(errShort)
		return 0
	}
	return int(n)
}

func (d *decoder) list() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	vs := make([]string, 0, min(n, 64))
	for range n {
		vs = append(vs, d.s())
	}
	return vs
}

// end returns the first fault, or that there are bytes left.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		return fmt.Errorf("%d bytes too many", len(d.b))
	}
	return d.err
}
