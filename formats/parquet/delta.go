package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"

	apq "github.com/apache/arrow-go/v18/parquet"
)

// The encodings of pages, as the format numbers them.
const (
	encPlain           = 0
	encPlainDictionary = 2
	encRLE             = 3
	encBitPacked       = 4
	encDelta           = 5
	encDeltaLength     = 6
	encDeltaBytes      = 7
	encDictionary      = 8
	encSplit           = 9
)

// maxExpanded bounds what a page of a delta encoding becomes: some bytes may
// stand for millions of equal values.
const maxExpanded = 128 << 20

var errDelta = errors.New("damaged delta encoding")

// asPlain brings the n values of a page to the form of the PLAIN encoding. What
// it returns is in a pooled buffer; done says that it is body itself.
func asPlain(encoding int64, t apq.Type, typeLength int, body []byte, n int) (out []byte, done bool, err error) {
	size := map[apq.Type]int{apq.Types.Int32: 4, apq.Types.Int64: 8, apq.Types.Float: 4, apq.Types.Double: 8,
		apq.Types.Int96: 12, apq.Types.FixedLenByteArray: typeLength}[t]
	if n*max(size, 1) > maxExpanded {
		return nil, false, fmt.Errorf("a page of %d values in %d bytes", n, len(body))
	}
	text := t == apq.Types.ByteArray
	switch {
	case encoding == encPlain && t == apq.Types.Boolean:
		h := hybrid{width: 1, bits: body, left: min(n, len(body)*8)}
		out, err = boolBytes(&h, n)
	case encoding == encRLE && t == apq.Types.Boolean:
		if len(body) < 4 || uint64(binary.LittleEndian.Uint32(body)) > uint64(len(body)-4) {
			return nil, false, errRuns
		}
		h := hybrid{width: 1, b: body[4 : 4+binary.LittleEndian.Uint32(body)]}
		out, err = boolBytes(&h, n)
	case encoding == encPlain:
		return body, true, nil
	case encoding == encDelta && t == apq.Types.Int32:
		out, _, err = deltaInts[int32](body, n)
	case encoding == encDelta && t == apq.Types.Int64:
		out, _, err = deltaInts[int64](body, n)
	case encoding == encDeltaLength && text:
		out, err = deltaLengths(body, n)
	case encoding == encDeltaBytes && (text || t == apq.Types.FixedLenByteArray):
		out, err = deltaBytes(body, n, text, typeLength)
	case encoding == encSplit && size > 0:
		out, err = joinStreams(body, n, size)
	default:
		err = fmt.Errorf("encoding %d of %s is not supported", encoding, t)
	}
	return out, false, err
}

// boolBytes makes a byte of each boolean.
func boolBytes(h *hybrid, n int) ([]byte, error) {
	out := getBuffer(n)
	var part [256]uint32
	for at := 0; at < n; {
		k := min(n-at, len(part))
		if err := h.read(part[:k]); err != nil {
			return nil, err
		}
		for i, v := range part[:k] {
			out[at+i] = byte(v & 1)
		}
		at += k
	}
	return out, nil
}

// joinStreams undoes BYTE_STREAM_SPLIT: first all first bytes, then all second ones.
func joinStreams(body []byte, n, size int) ([]byte, error) {
	if len(body) < n*size {
		return nil, errShort
	}
	out := getBuffer(n*size + copyPad)[:n*size]
	for k := range size {
		stream := body[k*n : (k+1)*n]
		for i, c := range stream {
			out[i*size+k] = c
		}
	}
	return out, nil
}

// deltaHead is the header of DELTA_BINARY_PACKED.
type deltaHead struct {
	block, minis, total int
	first               int64
}

func readDeltaHead(b []byte) (h deltaHead, rest []byte, err error) {
	w := thriftWalk{b: b}
	for _, into := range []*int{&h.block, &h.minis, &h.total} {
		v, err := w.varint()
		if err != nil || v > maxPageValues {
			return h, nil, errDelta
		}
		*into = int(v)
	}
	if h.first, err = w.signed(); err != nil {
		return h, nil, errDelta
	}
	if h.block == 0 || h.minis == 0 || h.block%h.minis != 0 || h.block/h.minis%8 != 0 || h.minis > h.block {
		return h, nil, errDelta
	}
	return h, w.b, nil
}

// deltaInts decodes n values of DELTA_BINARY_PACKED and returns what lies behind them.
func deltaInts[T int32 | int64](b []byte, n int) (out, rest []byte, err error) {
	h, b, err := readDeltaHead(b)
	if err != nil {
		return nil, nil, err
	}
	if h.total < n {
		return nil, nil, errShort
	}
	if h.total > n {
		return nil, nil, fmt.Errorf("%w: %d values for %d", errDelta, h.total, n)
	}
	size := sizeOf[T]()
	out = getBuffer(n*size + copyPad)[:n*size]
	vals := castTo[T](out, n)
	if n == 0 {
		return out, b, nil
	}
	vals[0] = T(h.first)
	last, per := T(h.first), h.block/h.minis
	for at := 1; at < n; {
		w := thriftWalk{b: b}
		low, err := w.signed()
		if err != nil || len(w.b) < h.minis {
			return nil, nil, errDelta
		}
		widths := w.b[:h.minis]
		b = w.b[h.minis:]
		for m := 0; m < h.minis && at < n; m++ {
			width := int(widths[m])
			// The last block may be cut off behind the values that are there.
			need, k := per*width/8, min(per, n-at)
			if width > 64 || (k*width+7)/8 > len(b) {
				return nil, nil, errDelta
			}
			part := b[:min(need, len(b))]
			b = b[len(part):]
			last = addDeltas(vals[at:at+k], part, width, T(low), last)
			at += k
		}
	}
	return out, b, nil
}

func addDeltas[T int32 | int64](dst []T, src []byte, width int, low, last T) T {
	mask := uint64(1)<<width - 1
	if width == 64 {
		mask = ^uint64(0)
	}
	for i, bit := 0, 0; i < len(dst); i, bit = i+1, bit+width {
		p, sh := bit>>3, bit&7
		var v uint64
		if p+9 <= len(src) {
			v = binary.LittleEndian.Uint64(src[p:])>>sh | uint64(src[p+8])<<1<<(63-sh)
		} else if width > 0 {
			var tail [9]byte
			copy(tail[:], src[p:])
			v = binary.LittleEndian.Uint64(tail[:])>>sh | uint64(tail[8])<<1<<(63-sh)
		}
		last += low + T(v&mask)
		dst[i] = last
	}
	return last
}

// deltaLengths decodes DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes.
func deltaLengths(body []byte, n int) ([]byte, error) {
	raw, data, err := deltaInts[int32](body, n)
	if err != nil {
		return nil, err
	}
	defer putBuffer(raw)
	lens := castTo[int32](raw, n)
	total := 0
	for _, l := range lens {
		if l < 0 || total > len(data)-int(l) {
			return nil, errShort
		}
		total += int(l)
	}
	out := getBuffer(4*n + total + copyPad)[:0]
	for _, l := range lens {
		out = binary.LittleEndian.AppendUint32(out, uint32(l))
		out = append(out, data[:l]...)
		data = data[l:]
	}
	return out, nil
}

// deltaBytes decodes DELTA_BYTE_ARRAY: what a value shares with the one before
// it, and what it has of its own.
func deltaBytes(body []byte, n int, text bool, typeLength int) ([]byte, error) {
	rawShared, rest, err := deltaInts[int32](body, n)
	if err != nil {
		return nil, err
	}
	defer putBuffer(rawShared)
	rawOwn, data, err := deltaInts[int32](rest, n)
	if err != nil {
		return nil, err
	}
	defer putBuffer(rawOwn)
	shared, own := castTo[int32](rawShared, n), castTo[int32](rawOwn, n)
	total, last := 0, 0
	for i, s := range shared {
		if s < 0 || own[i] < 0 || int(s) > last || int(own[i]) > maxExpanded {
			return nil, errDelta
		}
		last = int(s) + int(own[i])
		if total += last; total > maxExpanded || !text && last != typeLength {
			return nil, fmt.Errorf("%w: a page of %d bytes has more than %d of text, or a value of %d bytes", errDelta, len(body), maxExpanded, last)
		}
	}
	out := getBuffer(4*n + total + copyPad)[:0]
	var prev []byte
	for i, s := range shared {
		if int(own[i]) > len(data) {
			return nil, errShort
		}
		if text {
			out = binary.LittleEndian.AppendUint32(out, uint32(s+own[i]))
		}
		at := len(out)
		out = append(append(out, prev[:s]...), data[:own[i]]...)
		prev, data = out[at:], data[own[i]:]
	}
	return out, nil
}
