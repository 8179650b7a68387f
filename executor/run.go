package executor

import (
	"bytes"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/exchange"
)

// run is a sorted run on disk, read batch by batch. Its last column holds the
// bytes that its rows are ordered by.
type run struct {
	file   *exchange.File
	frames []exchange.Frame
	rec    arrow.RecordBatch // nil after the last one
	keys   *array.Binary
	at     int
	part   int // of the merge's output at hand
	number int
	level  int    // how many times its rows have been merged
	prefix uint64 // of the key at hand
	cur    []byte // the key at hand
}

// writeRun writes the batches that next gives, up to io.EOF, as run number i of the task.
func writeRun(tc *TaskContext, i int, next func() (arrow.RecordBatch, error)) (*run, error) {
	f, err := exchange.CreateFile(tc.Spill, fmt.Sprintf("sort-%d-*", i))
	if err != nil {
		return nil, err
	}
	r := &run{file: f, number: i}
	for {
		rec, err := next()
		if err == io.EOF {
			f.Written()
			return r, nil
		}
		if err != nil {
			r.close()
			return nil, err
		}
		frame, err := f.Append(rec, tc.Alloc)
		rec.Release()
		if err != nil {
			r.close()
			return nil, err
		}
		r.frames = append(r.frames, frame)
	}
}

// look notes the key at hand.
func (r *run) look() {
	r.cur = r.keys.Value(r.at)
	r.prefix = prefixOf(r.cur)
}

// before orders runs by their next row, then by age.
func (r *run) before(o *run) bool {
	if r.prefix != o.prefix {
		return r.prefix < o.prefix
	}
	if c := bytes.Compare(r.cur, o.cur); c != 0 {
		return c < 0
	}
	return r.number < o.number
}

// advance reads the next batch.
func (r *run) advance(tc *TaskContext) error {
	r.drop()
	if len(r.frames) == 0 {
		return nil
	}
	rec, err := r.file.Read(r.frames[0], tc.Alloc)
	if err != nil {
		return fmt.Errorf("read a sorted run: %w", err)
	}
	r.frames = r.frames[1:]
	keys, ok := rec.Column(int(rec.NumCols()) - 1).(*array.Binary)
	if !ok {
		rec.Release()
		return fmt.Errorf("read a sorted run: its keys are %s", rec.Schema())
	}
	r.rec, r.keys, r.at = rec, keys, 0
	r.look()
	return nil
}

func (r *run) drop() {
	if r.rec != nil {
		r.rec.Release()
		r.rec = nil
	}
}

func (r *run) close() {
	r.drop()
	r.file.Remove()
}
