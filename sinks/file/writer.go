package file

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
)

// maxOpen bounds the files that one task writes at a time; the largest ends
// when a partition more comes up.
const maxOpen = 128

// handle is the payload of a Prepared.
type handle struct {
	Files []manifest.File `json:"files"`
}

type factory struct{ t *target }

// NewWriter starts one attempt's output.
func (f *factory) NewWriter(_ context.Context, a sinks.Attempt, schema *arrow.Schema, alloc memory.Allocator) (sinks.Writer, error) {
	t := f.t
	n := schema.NumFields()
	if n > 0 && schema.Field(n-1).Name == sinks.OpColumn {
		n--
	}
	if n != t.spec.Schema.NumFields() {
		return nil, fmt.Errorf("table %q: output of %d columns for %d", t.spec.Table, n, t.spec.Schema.NumFields())
	}
	var salt [6]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, fmt.Errorf("name the staged files of task %s: %w", a.Task, err)
	}
	return &writer{t: t, a: a, columns: n, alloc: alloc, open: map[string]*staged{}, salt: hex.EncodeToString(salt[:])}, nil
}

// writer stages the files of one task's attempt.
type writer struct {
	t       *target
	a       sinks.Attempt
	columns int // without sinks.OpColumn
	alloc   memory.Allocator
	salt    string // no two attempts share a name
	open    map[string]*staged
	order   []string // partitions in open, in the order of first sight
	done    []*staged
	seq     int
	rows    int64
	made    bool // the staging folder
}

// Write stages rows.
func (w *writer) Write(ctx context.Context, rec arrow.RecordBatch) error {
	if rec.NumRows() == 0 {
		return nil
	}
	if err := w.insertsOnly(rec); err != nil {
		return err
	}
	w.rows += rec.NumRows()
	if len(w.t.partitions) == 0 {
		return w.put("", rec)
	}
	return w.divide(ctx, rec)
}

// insertsOnly refuses retractions: the planner must not let them come here.
func (w *writer) insertsOnly(rec arrow.RecordBatch) error {
	if int(rec.NumCols()) <= w.columns || w.t.spec.Mode == sinks.Changelog {
		return nil
	}
	ops, ok := rec.Column(w.columns).(*array.Int8)
	if !ok {
		return fmt.Errorf("table %q: the change column is %s", w.t.spec.Table, rec.Column(w.columns).DataType())
	}
	for _, op := range ops.Int8Values() {
		if sinks.Op(op) != sinks.Insert {
			return fmt.Errorf("table %q: a file sink in mode %s was given a change %s", w.t.spec.Table, w.t.spec.Mode, sinks.Op(op))
		}
	}
	return nil
}

// divide puts the rows of each partition into its file, in their order.
func (w *writer) divide(ctx context.Context, rec arrow.RecordBatch) error {
	of, err := w.t.directories(rec)
	if err != nil {
		return err
	}
	if of.same(int(rec.NumRows())) {
		return w.put(string(of.append(nil, 0)), rec)
	}
	groups := map[string]int{}
	var dirs []string
	var rows [][]int64
	var tmp []byte
	last := -1
	for i := range int(rec.NumRows()) {
		if of.asBefore(i) {
			rows[last] = append(rows[last], int64(i))
			continue
		}
		tmp = of.append(tmp[:0], i)
		if last < 0 || dirs[last] != string(tmp) {
			g, ok := groups[string(tmp)]
			if !ok {
				g = len(dirs)
				groups[string(tmp)] = g
				dirs, rows = append(dirs, string(tmp)), append(rows, nil)
			}
			last = g
		}
		rows[last] = append(rows[last], int64(i))
	}
	if len(dirs) == 1 {
		return w.put(dirs[0], rec)
	}
	for g, dir := range dirs {
		part, err := w.take(ctx, rec, rows[g])
		if err != nil {
			return fmt.Errorf("take the rows of partition %q: %w", dir, err)
		}
		err = w.put(dir, part)
		part.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// take copies some rows: a slice where they lie together.
func (w *writer) take(ctx context.Context, rec arrow.RecordBatch, rows []int64) (arrow.RecordBatch, error) {
	from, n := rows[0], int64(len(rows))
	if rows[n-1]-from == n-1 {
		return rec.NewSlice(from, from+n), nil
	}
	ib := array.NewInt64Builder(w.alloc)
	defer ib.Release()
	ib.AppendValues(rows, nil)
	idx := ib.NewArray()
	defer idx.Release()
	ctx = compute.WithAllocator(ctx, w.alloc)
	cols := make([]arrow.Array, rec.NumCols())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i := range cols {
		if int(i) >= w.columns || slices.Contains(w.t.fileColumns, i) {
			c, err := compute.TakeArray(ctx, rec.Column(i), idx)
			if err != nil {
				return nil, err
			}
			cols[i] = c
			continue
		}
		// A partition column is not written again: its values are the directory's.
		s := array.NewSlice(rec.Column(i), 0, n)
		cols[i] = s
	}
	return array.NewRecordBatch(rec.Schema(), cols, n), nil
}

// put writes the file columns of rows into the file of their partition.
func (w *writer) put(dir string, rec arrow.RecordBatch) error {
	s := w.open[dir]
	if s == nil {
		if len(w.open) >= maxOpen {
			if err := w.closeLargest(); err != nil {
				return err
			}
		}
		var err error
		if s, err = w.start(dir); err != nil {
			return err
		}
	}
	cols := make([]arrow.Array, len(w.t.fileColumns))
	for i, c := range w.t.fileColumns {
		cols[i] = rec.Column(c)
	}
	cols, done, err := w.withChanges(rec, cols)
	if err != nil {
		return err
	}
	defer done()
	schema := w.t.fileSchema
	if !sameTypes(schema, cols) {
		return fmt.Errorf("table %q: the rows do not have its types: %s", w.t.spec.Table, rec.Schema())
	}
	part := array.NewRecordBatch(schema, cols, rec.NumRows())
	err = s.w.Write(part)
	part.Release()
	if err != nil {
		return outside(fmt.Errorf("write to %q: %w", w.t.fs.PathJoin(w.t.dir, s.final), err))
	}
	s.rows += rec.NumRows()
	if s.w.Size() >= w.t.fileSize {
		return w.end(dir)
	}
	return nil
}

func sameTypes(schema *arrow.Schema, cols []arrow.Array) bool {
	for i, f := range schema.Fields() {
		if !arrow.TypeEqual(f.Type, cols[i].DataType()) {
			return false
		}
	}
	return true
}

func (w *writer) start(dir string) (*staged, error) {
	if !w.made {
		if err := vfsx.MkdirAll(w.t.fs, w.t.sdir, 0o777); err != nil {
			return nil, outside(err)
		}
		w.made = true
	}
	id := w.a.Task
	name := fmt.Sprintf("%012d-%d-%d-%d-%d-%s-%d%s", id.Batch, w.a.Term, id.Stage, id.Partition, id.Attempt, w.salt, w.seq, stagedSuffix)
	final := fmt.Sprintf("part-%08d-%d-%05d-%03d-%s%s", id.Batch, id.Stage, id.Partition, w.seq, w.t.short, w.t.ext)
	if w.t.spec.Mode == sinks.Complete {
		// The same name for each batch: a result of one file is replaced by one rename.
		final = fmt.Sprintf("part-%d-%05d-%03d-%s%s", id.Stage, id.Partition, w.seq, w.t.short, w.t.ext)
	}
	if dir != "" {
		final = dir + "/" + final
	}
	w.seq++
	s, err := w.t.stage(name, final, w.t.fileSchema, w.alloc)
	if err != nil {
		return nil, err
	}
	w.open[dir] = s
	w.order = append(w.order, dir)
	return s, nil
}

func (w *writer) closeLargest() error {
	best := w.order[0]
	for _, dir := range w.order {
		if w.open[dir].w.Size() > w.open[best].w.Size() {
			best = dir
		}
	}
	return w.end(best)
}

// end makes one file durable.
func (w *writer) end(dir string) error {
	s := w.open[dir]
	delete(w.open, dir)
	w.order = slices.DeleteFunc(w.order, func(d string) bool { return d == dir })
	w.done = append(w.done, s)
	return s.finish()
}

// Prepare makes all files durable. In complete mode the handle is never empty:
// no rows is a result too.
func (w *writer) Prepare(context.Context) (batch.Prepared, error) {
	p := batch.Prepared{Sink: w.t.spec.Name, Partition: w.a.Task.Partition, Rows: w.rows}
	for len(w.order) > 0 {
		if err := w.end(w.order[0]); err != nil {
			return p, err
		}
	}
	if len(w.done) == 0 && w.t.spec.Mode != sinks.Complete {
		return p, nil
	}
	if len(w.done) > 0 {
		if err := vfsx.SyncDir(w.t.fs, w.t.sdir); err != nil {
			return p, outside(err)
		}
	}
	h := handle{}
	for _, s := range w.done {
		h.Files = append(h.Files, manifest.File{Name: s.final, Size: s.size, Rows: s.rows, Staged: s.name})
	}
	var err error
	if p.Payload, err = json.Marshal(h); err != nil {
		return p, fmt.Errorf("encode the handle of task %s: %w", w.a.Task, err)
	}
	return p, nil
}

// Discard removes what was staged.
func (w *writer) Discard() error {
	var errs []error
	for _, dir := range w.order {
		errs = append(errs, w.open[dir].discard())
	}
	for _, s := range w.done {
		errs = append(errs, s.discard())
	}
	w.open, w.order, w.done = map[string]*staged{}, nil, nil
	return errors.Join(errs...)
}
