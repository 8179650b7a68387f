package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/run"
)

// Covering picks the manifests whose key groups overlap the shard's, in order,
// and checks that together they hold each of its groups exactly once.
func Covering(name batch.Shard, id batch.ID, from []statestore.Manifest) ([]statestore.Manifest, error) {
	var use []statestore.Manifest
	for _, m := range from {
		overlap := m.Shard.FirstGroup < name.EndGroup && name.FirstGroup < m.Shard.EndGroup
		if m.Shard.Operator != name.Operator || !overlap {
			continue
		}
		if m.Version != id {
			return nil, fmt.Errorf("%w: a manifest is of version %d", ErrDamaged, m.Version)
		}
		use = append(use, m)
	}
	slices.SortFunc(use, func(a, b statestore.Manifest) int { return a.Shard.FirstGroup - b.Shard.FirstGroup })
	next := name.FirstGroup
	for i, m := range use {
		if m.Shard.FirstGroup > next || (i > 0 && m.Shard.FirstGroup < next) {
			break
		}
		next = m.Shard.EndGroup
	}
	if next < name.EndGroup {
		var have []string
		for _, m := range use {
			have = append(have, fmt.Sprintf("%d to %d", m.Shard.FirstGroup, m.Shard.EndGroup))
		}
		return nil, fmt.Errorf("%w: its key groups %d to %d are not held once each by the manifests (%s)", ErrDamaged,
			name.FirstGroup, name.EndGroup, strings.Join(have, ", "))
	}
	return use, nil
}

// InRuns reports whether a manifest is made of sorted runs, which can be read in
// place. An older one is a snapshot and change files: those have to be read whole.
func InRuns(m statestore.Manifest) bool { return len(m.Groups) > 0 }

// Span is a part of a run: what a file has for a shard.
type Span struct {
	Part       statestore.Part
	Run        int // from 0 on, the oldest first
	First, End int
}

// Spans lists what a manifest of runs has for key groups, run by run, the oldest
// first, and in key order in each.
func Spans(m statestore.Manifest, first, end int) ([]Span, error) {
	var out []Span
	n, last := -1, 0
	for _, p := range m.Parts {
		if p.Run < 1 || p.Run < last {
			return nil, fmt.Errorf("%w: version %d of %s from runs in the wrong order", ErrDamaged, m.Version, m.Shard)
		}
		if p.Run != last {
			n, last = n+1, p.Run
		}
		s := Span{Part: p, Run: n, First: m.Shard.FirstGroup, End: m.Shard.EndGroup}
		if p.First != 0 || p.End != 0 {
			s.First, s.End = max(s.First, p.First), min(s.End, p.End)
		}
		s.First, s.End = max(s.First, first), min(s.End, end)
		if s.First < s.End {
			out = append(out, s)
		}
	}
	return out, nil
}

// Reader reads the rows of one version of a shard, without a store. It is used
// by one goroutine.
type Reader struct {
	files  []*run.File
	stack  run.Stack
	look   *run.Lookup
	legacy [][2][]byte // the rows of an older manifest, in key order
	ctx    context.Context
}

// NewReader opens a version. Runs are read in place, through cache if it is not
// nil; the files of an older manifest are read into memory.
func (d *Dir) NewReader(ctx context.Context, m statestore.Manifest, cache *run.Cache) (*Reader, error) {
	r := &Reader{ctx: ctx}
	if !InRuns(m) {
		rows := map[string][]byte{}
		if _, err := d.readChain(ctx, m, func(key, value []byte, deleted bool) error {
			if deleted {
				delete(rows, string(key))
			} else {
				rows[string(key)] = bytes.Clone(value)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		for k, v := range rows {
			r.legacy = append(r.legacy, [2][]byte{[]byte(k), v})
		}
		slices.SortFunc(r.legacy, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
		return r, nil
	}
	spans, err := Spans(m, m.Shard.FirstGroup, m.Shard.EndGroup)
	if err != nil {
		return nil, err
	}
	for _, s := range spans {
		f, err := d.OpenRun(ctx, s.Part, cache)
		if err == nil && f.Shard.Operator != m.Shard.Operator {
			err = fmt.Errorf("read %s: %w: it holds rows of %s, not of %s", s.Part.Name, ErrDamaged, f.Shard, m.Shard)
			r.files = append(r.files, f)
		}
		if err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.files = append(r.files, f)
		for len(r.stack) <= s.Run {
			r.stack = append(r.stack, nil)
		}
		if slice := (run.Slice{File: f, First: s.First, End: s.End}); !slice.Empty() {
			r.stack[s.Run] = append(r.stack[s.Run], slice)
		}
	}
	r.look = r.stack.Lookup(ctx)
	return r, nil
}

// Get visits the value of each key that exists, in the order of keys.
func (r *Reader) Get(keys [][]byte, visit func(i int, value []byte) error) error {
	for i, k := range keys {
		var value []byte
		ok := false
		if r.look != nil {
			var err error
			if value, ok, err = r.look.Get(k); err != nil {
				return damagedRun(err)
			}
		} else if at, found := r.place(k); found {
			value, ok = r.legacy[at][1], true
		}
		if ok {
			if err := visit(i, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Reader) place(key []byte) (int, bool) {
	return slices.BinarySearchFunc(r.legacy, key, func(row [2][]byte, key []byte) int { return bytes.Compare(row[0], key) })
}

// Scan visits the rows with start <= key < end in key order; a nil end is the end
// of the shard. visit returns false to stop. Key and value are valid inside visit.
func (r *Reader) Scan(start, end []byte, visit func(key, value []byte) (bool, error)) error {
	if r.look == nil {
		at, _ := r.place(start)
		for _, row := range r.legacy[at:] {
			if end != nil && bytes.Compare(row[0], end) >= 0 {
				return nil
			}
			if more, err := visit(row[0], row[1]); err != nil || !more {
				return err
			}
		}
		return nil
	}
	rows := r.stack.Rows()
	err := scanRows(r.ctx, rows, start, end, visit)
	return damagedRun(errors.Join(err, rows.Close()))
}

func scanRows(ctx context.Context, rows *run.Rows, start, end []byte, visit func(key, value []byte) (bool, error)) error {
	n := 0
	ok, err := rows.Seek(start)
	for ; ok && err == nil; ok, err = rows.Next() {
		if end != nil && bytes.Compare(rows.Key(), end) >= 0 {
			return nil
		}
		if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if rows.Deleted() {
			continue
		}
		if more, err := visit(rows.Key(), rows.Value()); err != nil || !more {
			return err
		}
	}
	return err
}

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	if r.look != nil {
		errs = append(errs, r.look.Close())
	}
	for _, f := range r.files {
		errs = append(errs, f.Close())
	}
	r.files, r.stack, r.look, r.legacy = nil, nil, nil, nil
	return errors.Join(errs...)
}
