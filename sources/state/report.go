package state

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/physical"
)

// Report says how large the state of a checkpoint is, where it lies, and how it grows.
type Report struct {
	Dir       string           `json:"dir"`
	Query     string           `json:"query"`
	Savepoint string           `json:"savepoint,omitempty"`
	Batch     batch.ID         `json:"batch"`
	Operators []OperatorReport `json:"operators"`
}

// OperatorReport is the part of one operator.
type OperatorReport struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"`
	Computes  string     `json:"computes,omitempty"`
	Columns   []string   `json:"columns,omitempty"`
	Rows      int64      `json:"rows"`
	Bytes     int64      `json:"bytes"` // of keys and values
	FileBytes int64      `json:"file_bytes"`
	Shards    int        `json:"shards"`
	Growth    []Growth   `json:"growth"`           // a checkpoint each, the newest last
	Groups    []GroupUse `json:"groups,omitempty"` // all key groups that have rows; with rows read
	Largest   []KeyUse   `json:"largest,omitempty"`
	Hottest   []KeyUse   `json:"hottest,omitempty"`
}

// Growth is the size of an operator's state at a checkpoint.
type Growth struct {
	Batch batch.ID `json:"batch"`
	Rows  int64    `json:"rows"`
	Bytes int64    `json:"bytes"`
	// RowsPerBatch is how many rows came to it in a batch since the checkpoint before.
	RowsPerBatch float64 `json:"rows_per_batch"`
}

// GroupUse is what one key group holds.
type GroupUse struct {
	Group int   `json:"group"`
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`
}

// KeyUse is what one key holds.
type KeyUse struct {
	Key     string `json:"key"`
	Group   int    `json:"group"`
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`
	Changes int    `json:"changes,omitempty"` // rows of it that differ between the two newest checkpoints
}

// ReportOptions say what a report looks at.
type ReportOptions struct {
	Savepoint string
	Operator  string // all if empty
	// Top is how many keys are named; 0 reads no row at all: sizes come from manifests.
	Top int
}

// Describe makes a report. Rows are read as they lie; memory does not grow with them.
func Describe(ctx context.Context, fs vfsx.FS, dir string, o ReportOptions) (*Report, error) {
	r, err := Find(fs, dir, o.Savepoint, batch.None)
	if err != nil {
		return nil, err
	}
	rep := &Report{Dir: dir, Query: r.Meta.Name, Savepoint: o.Savepoint, Batch: r.Check.Batch, Operators: []OperatorReport{}}
	names, err := r.Operators()
	if err != nil {
		return nil, err
	}
	older, err := olderRoots(fs, dir, r)
	if err != nil {
		return nil, err
	}
	if o.Operator != "" {
		if _, err := r.Of(o.Operator); err != nil {
			return nil, err
		}
		names = []string{o.Operator}
	}
	for _, name := range names {
		op, err := describeOperator(ctx, fs, r, older, name, o.Top)
		if err != nil {
			return nil, err
		}
		rep.Operators = append(rep.Operators, *op)
	}
	return rep, nil
}

// olderRoots are the checkpoints before a root, the oldest first.
func olderRoots(fs vfsx.FS, dir string, r *Root) ([]*Root, error) {
	_, recs, err := filelog.Records(fs, dir)
	if r.Savepoint != "" && errors.Is(err, filelog.ErrClaimed) {
		return nil, nil // a savepoint stands for itself
	}
	if err != nil {
		return nil, err
	}
	var out []*Root
	for _, c := range ReadHistory(recs).Checks {
		if c.Batch < r.Check.Batch {
			out = append(out, &Root{Dir: dir, Check: c})
		}
	}
	return out, nil
}

func describeOperator(ctx context.Context, fs vfsx.FS, r *Root, older []*Root, name string, top int) (*OperatorReport, error) {
	info, _ := r.Info.Operator(name)
	op := &OperatorReport{Name: name, Kind: info.Kind, Computes: info.Text, Columns: info.Columns}
	ms, err := r.Of(name)
	if err != nil {
		return nil, err
	}
	op.Shards = len(ms)
	files := map[string]bool{}
	for _, m := range ms {
		op.Rows, op.Bytes = op.Rows+m.State.Rows, op.Bytes+m.State.Bytes
		for _, p := range m.Parts {
			if !files[p.Name] {
				files[p.Name] = true
				op.FileBytes += p.Bytes
			}
		}
	}
	var last *Root
	for _, root := range append(slices.Clone(older), r) {
		list, err := root.Of(name)
		if err != nil {
			continue // the operator came with a later plan
		}
		g := Growth{Batch: root.Check.Batch}
		for _, m := range list {
			g.Rows, g.Bytes = g.Rows+m.State.Rows, g.Bytes+m.State.Bytes
		}
		if n := len(op.Growth); n > 0 && g.Batch > op.Growth[n-1].Batch {
			g.RowsPerBatch = float64(g.Rows-op.Growth[n-1].Rows) / float64(g.Batch-op.Growth[n-1].Batch)
		}
		op.Growth = append(op.Growth, g)
		if root != r {
			last = root
		}
	}
	if top == 0 {
		return op, nil
	}
	form, err := info.Form()
	if err != nil {
		return nil, err
	}
	u := &usage{form: form, top: top}
	for row, err := range versionRows(ctx, fs, r.StateDir(fs), ms, 0, batch.KeyGroups) {
		if err != nil {
			return nil, err
		}
		u.add(row)
	}
	if op.Groups, op.Largest, err = u.result(); err != nil {
		return nil, err
	}
	if last != nil {
		op.Hottest, err = hottest(ctx, fs, r, last, form, name, top)
	}
	return op, err
}

// usage sums rows up by key, which lie together.
type usage struct {
	form   physical.StateForm
	top    int
	groups [batch.KeyGroups]GroupUse
	key    []byte // of now
	now    KeyUse
	best   []KeyUse
	keys   [][]byte // of best
	byHeat bool
}

// prefix is what the rows of a key share.
func (u *usage) prefix(key []byte) []byte {
	if u.form.Kind == physical.RowState && len(key) > rowTail {
		return key[:len(key)-rowTail]
	}
	return key
}

func (u *usage) add(row kv) {
	g := &u.groups[row.key[0]]
	size := int64(len(row.key) + len(row.value))
	g.Group, g.Rows, g.Bytes = int(row.key[0]), g.Rows+1, g.Bytes+size
	if p := u.prefix(row.key); !bytes.Equal(p, u.key) {
		u.close()
		u.key = append(u.key[:0], p...)
		u.now = KeyUse{Group: int(row.key[0])}
	}
	u.now.Rows, u.now.Bytes, u.now.Changes = u.now.Rows+1, u.now.Bytes+size, u.now.Changes+1
}

// close takes the key that was summed up among the best.
func (u *usage) close() {
	if u.now.Rows == 0 {
		return
	}
	weight := func(k KeyUse) int64 {
		if u.byHeat {
			return int64(k.Changes)
		}
		return k.Bytes
	}
	at := len(u.best)
	for at > 0 && weight(u.best[at-1]) < weight(u.now) {
		at--
	}
	if at < u.top {
		u.best = slices.Insert(u.best, at, u.now)
		u.keys = slices.Insert(u.keys, at, bytes.Clone(u.key))
		if len(u.best) > u.top {
			u.best, u.keys = u.best[:u.top], u.keys[:u.top]
		}
	}
	u.now = KeyUse{}
}

func (u *usage) result() ([]GroupUse, []KeyUse, error) {
	u.close()
	var groups []GroupUse
	for _, g := range u.groups {
		if g.Rows > 0 {
			groups = append(groups, g)
		}
	}
	for i := range u.best {
		u.best[i].Key = KeyText(u.form, u.keys[i])
	}
	return groups, u.best, nil
}

// hottest names the keys of which most rows differ between two checkpoints.
func hottest(ctx context.Context, fs vfsx.FS, now, old *Root, form physical.StateForm, name string, top int) ([]KeyUse, error) {
	a, err := old.Of(name)
	if err != nil {
		return nil, err
	}
	b, err := now.Of(name)
	if err != nil {
		return nil, err
	}
	dir := now.StateDir(fs)
	u := &usage{form: form, top: top, byHeat: true}
	for c, err := range compare(versionRows(ctx, fs, dir, a, 0, batch.KeyGroups), versionRows(ctx, fs, dir, b, 0, batch.KeyGroups)) {
		if err != nil {
			return nil, err
		}
		if c.kind != batch.UpdateBefore.String() {
			u.add(c.row)
		}
	}
	_, keys, err := u.result()
	return keys, err
}

// KeyText prints the key of a row of state, without what tells rows of one key apart.
func KeyText(form physical.StateForm, key []byte) string {
	if !Typed(form) || len(key) == 0 {
		return hex.EncodeToString(key)
	}
	d, err := NewDecoder(physical.StateForm{Operator: form.Operator, Kind: physical.GroupState, Keys: form.Keys}, false, memory.DefaultAllocator)
	if err != nil {
		return hex.EncodeToString(key)
	}
	defer d.Release()
	fields := d.b.Fields()
	if err := d.keys.Decode(key[1:], fields[1:]); err != nil {
		return hex.EncodeToString(key)
	}
	var out []string
	for _, f := range fields[1:] {
		a := f.NewArray()
		out = append(out, a.ValueStr(0))
		a.Release()
	}
	if len(out) == 0 {
		return "()"
	}
	return fmt.Sprintf("(%s)", strings.Join(out, ", "))
}
