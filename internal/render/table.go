package render

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/text/width"
)

// Table collects cells and prints them with aligned columns and a frame.
// Numbers stand to the right. Line breaks and other control characters in a cell
// are printed as escapes: a value can neither break the frame nor steer the terminal.
type Table struct {
	right  []bool
	widths []int
	limit  int // widest cell, 0 for no limit
	cells  []cell
	buf    []byte // of all cells
}

type cell struct{ from, to, width int }

// NewTable starts a table with the columns of fields. A cell wider than limit is
// cut and ends in "..."; 0 cuts nothing.
func NewTable(fields []arrow.Field, limit int) *Table {
	t := &Table{right: make([]bool, len(fields)), widths: make([]int, len(fields)), limit: limit}
	for i, f := range fields {
		t.right[i] = numeric(f.Type)
		t.Add([]byte(f.Name))
	}
	return t
}

func numeric(t arrow.DataType) bool {
	if d, ok := t.(*arrow.DictionaryType); ok {
		t = d.ValueType
	}
	return arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID()) || arrow.IsDecimal(t.ID())
}

// Add sets the next cell, row by row.
func (t *Table) Add(value []byte) {
	c := cell{from: len(t.buf)}
	t.buf, c.width = appendVisible(t.buf, value)
	if t.limit > 0 && c.width > t.limit {
		t.buf, c.width = cut(t.buf, c.from, t.limit)
	}
	c.to = len(t.buf)
	column := len(t.cells) % max(len(t.widths), 1)
	t.cells = append(t.cells, c)
	t.widths[column] = max(t.widths[column], c.width)
}

// WriteTo prints the table.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	if len(t.widths) == 0 {
		return 0, nil
	}
	var out []byte
	var line []byte
	for _, n := range t.widths {
		line = append(append(line, '+'), strings.Repeat("-", n+2)...)
	}
	line = append(line, '+', '\n')
	out = append(out, line...)
	for at := 0; at < len(t.cells); at += len(t.widths) {
		for i, c := range t.cells[at:min(at+len(t.widths), len(t.cells))] {
			pad := strings.Repeat(" ", t.widths[i]-c.width)
			out = append(out, '|', ' ')
			if t.right[i] {
				out = append(append(out, pad...), t.buf[c.from:c.to]...)
			} else {
				out = append(append(out, t.buf[c.from:c.to]...), pad...)
			}
			out = append(out, ' ')
		}
		out = append(out, '|', '\n')
		if at == 0 {
			out = append(out, line...)
		}
	}
	n, err := w.Write(append(out, line...))
	return int64(n), err
}

// appendVisible appends a value with its control characters escaped and bytes
// that are no UTF-8 replaced, and returns how many places it takes in a terminal.
func appendVisible(dst, value []byte) ([]byte, int) {
	places := 0
	for len(value) > 0 {
		r, size := utf8.DecodeRune(value)
		value = value[size:]
		start := len(dst)
		switch {
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			dst = fmt.Appendf(dst, "\\u%04X", r)
		default:
			dst = utf8.AppendRune(dst, r)
			places += runeWidth(r)
			continue
		}
		places += len(dst) - start
	}
	return dst, places
}

// runeWidth is the number of places that a character takes in a terminal.
func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// cut shortens buf[from:] to limit places, the last three of them dots where
// there is room for more.
func cut(buf []byte, from, limit int) ([]byte, int) {
	keep := limit
	if limit > 3 {
		keep = limit - 3
	}
	places, at := 0, from
	for at < len(buf) {
		r, size := utf8.DecodeRune(buf[at:])
		if w := runeWidth(r); places+w > keep {
			break
		} else {
			places += w
		}
		at += size
	}
	buf = buf[:at]
	if limit > 3 {
		buf, places = append(buf, "..."...), places+3
	}
	return buf, places
}

// TableOptions says how much of a result is printed.
type TableOptions struct {
	Rows  int // at most so many, 0 for all
	Width int // widest cell, 0 for no limit
}

// WriteTable prints record batches of one schema as a table, and how many rows
// were left out if any were.
func (f *Formatter) WriteTable(w io.Writer, schema *arrow.Schema, recs []arrow.RecordBatch, o TableOptions) error {
	t := NewTable(schema.Fields(), o.Width)
	var scratch []byte
	var shown, total int64
	for _, rec := range recs {
		total += rec.NumRows()
		for row := range int(rec.NumRows()) {
			if o.Rows > 0 && shown == int64(o.Rows) {
				break
			}
			shown++
			for _, c := range rec.Columns() {
				scratch = f.AppendText(scratch[:0], c, row)
				t.Add(scratch)
			}
		}
	}
	var out bytes.Buffer
	if _, err := t.WriteTo(&out); err != nil {
		return err
	}
	if shown < total {
		fmt.Fprintf(&out, "only showing top %d of %d rows\n", shown, total)
	}
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("print a table of %d rows: %w", shown, err)
	}
	return nil
}
