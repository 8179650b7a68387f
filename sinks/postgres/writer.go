package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/stage"
)

// waiting holds the text of prepared attempts until their batch's commit.
type waiting struct {
	bytesMax int64
	sync.Mutex
	seq   uint64
	bytes int64 // in memory
	by    map[string]*prepared
}

// prepared is the text of an attempt's rows: what is in the file comes first.
type prepared struct {
	id       batch.ID
	rows     int64 // without those that are not written
	deletes  int64
	buf      []byte
	reserved int64
	file     *os.File
	fileSize int64
}

// reserve reports whether n more bytes may stay in memory.
func (w *waiting) reserve(n int64) bool {
	w.Lock()
	defer w.Unlock()
	if w.bytes+n > w.bytesMax {
		return false
	}
	w.bytes += n
	return true
}

func (w *waiting) put(p *prepared) string {
	w.Lock()
	defer w.Unlock()
	w.seq++
	key := fmt.Sprintf("p%d", w.seq)
	w.by[key] = p
	return key
}

// drop forgets the attempts for which gone holds.
func (w *waiting) drop(gone func(key string, p *prepared) bool) error {
	w.Lock()
	defer w.Unlock()
	var errs []error
	for key, p := range w.by {
		if gone(key, p) {
			errs = append(errs, w.closeLocked(p))
			delete(w.by, key)
		}
	}
	return errors.Join(errs...)
}

// closeLocked gives back what an attempt holds.
func (w *waiting) closeLocked(p *prepared) error {
	w.bytes -= p.reserved
	p.buf, p.reserved = nil, 0
	if p.file == nil {
		return nil
	}
	err := p.file.Close() // it has no name: this is its end
	p.file = nil
	return err
}

// gather returns the attempts of a batch, in the order of its tasks.
func (w *waiting) gather(parts []batch.Prepared) ([]*prepared, error) {
	w.Lock()
	defer w.Unlock()
	var out []*prepared
	for _, part := range parts {
		if len(part.Payload) == 0 {
			continue
		}
		p, ok := w.by[string(part.Payload)]
		if !ok {
			return nil, fmt.Errorf("the rows of partition %d were kept by a process that has ended", part.Partition)
		}
		out = append(out, p)
	}
	return out, nil
}

// text reads the rows, as often as it is asked for.
func (p *prepared) text() io.Reader {
	if p.file == nil {
		return bytes.NewReader(p.buf)
	}
	return io.MultiReader(io.NewSectionReader(p.file, 0, p.fileSize), bytes.NewReader(p.buf))
}

type factory struct {
	t *target
	w *waiting
}

var _ sinks.WriterFactory = (*factory)(nil)

func (f *factory) NewWriter(_ context.Context, a sinks.Attempt, _ *arrow.Schema, _ memory.Allocator) (sinks.Writer, error) {
	return &writer{f: f, a: a, prepared: &prepared{id: a.Task.Batch}}, nil
}

// writer turns the rows of one attempt into text.
type writer struct {
	f        *factory
	a        sinks.Attempt
	prepared *prepared
	all      int64  // rows that were written to it
	key      string // once prepared
}

var _ sinks.Writer = (*writer)(nil)

func (w *writer) Write(ctx context.Context, rec arrow.RecordBatch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := w.f.t
	ops, n := stage.Ops(rec)
	if n != t.spec.Schema.NumFields() {
		return fmt.Errorf("write table %q: %d columns, it has %d", t.spec.Table, n, t.spec.Schema.NumFields())
	}
	fs, err := t.rowFields(rec.Columns()[:n])
	if err != nil {
		return err
	}
	p, upserts := w.prepared, t.upserts()
	for row := range int(rec.NumRows()) {
		op := stage.OpAt(ops, row)
		if op == sinks.UpdateBefore {
			continue // the row after it takes its place
		}
		if op == sinks.Delete {
			if t.replaces() {
				continue
			}
			if !upserts {
				return t.userError("a row is taken back, and the table has no key by which it could be found: declare PRIMARY KEY (..) NOT ENFORCED")
			}
			p.deletes++
		}
		for i, f := range fs {
			if i > 0 {
				p.buf = append(p.buf, '\t')
			}
			if p.buf, err = f(p.buf, row); err != nil {
				return err
			}
		}
		if upserts {
			p.buf = append(p.buf, deletedText[op == sinks.Delete]...)
		}
		p.buf = append(p.buf, '\n')
		p.rows++
	}
	w.all += rec.NumRows()
	return w.room()
}

var deletedText = map[bool]string{false: "\tf", true: "\tt"}

// room moves the text to a file when too much of it is in memory.
func (w *writer) room() (err error) {
	p := w.prepared
	if grown := int64(cap(p.buf)) - p.reserved; grown <= 0 {
		return nil
	} else if w.f.w.reserve(grown) {
		p.reserved += grown
		return nil
	}
	if p.file == nil {
		if p.file, err = os.CreateTemp("", "sluice-rows-*"); err == nil {
			err = os.Remove(p.file.Name()) // it lives as long as it is open
		}
		if err != nil {
			return fmt.Errorf("table %q: make a temporary file for rows that wait: %w", w.f.t.spec.Table, err)
		}
	}
	n, err := p.file.WriteAt(p.buf, p.fileSize)
	if err != nil {
		return fmt.Errorf("table %q: write rows that wait to a temporary file: %w", w.f.t.spec.Table, err)
	}
	p.fileSize += int64(n)
	w.f.w.reserve(-p.reserved)
	p.buf, p.reserved = nil, 0
	return nil
}

func (w *writer) Prepare(context.Context) (batch.Prepared, error) {
	p := batch.Prepared{Sink: w.f.t.spec.Name, Partition: w.a.Task.Partition, Rows: w.all}
	if w.prepared.rows == 0 {
		return p, nil
	}
	w.key = w.f.w.put(w.prepared)
	p.Payload = []byte(w.key)
	return p, nil
}

func (w *writer) Discard() error {
	if key := w.key; key != "" {
		return w.f.w.drop(func(k string, _ *prepared) bool { return k == key })
	}
	w.f.w.Lock()
	defer w.f.w.Unlock()
	return w.f.w.closeLocked(w.prepared)
}
