package csv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/internal/options"
)

// reader fills builders record by record.
type reader struct {
	f       formats.File
	from    int64
	in      io.Closer
	rows    records
	width   int   // fields that a record has to have
	short   bool  // the first record says how many of the declared columns the file has
	columns []int // position in the record of each wanted column
	add     []text.Appender
	names   []string
	types   []arrow.DataType
	op      int // which of the wanted columns is the kind of change, which is never NULL; -1 for none
	b       *array.RecordBuilder
	maxRows int
	done    bool
	failed  error

	alloc      memory.Allocator
	quarantine bool
	aside      *formats.Aside // nil: nobody takes bad rows
}

var _ formats.Quarantiner = (*reader)(nil)

// SetAside implements formats.Quarantiner.
func (r *reader) SetAside(to formats.SetAside) {
	if r.quarantine {
		r.aside = formats.NewAside(r.f, r.from, to)
	}
}

const window = 256 << 10

func open(f formats.File, from, to int64, c config) (*records, io.Closer, error) {
	in, err := formats.Decompress(f, from, to)
	if err != nil {
		return nil, nil, err
	}
	r := &records{c: c, w: formats.NewWindow(in, window), next: 1}
	if from == 0 {
		if err := r.skipBOM(f); err != nil {
			return nil, nil, errors.Join(err, in.Close())
		}
	}
	return r, in, nil
}

// skipBOM passes over the mark of UTF-8 and refuses those of other encodings.
func (r *records) skipBOM(f formats.File) error {
	w := r.w
	for len(w.Bytes()) < 3 && !w.EOF() {
		if err := w.Fill(); err != nil {
			return err
		}
	}
	if strings.HasPrefix(string(w.Bytes()[:min(3, len(w.Bytes()))]), "\ufeff") {
		w.Advance(3)
		r.at = 3
		return nil
	}
	if b := w.Bytes(); len(b) >= 2 && (b[0] == 0xff && b[1] == 0xfe || b[0] == 0xfe && b[1] == 0xff) {
		return batch.UserErrorf("file %q is written in UTF-16: convert it to UTF-8", f.Name)
	}
	return nil
}

// header reads the first record as names.
func header(r *records) ([]string, error) {
	for {
		ok, err := r.step()
		if !ok || err != nil {
			return nil, err
		}
		if r.blank() || r.comment() {
			continue
		}
		names := make([]string, len(r.fields))
		for i, f := range r.fields {
			names[i] = string(r.value(f))
		}
		return names, nil
	}
}

func newReader(_ context.Context, f formats.File, p formats.Piece, s formats.ReadSpec) (formats.Reader, error) {
	c, err := configFor(f, s.Config)
	if err != nil {
		return nil, err
	}
	if p.From < 0 || p.To > f.Size || p.From > p.To {
		return nil, batch.UserErrorf("read file %q: it has %d bytes and not [%d, %d): was it replaced?", f.Name, f.Size, p.From, p.To)
	}
	rows, in, err := open(f, p.From, p.To, c)
	if err != nil {
		return nil, err
	}
	r := &reader{f: f, from: p.From, in: in, rows: *rows, maxRows: s.MaxRows, quarantine: formats.Quarantines(s.Config)}
	if err := r.start(s, c); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *reader) start(s formats.ReadSpec, c config) error {
	names, err := r.fieldNames(s, c)
	if err != nil {
		return err
	}
	r.width = len(names)
	r.short = !c.header && s.Inferred
	alloc := s.Alloc
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	if r.maxRows <= 0 {
		r.maxRows = formats.BatchRows
	}
	if names == nil && c.header {
		r.done = true // an empty file has no rows, whatever its columns
	}
	r.alloc = alloc
	r.b, r.op = array.NewRecordBuilder(alloc, s.Schema), -1
	exact, folded := map[string]int{}, map[string]int{}
	for i := len(names) - 1; i >= 0; i-- { // the first of several counts
		exact[names[i]], folded[strings.ToLower(names[i])] = i, i
	}
	for i, want := range s.Schema.Fields() {
		at, ok := exact[want.Name]
		if !ok {
			at, ok = folded[strings.ToLower(want.Name)]
		}
		if !ok {
			at = missing
		}
		if !ok && !r.done && !s.NullMissing(optMissing) {
			return batch.UserErrorf("file %q has no column %q%s; its header is %s (without one, set 'csv.header' = 'false')", r.f.Name, want.Name, suggest(want.Name, names), shown(names))
		}
		add, err := text.NewAppender(r.b.Field(i), c.times, false)
		if err != nil {
			return batch.UserErrorf("column %q in CSV: %w", want.Name, err)
		}
		if b, is := r.b.Field(i).(*array.Int8Builder); is && formats.IsOp(want) {
			add, r.op = formats.OpAppender(b), i
		}
		r.columns, r.add = append(r.columns, at), append(r.add, add)
		r.names, r.types = append(r.names, want.Name), append(r.types, want.Type)
	}
	return nil
}

// missing is the place of a column that the file does not have.
const missing = 1 << 30

// maxShown bounds the columns that an error lists, and looks at for a similar name.
const maxShown = 100

func shown(names []string) string {
	if len(names) > maxShown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxShown], ", "), len(names)-maxShown)
	}
	return strings.Join(names, ", ")
}

func suggest(name string, names []string) string {
	return options.Suggest(name, names[:min(len(names), maxShown)])
}

// fieldNames returns the names of the fields of a record, from the header or
// the declared columns.
func (r *reader) fieldNames(s formats.ReadSpec, c config) ([]string, error) {
	if !c.header {
		declared := s.File
		if declared == nil {
			declared = s.Schema
		}
		names := make([]string, declared.NumFields())
		for i, f := range declared.Fields() {
			names[i] = f.Name
		}
		return names, nil
	}
	if r.from == 0 {
		names, err := header(&r.rows)
		if err != nil {
			return nil, r.fail("", err)
		}
		return names, nil
	}
	head, in, err := open(r.f, 0, r.from, c)
	if err != nil {
		return nil, err
	}
	names, err := header(head)
	return names, errors.Join(err, in.Close())
}

// fail names file and line of the record in hand.
func (r *reader) fail(where string, err error) error {
	if k, _ := batch.KindOf(err); k != batch.Internal {
		return err // of the decompressor, which names the file
	}
	line := r.rows.line
	if r.from > 0 {
		line += formats.CountLines(r.f, r.from)
	}
	return formats.TextError(r.f, line, "%s: %v", where, err)
}

// Next returns the next batch.
func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	rows, bytes, bad := 0, 0, 0
	for rows < r.maxRows && bytes < formats.BatchBytes && !r.done {
		if rows&1023 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		ok, err := r.rows.step()
		if err != nil {
			if r.aside != nil && recoverable(err) && r.rows.resync() {
				bytes += r.rows.size
				err = r.setAside("", err)
				if err == nil {
					continue
				}
			}
			r.failed = r.fail("", err)
			return nil, r.failed
		}
		if !ok {
			r.done = true
			break
		}
		bytes += r.rows.size
		if r.rows.comment() || r.width != 1 && r.rows.blank() {
			continue
		}
		kept, dropped, err := r.row(rows)
		if err != nil {
			r.failed = err
			return nil, err
		}
		rows += kept
		bad += dropped
	}
	if rows == bad {
		if r.done {
			return nil, io.EOF
		}
		if rows == 0 {
			return r.Next(ctx) // nothing but bad rows so far
		}
	}
	if len(r.columns) == 0 {
		return array.NewRecordBatch(r.b.Schema(), nil, int64(rows-bad)), nil
	}
	return r.aside.Clean(r.b.NewRecordBatch(), r.alloc)
}

// recoverable reports whether reading can go on behind the line of an error.
func recoverable(err error) bool { return errors.Is(err, errQuote) || errors.Is(err, errAfter) }

// setAside puts the record in hand into the quarantine.
func (r *reader) setAside(where string, err error) error {
	raw := []byte(strings.TrimRight(string(r.rows.w.Bytes()[:r.rows.size]), "\r\n"))
	reason := err.Error()
	if where != "" {
		reason = where + ": " + reason
	}
	return r.aside.Add(raw, r.rows.line, r.rows.at, reason)
}

// row appends the record in hand as row i of the batch. It tells how many rows went
// into the builders, and how many of these are bad and to be taken out again.
func (r *reader) row(i int) (rows, bad int, err error) {
	if err := r.fieldCount(); err != nil {
		if r.aside == nil {
			return 0, 0, r.fail("", err)
		}
		return 0, 0, r.setAside("", err)
	}
	where, err := r.values()
	if err == nil {
		return 1, 0, nil
	}
	if r.aside == nil {
		return 0, 0, r.fail(where, err)
	}
	r.aside.Drop(i)
	return 1, 1, r.setAside(where, err)
}

// fieldCount checks the number of fields.
func (r *reader) fieldCount() error {
	if r.short {
		r.width, r.short = min(r.width, len(r.rows.fields)), false
	}
	if n := len(r.rows.fields); n != r.width && !r.rows.c.badNull && !r.rows.c.pad {
		what := "too many"
		if n < r.width {
			what = "too few"
		}
		return fmt.Errorf("%s fields: %d where %d are expected, in %s", what, n, r.width, text.Quote(r.record()))
	}
	return nil
}

// values appends the columns of the record in hand. Under quarantine all builders
// have got a value, also of a bad row.
func (r *reader) values() (where string, bad error) {
	for i, at := range r.columns {
		if at >= len(r.rows.fields) {
			r.b.Field(i).AppendNull()
			continue
		}
		f := r.rows.fields[at]
		if r.rows.isNull(f) && i != r.op {
			r.b.Field(i).AppendNull()
			continue
		}
		v := r.rows.value(f)
		if err := r.add[i](v); err != nil {
			if r.rows.c.badNull {
				r.b.Field(i).AppendNull()
				continue
			}
			if bad == nil {
				where = fmt.Sprintf(", column %q (field %d)", r.names[i], at+1)
				bad = fmt.Errorf("cannot read %s as %s: %w", text.Quote(v), r.types[i], err)
			}
			if r.aside == nil {
				return where, bad
			}
			r.b.Field(i).AppendNull()
		}
	}
	return where, bad
}

func (r *reader) record() []byte {
	b := r.rows.w.Bytes()[:r.rows.size]
	return []byte(strings.TrimRight(string(b[:min(len(b), 200)]), "\r\n"))
}

// Close releases what was read and not returned.
func (r *reader) Close() error {
	if r.b != nil {
		r.b.Release()
		r.b = nil
	}
	r.done = true
	if r.in == nil {
		return nil
	}
	in := r.in
	r.in = nil
	return in.Close()
}
