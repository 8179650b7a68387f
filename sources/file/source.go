package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

// source is the driver's half: of a stream with a file log, of a table without.
type source struct {
	t      *table
	schema *arrow.Schema
	watch  *watcher // of a stream
	now    func() time.Time
	told   atomic.Pointer[map[string]string] // the last metrics
	// listing is set while the folder is listed, under the lock.
	listing atomic.Bool
	mu      struct {
		sync.Mutex
		log     *fileLog // of a stream
		pending []entry  // listed and not yet in the log
		listed  []entry  // the last listing, for compaction
		looked  bool     // there was one: a start does not list before it is asked
		pin     string   // of a table, once taken
	}
}

var (
	_ sources.Source    = (*source)(nil)
	_ sources.Pinner    = (*source)(nil)
	_ sources.Bounded   = (*source)(nil)
	_ sources.Refresher = (*source)(nil)
	_ sources.Notifier  = (*stream)(nil)
)

// stream is a source that has something to notify of.
type stream struct{ *source }

// Changed gets a value when files may have come.
func (s *stream) Changed() <-chan struct{} { return s.watch.changed }

// tableEnd is the offset behind a table that is read once.
const tableEnd batch.Offset = "end"

func open(ctx context.Context, logs vfsx.FS, reg *formats.Registry, spec sources.Spec) (sources.Source, error) {
	t, err := newTable(reg, spec)
	if err != nil {
		return nil, err
	}
	schema := spec.Schema
	if schema == nil {
		if schema, err = t.infer(ctx); err != nil {
			return nil, err
		}
	}
	s := &source{t: t, schema: schema, now: time.Now}
	if !spec.Stream {
		return s, nil
	}
	if spec.Dir == "" {
		return nil, fmt.Errorf("table %q: a stream of files without a folder for its file log", spec.Table)
	}
	// A missing path is an error now and not at the first batch.
	if _, _, err := t.roots(); err != nil {
		return nil, err
	}
	if _, err := t.list(ctx, s.now()); err != nil {
		return nil, err
	}
	if s.mu.log, err = openLog(logs, spec.Dir); err != nil {
		return nil, err
	}
	s.watch = startWatch(t, spec.Options.Duration(optPoll))
	return &stream{s}, nil
}

// Schema is that of all columns: of the files, the partitions, the metadata.
func (s *source) Schema() *arrow.Schema { return s.schema }

// position reads an offset of a stream.
func position(o batch.Offset) (int64, error) {
	if o == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(o), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not an offset of a file source", o)
	}
	return n, nil
}

func offset(n int64) batch.Offset {
	if n == 0 {
		return ""
	}
	return batch.Offset(strconv.FormatInt(n, 10))
}

// Latest takes new files into the log, as far as the limits allow (R1).
func (s *source) Latest(ctx context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	if !s.t.spec.Stream {
		return tableEnd, nil
	}
	at, err := position(from)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.mu.log
	if err := s.coversLocked(at); err != nil {
		return "", err
	}
	b := s.bounds(limit)
	end := at
	for end < log.end() && b.take(log.entries[end-log.start]) { // logged by a batch that was never planned
		end++
	}
	if end < log.end() || b.full() {
		return offset(end), nil
	}
	if len(s.mu.pending) == 0 {
		if err := s.lookLocked(ctx); err != nil {
			return "", err
		}
	}
	n := 0
	for n < len(s.mu.pending) && b.take(s.mu.pending[n]) {
		n++
	}
	if n > 0 {
		if err := log.add(s.mu.pending[:n]); err != nil {
			return "", err
		}
		s.mu.pending = s.mu.pending[n:]
	}
	if len(s.mu.pending) > 0 {
		s.watch.notify() // there is more at once
	}
	return offset(end + int64(n)), nil
}

// coversLocked checks that the log reaches as far as an offset that was handed out.
func (s *source) coversLocked(at int64) error {
	log := s.mu.log
	if at > log.end() || at < log.start {
		return &batch.Error{Kind: batch.External, Err: fmt.Errorf("the file log %q holds files %d to %d and not file %d, which a batch was planned to: it is damaged, or of another checkpoint", log.path, log.start, log.end(), at)}
	}
	return nil
}

// lookLocked lists the directory and finds the files that are not in the log.
func (s *source) lookLocked(ctx context.Context) error {
	s.listing.Store(true)
	listed, err := s.t.list(ctx, s.now())
	s.listing.Store(false)
	if err != nil {
		return err
	}
	s.mu.listed, s.mu.looked = listed, true
	for _, e := range listed {
		old, ok := s.mu.log.seen[e.Path]
		if !ok {
			s.mu.pending = append(s.mu.pending, e)
			continue
		}
		if old != e {
			return batch.UserErrorf("table %q: file %q was changed after it was taken: it had %d bytes at %s and has %d at %s; files must not change once they are there: write them elsewhere and rename them in, or set 'min-file-age'",
				s.t.spec.Table, e.Path, old.Size, stamp(old.MTime), e.Size, stamp(e.MTime))
		}
	}
	return nil
}

// bounds is what a batch may still take.
type bounds struct {
	files, bytes int64 // left; negative for no bound
	took         bool
}

func (s *source) bounds(l sources.Limit) *bounds {
	b := &bounds{files: -1, bytes: -1}
	least := func(into *int64, v int64) {
		if v > 0 && (*into < 0 || v < *into) {
			*into = v
		}
	}
	least(&b.files, s.t.config.Options.Int(optMaxFiles))
	least(&b.files, int64(l.Files))
	least(&b.bytes, s.t.config.Options.Bytes(optMaxBytes))
	least(&b.bytes, l.Bytes)
	return b
}

func (b *bounds) full() bool { return b.files == 0 || b.bytes == 0 && b.took }

// take counts a file if it fits: the first one always does.
func (b *bounds) take(e entry) bool {
	if b.files == 0 || b.bytes >= 0 && b.took && e.Size > b.bytes {
		return false
	}
	b.took = true
	if b.files > 0 {
		b.files--
	}
	if b.bytes >= 0 {
		b.bytes = max(0, b.bytes-e.Size)
	}
	return true
}

// Pin lists the table's files as they are now.
func (s *source) Pin(ctx context.Context) (string, error) {
	es, err := s.t.list(ctx, s.now())
	if err != nil {
		return "", err
	}
	if es == nil {
		es = []entry{}
	}
	b, err := json.Marshal(es)
	if err != nil {
		return "", fmt.Errorf("pin table %q: %w", s.t.spec.Table, err)
	}
	return string(b), nil
}

// Ended is true behind a table; a stream never ends.
func (s *source) Ended(at batch.Offset) bool { return !s.t.spec.Stream && at == tableEnd }

// Plan cuts the files of a range, or of a pinned version, into splits.
func (s *source) Plan(ctx context.Context, r batch.Range) ([]batch.Split, error) {
	es, err := s.files(ctx, r)
	if err != nil {
		return nil, err
	}
	if !s.t.spec.Stream {
		es = s.wanted(es)
	}
	cut := make([][]batch.Split, len(es))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, e := range es {
		g.Go(func() error {
			var err error
			cut[i], err = s.cut(gctx, r.Source, e)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []batch.Split
	for _, c := range cut {
		for _, sp := range c {
			sp.Index = len(out)
			out = append(out, sp)
		}
	}
	return out, nil
}

// files returns the files of a range.
func (s *source) files(ctx context.Context, r batch.Range) ([]entry, error) {
	if r.Pin != "" || !s.t.spec.Stream {
		if r.Pin == "" && r.Start == r.End {
			return nil, nil
		}
		return s.pinned(ctx, r.Pin)
	}
	from, err := position(r.Start)
	if err != nil {
		return nil, err
	}
	to, err := position(r.End)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.coversLocked(from), s.coversLocked(to)); err != nil {
		return nil, err
	}
	if from > to {
		return nil, fmt.Errorf("table %q: the range [%d, %d) is turned round", s.t.spec.Table, from, to)
	}
	start := s.mu.log.start
	var es []entry
	for _, e := range s.mu.log.entries[from-start : to-start] {
		if !e.gone() {
			es = append(es, e)
		}
	}
	return es, nil
}

// pinned reads a pin. A table that nobody pinned stays as it was first seen.
func (s *source) pinned(ctx context.Context, pin string) ([]entry, error) {
	if pin == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.pin == "" {
			p, err := s.Pin(ctx)
			if err != nil {
				return nil, err
			}
			s.mu.pin = p
		}
		pin = s.mu.pin
	}
	var es []entry
	if err := json.Unmarshal([]byte(pin), &es); err != nil {
		return nil, fmt.Errorf("table %q: read the pinned list of files: %w", s.t.spec.Table, err)
	}
	return es, nil
}

// payload is what a split of a file says.
type payload struct {
	entry
	formats.Piece
	Format string `json:"format"`
}

// cut makes the splits of one file.
func (s *source) cut(ctx context.Context, name string, e entry) (out []batch.Split, err error) {
	f, err := openEntry(e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	format, err := s.t.formatOf(e.Path)
	if err != nil {
		return nil, err
	}
	if e.Size == 0 && format.Plain {
		return nil, nil
	}
	pieces, err := format.Cut(ctx, asFile(f, e), s.t.config)
	if err != nil {
		return nil, err
	}
	part := s.t.watermarkPartition(e.Path)
	for _, p := range pieces {
		b, err := json.Marshal(payload{entry: e, Piece: p, Format: format.Name})
		if err != nil {
			return nil, fmt.Errorf("plan file %q: %w", e.Path, err)
		}
		out = append(out, batch.Split{Source: name, Payload: b, Rows: p.Rows, Bytes: p.Bytes, Partition: part})
	}
	return out, nil
}

func asFile(f *os.File, e entry) formats.File {
	return formats.File{ReaderAt: f, Name: e.Path, Size: e.Size, Version: e.MTime}
}

// Release lets the log forget files.
func (s *source) Release(_ context.Context, to batch.Offset) error {
	if !s.t.spec.Stream {
		return nil
	}
	at, err := position(to)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.log.release(at)
	if !s.mu.looked {
		return nil // which files are gone is not known: to forget one that is there would take it twice
	}
	return s.mu.log.compact(s.mu.listed)
}

// Close stops watching and closes the log.
func (s *source) Close() error {
	if !s.t.spec.Stream {
		return nil
	}
	s.watch.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.log.close()
}
