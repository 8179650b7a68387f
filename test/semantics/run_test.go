package semantics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice"
)

// run is a case in one mode, at one number of partitions.
type run struct {
	c       *oneCase
	mode    sluice.Mode
	parts   int
	restart bool
	dir     string
	s       *sluice.Session
	q       *sluice.Query
	out     output
	printed int64 // batches below are printed
	late    int64
	turns   int
}

func newRun(c *oneCase, mode sluice.Mode, parts int, restart bool) *run {
	r := &run{c: c, mode: mode, parts: parts, restart: restart}
	r.dir = filepath.Join(c.dir, fmt.Sprintf("%s-%d-%t", mode, parts, restart))
	r.out.batches = map[int64]*outBatch{}
	return r
}

func (r *run) String() string {
	if r.restart {
		return fmt.Sprintf("%s, %d partitions at first, restarted", r.mode, r.parts)
	}
	return fmt.Sprintf("%s, %d partitions", r.mode, r.parts)
}

// open makes a session on the run's checkpoint.
func (r *run) open(ctx context.Context) error {
	numbers := []int{1, 3, 7}
	parts := numbers[(slices.Index(numbers, r.parts)+r.turns)%3]
	set := map[string]string{"parallelism": fmt.Sprint(parts)}
	if r.restart && r.parts == 1 { // from checkpoints; the other runs replay the log
		set["checkpoint.interval"] = "1ms"
	}
	maps.Copy(set, r.c.set)
	s, err := sluice.NewSession(sluice.Options{Settings: set, CheckpointDir: filepath.Join(r.dir, "ck"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	r.s = s
	for _, ddl := range splitStatements(r.c.ddl) {
		ddl = strings.ReplaceAll(ddl, "$DIR", r.dir)
		if err := r.declare(ctx, ddl); err != nil {
			return fmt.Errorf("%s: %w", ddl, err)
		}
	}
	return nil
}

// declare makes a table and what it reads: a folder, or a file that is empty at first.
func (r *run) declare(ctx context.Context, ddl string) error {
	_, after, _ := strings.Cut(ddl, "'path'='")
	path, _, _ := strings.Cut(after, "'")
	folder, oneFile := path, filepath.Ext(path) != ""
	if oneFile {
		folder = filepath.Dir(path)
	}
	if path != "" {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := r.s.Exec(ctx, ddl); err != nil {
		return err
	}
	if !oneFile {
		return nil
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return r.write(ctx, 0, feed{table: filepath.Base(folder), whole: true})
}

// start starts the query. Its trigger does not fire by itself, not even at the start,
// so that what is fed before a batch is all in it.
func (r *run) start(ctx context.Context) error {
	df, err := r.frame(ctx)
	if err != nil {
		return err
	}
	w := df.ForeachBatch(r.out.take)
	if r.mode == sluice.Update && len(r.c.keys) > 0 {
		w = w.Keys(r.c.keys...)
	}
	if r.c.emit {
		w = w.EmitAfterWatermark()
	}
	if r.c.every > 0 {
		w = w.EmitAfterRows(r.c.every)
	}
	if r.c.restate > 0 {
		w = w.LateRestate(r.c.restate)
	}
	if r.c.into != "" {
		w = w.LateInto(r.c.into)
	}
	r.q, err = w.Name("q").Mode(r.mode).Trigger(sluice.Cron("0 0 29 2 *")).Start(ctx)
	return err
}

func (r *run) frame(ctx context.Context) (*sluice.DataFrame, error) {
	if name, ok := strings.CutPrefix(r.c.sql, "frame "); ok {
		f, ok := frames[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("there is no frame %q", name)
		}
		return f(ctx, r.s)
	}
	return r.s.SQL(ctx, r.c.sql)
}

// stop ends the query and its session.
func (r *run) stop(ctx context.Context) error {
	var err error
	if r.q != nil {
		if r.c.graceful {
			r.q.Stop()
		} else {
			r.q.Abandon()
		}
		if err = r.q.Await(ctx); errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	return errors.Join(err, r.close())
}

func (r *run) close() error {
	if r.s == nil {
		return nil
	}
	return r.s.Close()
}

// batch feeds rows, restarts if that is the run's way, and tells what came out.
func (r *run) batch(ctx context.Context, n int, feeds []feed) (string, error) {
	for _, f := range feeds {
		if err := r.write(ctx, n, f); err != nil {
			return "", err
		}
	}
	if r.restart {
		r.turns++
		if err := r.stop(ctx); err != nil {
			return "", fmt.Errorf("before the restart: %w", err)
		}
		if err := r.open(ctx); err != nil {
			return "", err
		}
		if err := r.start(ctx); err != nil {
			return "", fmt.Errorf("restart: %w", err)
		}
	}
	if err := r.q.ProcessAllAvailable(ctx); err != nil {
		return "", err
	}
	text, err := r.text()
	if err != nil || r.c.into == "" {
		return text, err
	}
	late, err := r.rows(ctx, "SELECT * FROM "+r.c.into)
	return fmt.Sprintf("%s%s late rows so far: %s\n", text, r.mode, strings.Join(late, " ")), err
}

// write puts rows into a file: a new one of a folder, or the whole table where the
// table is one file.
func (r *run) write(ctx context.Context, n int, f feed) error {
	df, err := r.s.SQL(ctx, "SELECT * FROM "+f.table)
	if err != nil {
		return err
	}
	schema, err := df.Schema()
	if err != nil {
		return err
	}
	var b strings.Builder
	if len(f.rows) > 0 && len(f.rows[0]) > schema.NumFields() { // of a changelog
		b.WriteString("op,")
	}
	for i, col := range schema.Fields() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(col.Name)
	}
	for _, row := range f.rows {
		b.WriteString("\n" + strings.Join(row, ","))
	}
	b.WriteByte('\n')
	name := filepath.Join(r.dir, f.table, fmt.Sprintf("part-%05d.csv", n))
	if f.whole {
		name = filepath.Join(r.dir, f.table, "all.csv")
	}
	hidden := filepath.Join(r.dir, f.table, ".part")
	if err := os.WriteFile(hidden, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(hidden, name)
}

// text tells of the batches since the last look.
func (r *run) text() (string, error) {
	var b strings.Builder
	for _, p := range r.q.Recent() {
		if p.BatchID < r.printed {
			continue
		}
		r.printed = p.BatchID + 1
		r.late += p.LateRows
		state := int64(0)
		for _, s := range p.StateOperators {
			state += s.NumRowsTotal
		}
		fmt.Fprintf(&b, "%s %d", r.mode, p.BatchID)
		if p.NoData {
			b.WriteByte('~')
		}
		mark := "-"
		if p.EventTime.Watermark != "" {
			at, err := time.Parse(time.RFC3339Nano, p.EventTime.Watermark)
			if err != nil {
				return "", err
			}
			mark = timeText(at)
		}
		fmt.Fprintf(&b, " wm=%s", mark)
		if p.LateRows != 0 {
			fmt.Fprintf(&b, " late=%d", p.LateRows)
		}
		fmt.Fprintf(&b, " state=%d:", state)
		out := r.out.batch(p.BatchID)
		if out == nil {
			b.WriteString(" not shown")
		} else {
			for _, row := range out.lines(r.c.ordered && r.mode == sluice.Complete) {
				b.WriteString(" " + row)
			}
		}
		b.WriteByte('\n')
		if !p.Balance.Balanced() {
			return "", fmt.Errorf("batch %d: rows are missing: %+v", p.BatchID, p.Balance)
		}
	}
	return b.String(), r.out.fault()
}

// output collects what ForeachBatch is handed.
type output struct {
	mu      sync.Mutex
	batches map[int64]*outBatch
	last    int64
	errs    []error
}

func (o *output) fault() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return errors.Join(o.errs...)
}

// final reports whether nothing that came out has a kind of change: update of a
// result without a key is append where that can be had.
func (o *output) final() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.batches {
		if b.ops != nil {
			return false
		}
	}
	return true
}

func (o *output) batch(id int64) *outBatch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.batches[id]
}

// take keeps a batch. One that is handed over again must have the same rows.
func (o *output) take(_ context.Context, id int64, recs []arrow.RecordBatch) error {
	b, err := newOutBatch(recs)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	old, again := o.batches[id]
	switch {
	case again && !slices.Equal(old.lines(false), b.lines(false)):
		o.errs = append(o.errs, fmt.Errorf("batch %d is shown again with other rows: %v, not %v", id, b.lines(false), old.lines(false)))
	case !again && len(o.batches) > 0 && id <= o.last:
		o.errs = append(o.errs, fmt.Errorf("batch %d is shown behind %d", id, o.last))
	case !again:
		o.batches[id], o.last = b, id
	}
	return nil
}

// answer is the rows of the query over what lies in the folders now, as a batch.
func (r *run) answer(ctx context.Context) ([]string, error) {
	df, err := r.frame(ctx)
	if err != nil {
		return nil, err
	}
	return rowsOf(ctx, df)
}

// rows is what a query gives as a batch.
func (r *run) rows(ctx context.Context, sql string) ([]string, error) {
	df, err := r.s.SQL(ctx, sql)
	if err != nil {
		return nil, err
	}
	return rowsOf(ctx, df)
}

func rowsOf(ctx context.Context, df *sluice.DataFrame) ([]string, error) {
	var rows []string
	for rec, err := range df.Batches(ctx) {
		if err != nil {
			return nil, err
		}
		b, err := newOutBatch([]arrow.RecordBatch{rec})
		if err != nil {
			return nil, err
		}
		for _, row := range b.rows {
			rows = append(rows, rowText(row))
		}
	}
	slices.Sort(rows)
	return rows, nil
}

// compare holds what came out so far against the batch answer.
func (r *run) compare(want []string) error {
	got, err := r.out.accumulated(r.mode, r.c.keys)
	if err != nil {
		return err
	}
	if got == nil && !r.out.final() {
		return nil // update of a result whose key the case does not tell
	}
	slices.Sort(got)
	if r.mode == sluice.Append || r.c.emit || r.mode == sluice.Update && r.out.final() {
		left := slices.Clone(want)
		for _, row := range got {
			i := slices.Index(left, row)
			if i < 0 {
				return fmt.Errorf("%s was put out, and is not in the batch answer:\n got %v\nwant a part of %v", row, got, want)
			}
			left = slices.Delete(left, i, i+1)
		}
		return nil
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the output is not the batch answer:\n got %v\nwant %v", got, want)
	}
	return nil
}
