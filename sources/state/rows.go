package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// kv is a row. Key and value are valid until the next one is asked for.
type kv struct{ key, value []byte }

// stopped ends a read whose rows nobody wants any more.
var errStopped = errors.New("stopped")

// versionRows yields the rows of key groups [first, end) of a version of an
// operator, in key order, from manifests in the order of their groups. Files are
// merged as they are read: memory does not grow with the state.
func versionRows(ctx context.Context, fs vfsx.FS, dir string, ms []statestore.Manifest, first, end int) iter.Seq2[kv, error] {
	return func(yield func(kv, error) bool) {
		for _, m := range ms {
			if m.Shard.EndGroup <= first || m.Shard.FirstGroup >= end {
				continue
			}
			for row, err := range shardRows(ctx, fs, dir, m) {
				if err == nil && len(row.key) == 0 {
					err = fmt.Errorf("%w: an empty key in %s", checkpoint.ErrDamaged, m.Shard)
				}
				if err != nil {
					yield(kv{}, gone(err))
					return
				}
				if g := int(row.key[0]); g < first || g >= end {
					continue
				}
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// gone marks an error of a file that is not there: the query that owns the
// checkpoint may have deleted it.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// part is a file that is read along with others: newer ones hide older ones.
type part struct {
	next  func() (partRow, error, bool)
	stop  func()
	row   partRow
	ended bool
}

type partRow struct {
	key, value []byte
	deleted    bool
}

// shardRows merges the files of one manifest.
func shardRows(ctx context.Context, fs vfsx.FS, dir string, m statestore.Manifest) iter.Seq2[kv, error] {
	return func(yield func(kv, error) bool) {
		files := checkpoint.View(fs, dir)
		if checkpoint.InRuns(m) {
			readRuns(ctx, files, m, yield)
			return
		}
		parts := make([]*part, len(m.Parts))
		for i, p := range m.Parts {
			parts[i] = readPart(ctx, files, m, i, p)
		}
		defer func() {
			for _, p := range parts {
				p.stop()
			}
		}()
		for _, p := range parts {
			if err := p.advance(); err != nil {
				yield(kv{}, err)
				return
			}
		}
		for {
			top, err := least(parts)
			if err != nil {
				yield(kv{}, err)
				return
			}
			if top == nil {
				return
			}
			if !top.row.deleted && !yield(kv{top.row.key, top.row.value}, nil) {
				return
			}
			if err := top.advance(); err != nil {
				yield(kv{}, err)
				return
			}
		}
	}
}

// readRuns yields the rows of a manifest of sorted runs, which are read in place.
func readRuns(ctx context.Context, files *checkpoint.Dir, m statestore.Manifest, yield func(kv, error) bool) {
	r, err := files.NewReader(ctx, m, nil)
	if err != nil {
		yield(kv{}, err)
		return
	}
	wanted := true
	err = r.Scan(nil, nil, func(key, value []byte) (bool, error) {
		wanted = yield(kv{key, value}, nil)
		return wanted, nil
	})
	if err = errors.Join(err, r.Close()); err != nil && wanted {
		yield(kv{}, err)
	}
}

// least finds the newest row with the least key, and goes past older ones that it
// hides; nil at the end.
func least(parts []*part) (*part, error) {
	var top *part
	for i := len(parts) - 1; i >= 0; i-- { // the newest wins
		p := parts[i]
		if p.ended {
			continue
		}
		if top == nil {
			top = p
			continue
		}
		switch bytes.Compare(p.row.key, top.row.key) {
		case -1:
			top = p
		case 0:
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
	}
	return top, nil
}

func (p *part) advance() error {
	row, err, ok := p.next()
	if !ok {
		p.ended = true
		return nil
	}
	p.row = row
	return err
}

// readPart reads a file row by row, and checks at its end that it is the one that
// the manifest means.
func readPart(ctx context.Context, files *checkpoint.Dir, m statestore.Manifest, i int, named statestore.Part) *part {
	p := &part{}
	rows := func(yield func(partRow, error) bool) {
		h, err := files.Read(ctx, named, func(key, value []byte, deleted bool) error {
			if !yield(partRow{key, value, deleted}, nil) {
				return errStopped
			}
			return nil
		})
		if errors.Is(err, errStopped) {
			return
		}
		if err == nil && (h.Shard != m.Shard || (i == 0) != (h.Kind == checkpoint.Snapshot) || h.Version > m.Version) {
			err = fmt.Errorf("read %s: %w: it is no part %d of version %d of %s", named.Name, checkpoint.ErrDamaged, i, m.Version, m.Shard)
		}
		if err != nil {
			yield(partRow{}, err)
		}
	}
	p.next, p.stop = iter.Pull2(rows)
	return p
}

// Row is a row of state. Key and value are valid until the next one is asked for.
type Row struct{ Key, Value []byte }

// Rows yields the rows of an operator's version in key order, from its manifests in
// the order of their groups.
func Rows(ctx context.Context, fs vfsx.FS, dir string, ms []statestore.Manifest) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for row, err := range versionRows(ctx, fs, dir, ms, 0, batch.KeyGroups) {
			if !yield(Row{row.key, row.value}, err) || err != nil {
				return
			}
		}
	}
}

// RowsOf yields the rows of some keys, of an operator that keeps several rows of a key
// all that begin with it.
func RowsOf(ctx context.Context, fs vfsx.FS, dir string, ms []statestore.Manifest, keys [][]byte, prefixes bool) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for row, err := range lookUp(ctx, fs, dir, ms, sortedKeys(keys), prefixes) {
			if !yield(Row{row.key, row.value}, err) || err != nil {
				return
			}
		}
	}
}
