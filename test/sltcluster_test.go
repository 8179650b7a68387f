package test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/slt"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// clusterPart is how much of the corpus runs on clusters. An hour has its own part, so that
// all of it is run in the course of a day.
var clusterPart = flag.String("cluster", "", "the part of the SQL logic tests that runs on clusters: all, or I/N; empty takes another one each hour")

// clusterParts is into how many parts the corpus is cut.
const clusterParts = 24

// clusterSizes are the clusters, with the number of pieces in which their input comes.
var clusterSizes = []struct {
	name                     string
	drivers, workers, pieces int
	// event happens while the last piece is processed; nil is nothing.
	event func(f *fleet, ctx context.Context) error
}{
	{"1 worker", 1, 1, 2, nil}, {"3 workers", 1, 3, 3, nil},
	{"workers come and go", 1, 3, 2, (*fleet).replace},
	{"the driver is started again", 1, 3, 2, (*fleet).restart},
	{"another driver leads", 3, 3, 2, (*fleet).restart},
}

// clustersEach is how many clusters of a size share the work.
const clustersEach = 2

// TestSLTCluster runs the streaming queries of the SQL logic tests on clusters, and holds
// them to what a batch gives over the same files.
func TestSLTCluster(t *testing.T) {
	part := theClusterPart(t)
	for _, size := range clusterSizes {
		t.Run(size.name, func(t *testing.T) {
			tally := &clusterTally{}
			fleets := make(chan *fleet, clustersEach)
			for i := range clustersEach {
				fleets <- newFleet(t, fmt.Sprint(i), size.drivers, size.workers)
			}
			t.Run("files", func(t *testing.T) {
				slt.RunStream(t, "slt", size.pieces, part, func(t *testing.T, _ slt.Mode) slt.Engine {
					return &clusterEngine{engine: newEngine(t), fleets: fleets, tally: tally, event: size.event}
				})
			})
			tally.tell(t)
		})
	}
}

func theClusterPart(t *testing.T) slt.Part {
	if *clusterPart == "all" {
		return slt.Part{}
	}
	p := slt.Part{At: int(clock.System().Now().Unix()/int64(time.Hour/time.Second)) % clusterParts, Of: clusterParts}
	if *clusterPart != "" {
		at, of, _ := strings.Cut(*clusterPart, "/")
		var errs [2]error
		p.At, errs[0] = strconv.Atoi(at)
		p.Of, errs[1] = strconv.Atoi(of)
		if errors.Join(errs[:]...) != nil || p.Of < 1 || p.At < 0 || p.At >= p.Of {
			t.Fatalf("-cluster=%s: want all, or I/N with I below N", *clusterPart)
		}
	}
	t.Logf("this is -cluster=%d/%d", p.At, p.Of)
	return p
}

// clusterTally counts what has been run.
type clusterTally struct {
	mu      sync.Mutex
	runs    int
	open    int // runs at whose end rows wait for windows that do not close
	longest time.Duration
	where   string
}

func (c *clusterTally) ran(sql string, open bool, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs++; open {
		c.open++
	}
	if took > c.longest {
		c.longest, c.where = took, sql
	}
}

func (c *clusterTally) tell(t *testing.T) {
	t.Logf("%d queries, %d of them with windows that stay open; the longest took %s:\n%s", c.runs, c.open, c.longest.Round(time.Millisecond), c.where)
}

// clusterPatience is after how long a query counts as standing still. The longest take a
// second.
const clusterPatience = 2 * time.Minute

// clusterEngine streams on clusters. What it knows of its tables is what a batch knows.
type clusterEngine struct {
	*engine
	fleets chan *fleet
	tally  *clusterTally
	event  func(*fleet, context.Context) error
}

// Stream implements slt.Streamer. All tables are folders of files, in which workers find
// what was fed, and the rows of VALUES as well where nothing is fed.
func (e *clusterEngine) Stream(ctx context.Context, sql string, plan slt.Plan) ([]slt.Column, [][]string, error) {
	f := <-e.fleets
	defer func() { e.fleets <- f }()
	ctx, cancel := context.WithTimeoutCause(ctx, clusterPatience, errors.New("the query stands still"))
	defer cancel()
	cols, rows, err := e.on(ctx, f, sql, plan, true)
	if errors.Is(err, errPrefix) {
		cols, rows, err = e.on(ctx, f, sql, plan, false)
	}
	return cols, rows, err
}

func (e *clusterEngine) on(ctx context.Context, f *fleet, sql string, plan slt.Plan, lifts bool) (cols []slt.Column, rows [][]string, err error) {
	e.runs++
	f.queries++
	r := &clusterRun{fleet: f, name: fmt.Sprintf("q%d", f.queries), shown: -1, event: e.event}
	r.streamRun = streamRun{
		stdout: &r.local, e: e.engine, dir: filepath.Join(e.dir, fmt.Sprintf("run%d", e.runs)), sql: sql, plan: plan, fed: map[string]*fedTable{},
	}
	begun := clock.System().Now()
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.begin(ctx, lifts); err != nil {
		return nil, nil, err
	}
	n := len(plan.Batches)
	for _, f := range r.lifted {
		n = max(n, min(rowsIn(f.all), liftedMax))
	}
	for i := range n {
		if err := r.piece(ctx, i, n); err != nil {
			return nil, nil, err
		}
	}
	e.tally.ran(sql, r.open && r.out.grows, clock.System().Now().Sub(begun))
	return rowsOf(ctx, r.sub.s, r.expanded())
}

// clusterRun is a query on a cluster.
type clusterRun struct {
	streamRun
	fleet *fleet
	name  string // of the query and its pipeline
	above int    // lines above it in the text of the pipeline
	local printed
	shown int64                               // the newest batch that was printed
	event func(*fleet, context.Context) error // see clusterSizes
}

func (r *clusterRun) expanded() string { return strings.ReplaceAll(r.sql, "$DIR", r.dir) }

// outTable takes results. It finds its columns by itself.
const outTable = "shown_by_console"

const makeOutTable = "CREATE TABLE " + outTable + " WITH ('connector' = 'console', 'format' = 'csv')"

// begin declares the tables, here and on the cluster, and starts the query.
func (r *clusterRun) begin(ctx context.Context, lifts bool) error {
	for _, sql := range r.e.ddl {
		stmts, err := parser.Parse(sql, parser.Options{})
		if err != nil {
			continue // a setting has changed what can be read
		}
		c, ok := stmts[0].(*ast.CreateTable)
		r.open = r.open || ok && c.Watermark != nil
	}
	if err := r.open1(ctx, "2"); err != nil {
		return err
	}
	if lifts {
		if err := r.lift(ctx); err != nil {
			return err
		}
	}
	for _, f := range r.lifted {
		if err := r.place(ctx, f); err != nil {
			return err
		}
	}
	if err := r.sub.Exec(ctx, makeOutTable); err != nil {
		return err
	}
	r.sub.ddl = slices.DeleteFunc(r.sub.ddl, func(sql string) bool { return sql == makeOutTable })
	return r.submit(ctx)
}

// place makes a folder of files of the rows of VALUES.
func (r *clusterRun) place(ctx context.Context, f *liftedTable) error {
	f.dir = filepath.Join(r.dir, f.name)
	f.ddl = fmt.Sprintf("CREATE TABLE %s WITH ('connector' = 'filesystem', 'format' = 'arrow', 'path' = '%s')", f.name, f.dir)
	if err := f.write(); err != nil {
		return err
	}
	return r.sub.Exec(ctx, f.ddl)
}

// submit starts the query in the first mode from the turn's on that it can have.
func (r *clusterRun) submit(ctx context.Context) error {
	modes := append(slices.Clone(outputModes[r.plan.Turn%len(outputModes):]), outputModes[:r.plan.Turn%len(outputModes)]...)
	for i, mode := range modes {
		head := strings.Join(append(slices.Clone(r.sub.ddl), makeOutTable, ""), ";\n") +
			fmt.Sprintf("CREATE STREAMING QUERY %s OUTPUT MODE %s AS INSERT INTO %s\n", r.name, mode, outTable)
		r.above = strings.Count(head, "\n")
		err := r.fleet.ask(ctx, func(d *sluice.Driver) error {
			_, err := d.Submit(ctx, r.name, head+r.expanded())
			return err
		})
		if err == nil {
			return r.started(ctx, mode)
		}
		if i == len(modes)-1 || mode == sluice.Changelog || mode == sluice.Complete || !sluice.IsSyntaxOrPlanError(err) {
			return r.placed(err)
		}
	}
	return nil
}

// placedError tells where a fault is within the query alone.
type placedError struct {
	error
	text string
}

func (e *placedError) Error() string { return e.text }
func (e *placedError) Unwrap() error { return e.error }

var places = regexp.MustCompile(`\b(\d+):(\d+)\b`)

func (r *clusterRun) placed(err error) error {
	return &placedError{err, places.ReplaceAllStringFunc(err.Error(), func(at string) string {
		line, column, _ := strings.Cut(at, ":")
		if n, _ := strconv.Atoi(line); n > r.above {
			return fmt.Sprintf("%d:%s", n-r.above, column)
		}
		return at
	})}
}

func (r *clusterRun) started(ctx context.Context, mode sluice.Mode) error {
	if err := r.find(ctx); err != nil {
		return err
	}
	df, err := r.sub.s.SQL(ctx, r.expanded())
	if err != nil {
		return err
	}
	schema, err := df.Schema()
	if err != nil {
		return err
	}
	r.out = &accumulated{mode: mode}
	if names, ok := r.q.UpdateKeys(); ok {
		return r.out.keyed(schema, names)
	}
	r.out.grows = mode == sluice.Append || mode == sluice.Update
	return nil
}

// close removes the query and all that it has left.
func (r *clusterRun) close() error {
	if q := r.q; q != nil {
		ctx, cancel := context.WithTimeout(context.Background(), clusterPatience)
		defer cancel()
		// What has ended the query has been told.
		_ = r.fleet.ask(ctx, func(d *sluice.Driver) error { return d.Remove(ctx, r.name) })
		r.fleet.printed.take()
		r.q = nil
		if err := os.RemoveAll(q.Checkpoint()); err != nil {
			return err
		}
	}
	return r.streamRun.close()
}

// piece lets a piece of the input arrive, waits until it is in the result, and holds that
// against the batch answer over what has arrived.
func (r *clusterRun) piece(ctx context.Context, i, n int) error {
	for _, f := range r.lifted {
		if err := f.add(i, n); err != nil {
			return err
		}
	}
	if i < len(r.plan.Batches) {
		for _, f := range r.plan.Batches[i] {
			if err := r.feed(ctx, f); err != nil {
				return err
			}
		}
	}
	if err := r.process(ctx, i == n-1); err != nil {
		if len(r.lifted) > 0 && i < n-1 {
			if _, berr := r.answer(ctx); berr != nil {
				return errPrefix
			}
		}
		return r.placed(err)
	}
	r.read()
	if r.out.fault != nil {
		return r.out.fault
	}
	if r.shown < 0 && !r.reads() {
		return nil // a stream that has nothing to read says nothing
	}
	want, err := r.answer(ctx)
	if err != nil {
		return fmt.Errorf("after %d of %d batches the stream goes on, and the batch fails: %w", i+1, n, err)
	}
	if sameRows(want, r.out.rows) || r.open && r.out.grows && partOf(r.out.rows, want) {
		return nil
	}
	return fmt.Errorf("output mode %s: after %d of %d batches of %s the rows are\n%s\nand the batch answer is\n%s", r.out.mode, i+1, n, r.sql, lines(r.out.rows), lines(want))
}

// process waits until all that was fed is in the result.
func (r *clusterRun) process(ctx context.Context, last bool) error {
	var err error
	if r.event != nil && last {
		happened := make(chan error, 1)
		go func() { happened <- r.event(r.fleet, ctx) }()
		err = r.available(ctx)
		if eerr := <-happened; eerr != nil {
			return errors.Join(err, eerr)
		}
	} else {
		err = r.available(ctx)
	}
	for !r.there() { // another driver has it, which may not have been told of all that was fed
		if ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		r.read() // what the former driver has said last
		if err := r.find(ctx); err != nil {
			return err
		}
		err = r.available(ctx)
	}
	return err
}

// there reports whether the query is that of the driver that leads.
func (r *clusterRun) there() bool {
	d := r.fleet.up[r.fleet.leader]
	return d != nil && d.Leads() && slices.Contains(d.Queries(), r.q)
}

// find takes the query from the driver that leads, once it has taken it up.
func (r *clusterRun) find(ctx context.Context) error {
	for {
		d, err := r.fleet.driver(ctx)
		if err != nil {
			return err
		}
		for _, q := range d.Queries() {
			if q.Name() == r.name {
				r.q = q
				return nil
			}
		}
		for _, p := range d.Pipelines() {
			if p.Name == r.name && p.Error != "" {
				return fmt.Errorf("the query is not taken up: %s", p.Error)
			}
		}
		if err := clock.Wait(ctx, clock.System(), clusterLook); err != nil {
			return fmt.Errorf("the query is not taken up: %w", context.Cause(ctx))
		}
	}
}

// reads reports whether a table that the query reads has a file.
func (r *clusterRun) reads() bool {
	for _, scan := range scans.FindAllStringSubmatch(r.q.Explain(), -1) {
		files, err := os.ReadDir(filepath.Join(r.dir, scan[1]))
		if err != nil || len(files) > 0 { // there is no such folder: it is a table of another kind
			return true
		}
	}
	return false
}

// partOf reports whether all of some rows are among others.
func partOf(part, all [][]string) bool {
	all = slices.Clone(all)
	for _, row := range part {
		i := slices.IndexFunc(all, func(o []string) bool { return slices.Equal(o, row) })
		if i < 0 {
			return false
		}
		all = slices.Delete(all, i, i+1)
	}
	return true
}

// answer is the batch answer over the files that are there, as the console prints it.
func (r *clusterRun) answer(ctx context.Context) ([][]string, error) {
	r.local.take()
	if err := r.sub.s.Exec(ctx, "INSERT INTO "+outTable+"\n"+r.expanded()); err != nil {
		return nil, err
	}
	var rows [][]string
	for _, row := range csvRows(r.local.take()) {
		if !isHeader(row) {
			rows = append(rows, row[2:])
		}
	}
	return rows, nil
}

// read takes in what the driver has printed.
func (r *clusterRun) read() {
	rows := csvRows(r.fleet.printed.take())
	for from := 0; from < len(rows); {
		if isHeader(rows[from]) { // another driver, which may print the last batch once more
			from++
			continue
		}
		to := from
		for to < len(rows) && rows[to][0] == rows[from][0] {
			to++
		}
		id, _ := strconv.ParseInt(rows[from][0], 10, 64)
		r.batch(id, rows[from:to])
		from = to
	}
	if p := r.q.Recent(); len(p) > 0 {
		// An empty result is not printed.
		if id := p[len(p)-1].BatchID; id > r.shown {
			r.batch(id, nil)
		}
	}
}

// changeKinds are the kinds of change as ForeachBatch tells them.
var changeKinds = map[string]string{"+I": "0", "-U": "1", "+U": "2", "-D": "3"}

// batch takes in the rows of a batch, as they were printed.
func (r *clusterRun) batch(id int64, printed [][]string) {
	mode := r.out.mode
	// Only a mode that tells changes has kinds of them.
	changes := mode == sluice.Changelog || mode == sluice.Update && slices.ContainsFunc(printed, func(row []string) bool { return row[1] != "+I" })
	rows := make([][]string, len(printed))
	for i, row := range printed {
		rows[i] = slices.Clone(row[2:])
		if changes {
			rows[i] = append(rows[i], changeKinds[row[1]])
		} else if row[1] != "+I" {
			r.out.faultf(id, "has a change of kind %s", row[1])
		}
	}
	r.shown = id
	r.out.take(id, rows, changes)
}
