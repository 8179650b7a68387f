package executor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
)

// sortEncoder turns sort keys into bytes that compare as the rows are ordered:
// one key form per column, with DESC and the place of NULLs put into the bytes.
type sortEncoder struct {
	keys   []expr.SortKey
	column []*rowkey.Encoder
	part   rowkey.Rows
	rows   rowkey.Rows
	parts  [][]byte
	ends   [][]int
}

func newSortEncoder(keys []expr.SortKey) (*sortEncoder, error) {
	s := &sortEncoder{keys: keys, column: make([]*rowkey.Encoder, len(keys)),
		parts: make([][]byte, len(keys)), ends: make([][]int, len(keys))}
	for i, k := range keys {
		var err error
		if s.column[i], err = rowkey.NewEncoder([]arrow.DataType{k.Expr.Type()}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// encode replaces s.rows with the keys of n rows.
func (s *sortEncoder) encode(cols []arrow.Array, n int) error {
	if len(cols) == 1 {
		if err := s.column[0].Encode(cols, n, &s.rows); err != nil {
			return err
		}
		orient(s.keys[0], &s.rows)
		return nil
	}
	for c := range cols {
		if err := s.column[c].Encode(cols[c:c+1], n, &s.part); err != nil {
			return err
		}
		orient(s.keys[c], &s.part)
		s.parts[c] = append(s.parts[c][:0], s.part.Data...)
		s.ends[c] = append(s.ends[c][:0], s.part.Offsets...)
	}
	s.rows.Reset()
	for i := range n {
		for c := range s.parts {
			s.rows.Data = append(s.rows.Data, s.parts[c][s.ends[c][i]:s.ends[c][i+1]]...)
		}
		s.rows.Offsets = append(s.rows.Offsets, len(s.rows.Data))
	}
	return nil
}

// orient applies DESC and NULLS FIRST | LAST. The first byte of a key form is 0
// for NULL and 1 for a value; NULL becomes 2 where it goes last.
func orient(k expr.SortKey, rows *rowkey.Rows) {
	if !k.Desc && k.NullsFirst {
		return
	}
	for i := range rows.Len() {
		row := rows.Row(i)
		if row[0] == 0 {
			if !k.NullsFirst {
				row[0] = 2
			}
			continue
		}
		if k.Desc {
			for j := 1; j < len(row); j++ {
				row[j] = ^row[j]
			}
		}
	}
}

// bytes is the memory that ordering the encoded rows takes.
func (s *sortEncoder) bytes() int64 { return s.rows.Bytes() + 36*int64(s.rows.Len()) }

// sortEntry is a row and the start of its key.
type sortEntry struct {
	prefix uint64
	row    int32
}

// radixRows is from how many rows on a radix sort is faster than comparing.
const radixRows = 512

// order returns the positions of the rows in their order; equal rows keep theirs.
func (s *sortEncoder) order() []int32 {
	n := s.rows.Len()
	entries := make([]sortEntry, n)
	for i := range entries {
		entries[i] = sortEntry{prefix: prefixOf(s.rows.Row(i)), row: int32(i)}
	}
	return positions(s.sort(entries))
}

// sort orders entries by prefix, then by their whole keys.
func (s *sortEncoder) sort(entries []sortEntry) []sortEntry {
	if len(entries) >= radixRows {
		entries = radixSort(entries)
		s.settle(entries)
		return entries
	}
	slices.SortFunc(entries, func(a, b sortEntry) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return s.compare(a, b)
	})
	return entries
}

func positions(entries []sortEntry) []int32 {
	out := make([]int32, len(entries))
	for i, e := range entries {
		out[i] = e.row
	}
	return out
}

// keyOrder returns the positions of state keys in key order.
func keyOrder(rows *rowkey.Rows) []int32 {
	s := sortEncoder{rows: *rows}
	entries := make([]sortEntry, rows.Len())
	for i := range entries {
		row := rows.Row(i)
		var b [8]byte
		copy(b[:], row)
		entries[i] = sortEntry{prefix: binary.BigEndian.Uint64(b[:]), row: int32(i)}
	}
	return positions(s.sort(entries))
}

// compare orders two entries by their whole keys, then by position.
func (s *sortEncoder) compare(a, b sortEntry) int {
	if c := bytes.Compare(s.rows.Row(int(a.row)), s.rows.Row(int(b.row))); c != 0 {
		return c
	}
	return cmp.Compare(a.row, b.row)
}

// settle orders the stretches of equal prefixes.
func (s *sortEncoder) settle(entries []sortEntry) {
	for first := 0; first < len(entries); {
		end := first + 1
		for end < len(entries) && entries[end].prefix == entries[first].prefix {
			end++
		}
		if end-first > 1 {
			slices.SortFunc(entries[first:end], s.compare)
		}
		first = end
	}
}

// radixSort orders entries by prefix, a byte at a time from the last to the
// first; bytes that are the same in all entries cost one look.
func radixSort(entries []sortEntry) []sortEntry {
	var counts [8][256]int
	for _, e := range entries {
		for b := range counts {
			counts[b][byte(e.prefix>>(8*b))]++
		}
	}
	to := make([]sortEntry, len(entries))
	for b := range counts {
		c := &counts[b]
		if c[byte(entries[0].prefix>>(8*b))] == len(entries) {
			continue
		}
		at := 0
		for v, n := range c {
			c[v] = at
			at += n
		}
		for _, e := range entries {
			v := byte(e.prefix >> (8 * b))
			to[c[v]] = e
			c[v]++
		}
		entries, to = to, entries
	}
	return entries
}

// prefixOf is the first eight bytes as a number. The marker takes two bits only.
func prefixOf(row []byte) uint64 {
	if len(row) >= 9 {
		return uint64(row[0])<<62 | binary.BigEndian.Uint64(row[1:9])>>2
	}
	var b [8]byte
	copy(b[:], row[min(1, len(row)):])
	lead := uint64(0)
	if len(row) > 0 {
		lead = uint64(row[0]) << 62
	}
	return lead | binary.BigEndian.Uint64(b[:])>>2
}
