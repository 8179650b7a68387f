package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// The options of the connector, which state(..) and state_changes(..) fill in.
var (
	optCheckpoint = options.Option{Key: "checkpoint", Kind: options.Text, Doc: "Folder of the checkpoint."}
	optOperator   = options.Option{Key: "operator", Kind: options.Text, Doc: "Operator whose state is read, by the name that EXPLAIN shows."}
	optSavepoint  = options.Option{Key: "savepoint", Kind: options.Text, Doc: "Savepoint that is read instead of the newest checkpoint."}
	optBatch      = options.Option{Key: "batch", Kind: options.Int, Default: "-1", Doc: "Batch whose checkpoint is read; -1 is the newest."}
	optFrom       = options.Option{Key: "from", Kind: options.Int, Default: "-1", Doc: "Batch of the checkpoint that changes are told from; -1 reads rows instead."}
	declared      = []options.Option{optCheckpoint, optOperator, optSavepoint, optBatch, optFrom}
)

// recordRows is how many rows come at a time.
const recordRows = 4096

// Connector returns the connector. Paths are on fs.
func Connector(fs vfsx.FS) sources.Connector {
	return sources.Connector{
		Name:    "state",
		Doc:     "State of a query's operator, in a checkpoint or savepoint; see state(..).",
		Options: declared,
		Infer: func(_ context.Context, spec sources.Spec) (*arrow.Schema, error) {
			t, err := open(fs, spec)
			if err != nil {
				return nil, err
			}
			return Columns(t.form, t.from != batch.None), nil
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) { return open(fs, spec) },
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			return &opener{fs: fs, table: spec.Table}, nil
		},
	}
}

// table is the driver's half: one version of an operator's state, or two.
type table struct {
	fs     vfsx.FS
	dir    string
	saved  string
	at     batch.ID
	from   batch.ID // of changes; None: rows
	op     string
	form   physical.StateForm
	info   []byte   // of the operator, for the workers
	keys   [][]byte // that are looked up; nil: all rows are read
	schema *arrow.Schema
}

var (
	_ sources.Source   = (*table)(nil)
	_ sources.Pinner   = (*table)(nil)
	_ sources.Accessor = (*table)(nil)
)

func open(fs vfsx.FS, spec sources.Spec) (*table, error) {
	m := spec.Options
	if err := options.Check(spec.String(), m, declared); err != nil {
		return nil, err
	}
	dir := m.Get(optCheckpoint)
	if fs == vfsx.Default && dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("read checkpoint %s: %w", dir, err)
		}
		dir = abs
	}
	t := &table{fs: fs, dir: dir, saved: m.Get(optSavepoint), at: batch.ID(m.Int(optBatch)), from: batch.ID(m.Int(optFrom)), op: m.Get(optOperator)}
	r, err := Find(fs, dir, t.saved, t.at)
	if err != nil {
		return nil, err
	}
	if _, err := r.Of(t.op); err != nil {
		return nil, err
	}
	info, ok := r.Info.Operator(t.op)
	if !ok {
		info = OperatorInfo{Name: t.op, Kind: "unknown"} // a checkpoint of a program that described none
	}
	if t.form, err = info.Form(); err != nil {
		return nil, err
	}
	t.info, err = json.Marshal(info)
	t.schema = Columns(t.form, t.from != batch.None)
	first := 1 // behind the key group
	if t.from != batch.None {
		first++ // and the kind of change
	}
	t.keys, _ = wantedKeys(t.form, first, spec.Where)
	return t, err
}

// Schema implements sources.Source.
func (t *table) Schema() *arrow.Schema { return t.schema }

// pin names the versions that are read: files with their checksums.
type pin struct {
	Dir  string                `json:"dir"` // of the files
	Info json.RawMessage       `json:"operator"`
	Rows []statestore.Manifest `json:"rows"`
	Old  []statestore.Manifest `json:"old,omitempty"`
	// Changes says that rows are compared with Old.
	Changes bool `json:"changes,omitempty"`
	// Keys are looked up; all rows are read if there are none.
	Keys  [][]byte `json:"keys,omitempty"`
	First int      `json:"first"`
	End   int      `json:"end"`
}

// Pin implements sources.Pinner.
func (t *table) Pin(context.Context) (string, error) {
	p := pin{Info: t.info, Changes: t.from != batch.None}
	r, err := Find(t.fs, t.dir, t.saved, t.at)
	if err != nil {
		return "", err
	}
	p.Dir = r.StateDir(t.fs)
	if p.Rows, err = r.Of(t.op); err != nil {
		return "", err
	}
	if p.Changes {
		old, err := Find(t.fs, t.dir, "", t.from)
		if err != nil {
			return "", err
		}
		if p.Old, err = old.Of(t.op); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(p)
	return string(b), err
}

// Access implements sources.Accessor.
func (t *table) Access() string { return access(t.keys) }

// Latest implements sources.Source; a table that is read whole has no positions.
func (t *table) Latest(_ context.Context, from batch.Offset, _ sources.Limit) (batch.Offset, error) {
	return from, nil
}

// Plan makes a split of each shard that was written.
func (t *table) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	var p pin
	if err := json.Unmarshal([]byte(r.Pin), &p); err != nil {
		return nil, fmt.Errorf("read which state is meant: %w", err)
	}
	var out []batch.Split
	for _, m := range p.Rows {
		one := p
		one.First, one.End = m.Shard.FirstGroup, m.Shard.EndGroup
		one.Rows = []statestore.Manifest{m}
		for _, k := range t.keys {
			if g := int(k[0]); g >= one.First && g < one.End {
				one.Keys = append(one.Keys, k)
			}
		}
		if t.keys != nil && one.Keys == nil {
			continue
		}
		b, err := json.Marshal(one)
		if err != nil {
			return nil, err
		}
		out = append(out, batch.Split{Source: r.Source, Index: len(out), Payload: b, Rows: m.State.Rows, Bytes: m.State.Bytes})
	}
	return out, nil
}

// Release implements sources.Source: nothing is held.
func (t *table) Release(context.Context, batch.Offset) error { return nil }

// Close implements sources.Source.
func (t *table) Close() error { return nil }

type opener struct {
	fs    vfsx.FS
	table string
}

var _ sources.Opener = (*opener)(nil)

// Open implements sources.Opener.
func (o *opener) Open(ctx context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	var p pin
	var info OperatorInfo
	err := json.Unmarshal(s.Payload, &p)
	if err == nil {
		err = json.Unmarshal(p.Info, &info)
	}
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.table, err)
	}
	form, err := info.Form()
	if err != nil {
		return nil, err
	}
	r := &reader{table: o.table, columns: columns}
	if r.dec, err = NewDecoder(form, p.Changes, alloc); err != nil {
		return nil, err
	}
	if r.schema, err = sources.Project(r.dec.Schema(), columns); err != nil {
		r.dec.Release()
		return nil, err
	}
	of := func(ms []statestore.Manifest) iter.Seq2[kv, error] {
		if len(p.Keys) > 0 {
			return lookUp(ctx, o.fs, p.Dir, ms, p.Keys, form.Kind == physical.RowState)
		}
		return versionRows(ctx, o.fs, p.Dir, ms, p.First, p.End)
	}
	rows := asChanges(of(p.Rows))
	if p.Changes {
		rows = compare(of(p.Old), of(p.Rows))
	}
	r.next, r.stop = iter.Pull2(rows)
	return r, nil
}

// change is a row and what became of it.
type change struct {
	kind string
	row  kv
}

func asChanges(rows iter.Seq2[kv, error]) iter.Seq2[change, error] {
	return func(yield func(change, error) bool) {
		for row, err := range rows {
			if !yield(change{row: row}, err) {
				return
			}
		}
	}
}

// compare tells how one version came to be the other, in key order.
func compare(old, now iter.Seq2[kv, error]) iter.Seq2[change, error] {
	return func(yield func(change, error) bool) {
		nextOld, stopOld := iter.Pull2(old)
		defer stopOld()
		a, aerr, more := nextOld()
		for b, err := range now {
			for more && aerr == nil && err == nil && bytes.Compare(a.key, b.key) < 0 {
				if !yield(change{batch.Delete.String(), a}, nil) {
					return
				}
				a, aerr, more = nextOld()
			}
			if err = errors.Join(err, aerr); err != nil {
				yield(change{}, err)
				return
			}
			kind := batch.Insert
			if more && bytes.Equal(a.key, b.key) {
				kind = batch.UpdateAfter
				same := bytes.Equal(a.value, b.value)
				if !same && !yield(change{batch.UpdateBefore.String(), a}, nil) {
					return
				}
				if a, aerr, more = nextOld(); same {
					continue
				}
			}
			if !yield(change{kind.String(), b}, nil) {
				return
			}
		}
		for ; more; a, aerr, more = nextOld() {
			if !yield(change{batch.Delete.String(), a}, aerr) || aerr != nil {
				return
			}
		}
	}
}

type reader struct {
	table   string
	columns []int
	schema  *arrow.Schema
	dec     *Decoder
	next    func() (change, error, bool)
	stop    func()
	ended   bool
}

var _ sources.Reader = (*reader)(nil)

// Next implements sources.Reader.
func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for !r.ended && r.dec.Len() < recordRows {
		c, err, ok := r.next()
		if !ok {
			r.ended = true
			break
		}
		if err == nil {
			err = r.dec.Add(c.kind, c.row.key, c.row.value)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", r.table, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if r.dec.Len() == 0 {
		return nil, io.EOF
	}
	return sources.Pick(r.dec.Take(), r.schema, r.columns), nil
}

// Close implements sources.Reader.
func (r *reader) Close() error {
	if r.stop != nil {
		r.stop()
		r.stop = nil
		r.dec.Release()
	}
	return nil
}
