package parquet

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/formats"
)

// counted counts the reads of a file's last bytes.
type counted struct {
	io.ReaderAt
	end   int64
	tails atomic.Int32
}

func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	if at+int64(len(p)) == c.end-8 {
		c.tails.Add(1)
	}
	return c.ReaderAt.ReadAt(p, at)
}

// TestAFooterIsReadOnce: by all who ask at once and after, until the file is another.
func TestAFooterIsReadOnce(t *testing.T) {
	b := sequence(t, 1000, 100)
	mem := memFile("x", b)
	in := &counted{ReaderAt: mem, end: mem.Size}
	f := formats.File{ReaderAt: in, Name: "x", Size: mem.Size, Version: 7}
	format := New()
	if _, err := format.Infer(t.Context(), f, formats.Config{}); err != nil {
		t.Fatal(err)
	}
	before := in.tails.Load()
	if before == 0 {
		t.Fatal("the footer was not read")
	}
	schema, err := format.Infer(t.Context(), f, formats.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			pieces, err := format.Cut(t.Context(), f, formats.Config{})
			if err != nil || len(pieces) == 0 {
				t.Error(pieces, err)
			}
			if _, err := format.Stats(t.Context(), f, formats.Config{}); err != nil {
				t.Error(err)
			}
			rows, err := countRows(t.Context(), format, f, formats.Piece{From: int64(g), To: int64(g + 1)}, schema)
			if rows != 100 || err != nil {
				t.Error(rows, err)
			}
		})
	}
	all.Wait()
	if n := in.tails.Load(); n != before {
		t.Errorf("the footer was read %d times more", n-before)
	}
	// The same name and size with other bytes is another version.
	f.Version = 8
	if _, err := format.Infer(t.Context(), f, formats.Config{}); err != nil || in.tails.Load() == before {
		t.Errorf("a new version was not read: %v", err)
	}
}

func countRows(ctx context.Context, format formats.Format, f formats.File, p formats.Piece, s *arrow.Schema) (rows int64, err error) {
	r, err := format.NewReader(ctx, f, p, formats.ReadSpec{Schema: s})
	if err != nil {
		return 0, err
	}
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			return rows, r.Close()
		}
		if err != nil {
			return rows, err
		}
		rows += rec.NumRows()
		rec.Release()
	}
}

// TestFootersAreBounded: what was not used for long is let go.
func TestFootersAreBounded(t *testing.T) {
	c := &footers{}
	for i := range 100 {
		c.put(&footer{key: footerKey{name: fmt.Sprint(i), version: 1}, bytes: footerBytes / 10})
		c.get(footerKey{name: "0", version: 1})
	}
	if n := c.mu.recent.Len(); n > 10 || n != len(c.mu.byFile) || c.get(footerKey{name: "0", version: 1}) == nil || c.get(footerKey{name: "50", version: 1}) != nil {
		t.Errorf("%d kept", n)
	}
}
