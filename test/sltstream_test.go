package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/slt"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// outputModes are tried from the turn's on, until the planner grants one. The last
// two can always be had.
var outputModes = []sluice.Mode{sluice.Append, sluice.Update, sluice.Changelog, sluice.Complete}

// streamRun is one streaming query of an slt file.
type streamRun struct {
	e      *engine // of the pass
	sub    *engine // of this run, anew after each restart
	dir    string
	sql    string
	plan   slt.Plan
	cols   []slt.Column
	q      *sluice.Query
	out    *accumulated
	lifted []*liftedTable
	// inserted is how many of the pass's statements that add rows have been repeated.
	inserted int
	fed      map[string]*fedTable // tables that grow in memory, by lower-case name
	stdout   io.Writer            // of its session; nil is the process's
	// open says that a table has a watermark, and so windows that stay open.
	open bool
}

// Streams implements slt.Streamer.
func (e *engine) Streams(sql string) bool {
	stmts, err := parser.Parse(sql, parser.Options{})
	if err != nil {
		return true // it is refused either way
	}
	_, ok := stmts[0].(*ast.QueryStmt)
	return ok
}

// Stream implements slt.Streamer. Without restarts tables that are fed are streams
// in memory, which end when all is fed, so that every window closes; with restarts
// they are folders of files, unless they have a watermark. A restart abandons the
// query and opens a new session on the same checkpoint with another parallelism. Where
// nothing is fed, the rows of VALUES come bit by bit.
func (e *engine) Stream(ctx context.Context, sql string, plan slt.Plan) ([]slt.Column, [][]string, error) {
	cols, rows, err := e.stream(ctx, sql, plan, true)
	if errors.Is(err, errPrefix) {
		return e.stream(ctx, sql, plan, false)
	}
	return cols, rows, err
}

func (e *engine) stream(ctx context.Context, sql string, plan slt.Plan, lifts bool) (cols []slt.Column, rows [][]string, err error) {
	e.runs++
	r := &streamRun{e: e, dir: filepath.Join(e.dir, fmt.Sprintf("run%d", e.runs)), sql: sql, plan: plan, fed: map[string]*fedTable{}}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.tables(ctx); err != nil {
		return nil, nil, err
	}
	if lifts {
		if err := r.lift(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := r.open1(ctx, "2"); err != nil {
		return nil, nil, err
	}
	if err := r.start(ctx); err != nil {
		return nil, nil, err
	}
	if err := r.grow(ctx); err != nil {
		return nil, nil, err
	}
	for i, feeds := range plan.Batches {
		for _, f := range feeds {
			if err := r.feed(ctx, f); err != nil {
				return nil, nil, err
			}
		}
		if i > 0 {
			if err := r.restart(ctx, i); err != nil {
				return nil, nil, err
			}
		}
		if err := r.process(ctx, i+1); err != nil {
			return nil, nil, err
		}
	}
	r.end()
	if err := r.restart(ctx, len(plan.Batches)); err != nil {
		return nil, nil, err
	}
	if !r.ends() {
		if err := r.available(ctx); err != nil {
			return nil, nil, err
		}
		r.q.Stop()
	}
	if err := r.q.Await(ctx); err != nil {
		return nil, nil, err
	}
	return r.cols, r.out.rows, r.out.fault
}

// tables decides which tables grow in memory: all but changelogs and those that
// statements fill, and with restarts those that are fed and have no watermark.
func (r *streamRun) tables(ctx context.Context) error {
	files := map[string]bool{}
	for _, feeds := range r.plan.Batches {
		for _, f := range feeds {
			files[strings.ToLower(f.Source)] = r.plan.Restart
		}
	}
	for _, sql := range r.e.ddl {
		stmts, err := parser.Parse(sql, parser.Options{})
		if err != nil {
			return err
		}
		c, ok := stmts[0].(*ast.CreateTable)
		if !ok || option(c, "format") != "csv" || changelog(c) || r.e.inserts.into(option(c, "path")) {
			continue
		}
		name := strings.ToLower(c.Name.Parts[len(c.Name.Parts)-1].Name)
		r.open = r.open || c.Watermark != nil
		if files[name] && c.Watermark == nil {
			continue
		}
		if r.fed[name], err = r.e.fedTable(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// open1 opens a session and declares in it what the pass has declared so far. Rows
// that statements have added come with the feeds.
func (r *streamRun) open1(ctx context.Context, parallelism string) error {
	r.sub = &engine{t: r.e.t, dir: r.dir, stdout: r.stdout}
	r.sub.s = r.sub.session(parallelism)
	for _, f := range r.fed {
		if err := f.open(r.sub.s); err != nil {
			return err
		}
	}
	for _, ddl := range r.e.ddl {
		stmts, err := parser.Parse(ddl, parser.Options{})
		if err != nil {
			return err
		}
		switch st := stmts[0].(type) {
		case *ast.Insert:
			continue
		case *ast.CreateTable:
			if f := r.fed[strings.ToLower(st.Name.Parts[len(st.Name.Parts)-1].Name)]; f != nil {
				ddl = f.ddl
			}
		}
		if err := r.sub.Exec(ctx, strings.ReplaceAll(ddl, r.e.dir, r.dir)); err != nil {
			return err
		}
	}
	return nil
}

func (r *streamRun) feed(ctx context.Context, f slt.Feed) error {
	if f.SQL != "" {
		r.inserted++
		return r.e.inserts.copy(r.inserted-1, r.e.dir, r.dir)
	}
	if t := r.fed[strings.ToLower(f.Source)]; t != nil {
		return t.feed(ctx, r.e, f)
	}
	return r.sub.Feed(ctx, f)
}

func (r *streamRun) end() {
	for _, f := range r.fed {
		f.end()
	}
}

// process waits until all that was fed is in the result, and has it checked.
func (r *streamRun) process(ctx context.Context, n int) error {
	if err := r.available(ctx); err != nil {
		return err
	}
	if r.out.fault != nil || r.plan.Check == nil || !r.out.seen {
		return r.out.fault // before the first batch nothing has been said
	}
	if err := r.plan.Check(n, r.out.rows, r.open && r.out.grows); err != nil {
		return fmt.Errorf("output mode %s: %w", r.out.mode, err)
	}
	return nil
}

// ends reports whether the query ends by itself, since all that it reads does.
func (r *streamRun) ends() bool {
	for _, scan := range scans.FindAllStringSubmatch(r.q.Explain(), -1) {
		if r.fed[strings.ToLower(scan[1])] == nil {
			return false
		}
	}
	return true
}

// scans finds the tables that a plan reads.
var scans = regexp.MustCompile(`Scan (\S+)#\d+`)

// available waits until what there is has been processed. A query without a source
// that could hold more has ended then.
func (r *streamRun) available(ctx context.Context) error {
	if err := r.q.ProcessAllAvailable(ctx); err != nil && !errors.Is(err, driver.ErrEnded) {
		return err
	}
	return nil
}

// restart drops the query where it is, as a crash would, and opens another session
// with another number of partitions.
func (r *streamRun) restart(ctx context.Context, i int) error {
	if !r.plan.Restart {
		return nil
	}
	r.q.Abandon()
	if err := r.q.Await(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if err := r.sub.s.Close(); err != nil {
		return err
	}
	files := r.sub.files
	if err := r.open1(ctx, fmt.Sprint(1+i%5)); err != nil {
		return err
	}
	r.sub.files = files
	return r.start(ctx)
}

// start starts the query in the first mode from the turn's on that it can have,
// and in the same one again after a restart.
func (r *streamRun) start(ctx context.Context) error {
	df, err := r.sub.s.SQL(ctx, strings.ReplaceAll(r.sql, "$DIR", r.dir))
	if err != nil {
		return err
	}
	schema, err := df.Schema()
	if err != nil {
		return err
	}
	if r.cols == nil {
		for _, f := range schema.Fields() {
			r.cols = append(r.cols, slt.Column{Name: f.Name, Type: typeLetter(f.Type)})
		}
	}
	modes := append(slices.Clone(outputModes[r.plan.Turn%len(outputModes):]), outputModes[:r.plan.Turn%len(outputModes)]...)
	if r.out != nil {
		modes = []sluice.Mode{r.out.mode}
	}
	for _, mode := range modes {
		out := r.out
		if out == nil {
			out = &accumulated{mode: mode}
		}
		q, err := df.ForeachBatch(out.apply).Name("q").Mode(mode).Start(ctx)
		if err == nil {
			r.q, r.out = q, out
			names, ok := q.UpdateKeys()
			if ok {
				return out.keyed(schema, names)
			}
			// Rows that are only added wait until they cannot change any more.
			out.grows = mode == sluice.Append || mode == sluice.Update
			return nil
		}
		if mode == sluice.Changelog || mode == sluice.Complete || !sluice.IsSyntaxOrPlanError(err) {
			return fmt.Errorf("output mode %s: %w", mode, err)
		}
	}
	return fmt.Errorf("output mode %s was granted before the restart, and now is not", r.out.mode)
}

func (r *streamRun) close() error {
	for _, f := range r.fed {
		f.close()
	}
	for _, f := range r.lifted {
		releaseAll(f.all)
	}
	if r.sub == nil {
		return nil
	}
	if r.q != nil {
		r.q.Abandon()
		_ = r.q.Await(context.Background()) // what ended it has been told
	}
	return r.sub.s.Close()
}
