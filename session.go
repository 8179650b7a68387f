package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/scratch"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/planner/expr/vec"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// Options configure a Session. The zero value works.
type Options struct {
	// Settings are applied as by SET; unknown keys are refused.
	Settings map[string]string
	// CheckpointDir is the base of checkpoints that are relative or not given;
	// default "checkpoints".
	CheckpointDir string
	// Pipeline makes INSERT INTO from a stream start a streaming query, as under
	// `sluice run`; else a directory is read for what is in it now.
	Pipeline bool
	// Once lets every streaming query end when it has processed what is there.
	Once bool
	// ExplainOnly plans queries and runs none.
	ExplainOnly bool
	// Stdout takes what console sinks print; default os.Stdout.
	Stdout io.Writer
	// Workers is how many workers the session runs its tasks on, each with as many
	// slots as there are processors; default 1. Results do not depend on it, and in
	// one process more of them gain nothing: it is how programs and tests see what
	// happens between workers.
	Workers int
	// Logger takes structured logs; default slog.Default().
	Logger *slog.Logger

	workforce *workforce // of streaming queries; nil: the session's own workers
	places    *places    // of checkpoints in buckets, shared with other sessions; nil: the session's own
}

func (o Options) withDefaults() Options {
	if o.CheckpointDir == "" {
		o.CheckpointDir = defaultCheckpoints
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Session holds tables, views, functions, settings and running queries. It may
// be used by several goroutines.
type Session struct {
	net     *inproc.Network
	crew    crew
	conns   *connectors
	logs    queryLogs
	buckets *buckets
	spill   string // a folder that is made by whoever needs it first
	planHooks

	// otherRoutes are the routes of HTTP in place of the session's own; nil for those.
	otherRoutes func() []auth.Route

	opts   Options
	set    *settings
	cat    *catalog
	reg    *registry
	memory *memory.Budget
	// admission says when queries begin that share workers.
	admission *driver.Admission
	state     *tiered.Pool // the room in memory that all queries' state shares
	// ungovern ends what the collector does for the budget.
	ungovern func()
	mu       struct {
		sync.Mutex
		queries []*Query
		closed  bool
	}
}

// NewSession makes a session.
func NewSession(opts Options) (*Session, error) {
	opts = opts.withDefaults()
	set, err := newSettings(opts.Settings)
	if err != nil {
		return nil, err
	}
	s := &Session{opts: opts, set: set, cat: newCatalog()}
	s.cat.files, s.cat.state = s.fileRelation, s.stateRelation
	s.cat.known = func(format string) bool { _, err := s.reg.formats.Lookup(format); return err == nil }
	s.memory = memory.NewBudget(s.memoryLimit())
	s.state = tiered.NewPool(tiered.PoolOptions{Budget: s.memory})
	s.admit()
	s.reg = newRegistry(s)
	s.conns = &connectors{s: s}
	s.buckets = &buckets{set: s.set, shared: opts.places}
	if s.logs = newFileLogs(); s.opts.workforce != nil && s.opts.workforce.logs != nil {
		s.logs = s.opts.workforce.logs.in(s.buckets)
	}
	s.conns.mu.byQuery = map[batch.QueryID]*resources{}
	s.net = inproc.New(inproc.Options{})
	if s.spill, err = spillFolder(set.get(setTemp)); err != nil {
		return nil, err
	}
	if err = s.startCrew(opts.Workers); err != nil {
		return nil, err
	}
	s.ungovern = s.memory.Govern()
	return s, nil
}

// spillFolder names the folder for what does not fit into memory, and removes
// those that killed processes have left beside it.
func spillFolder(parent string) (string, error) {
	if parent != "" {
		if info, err := os.Stat(parent); err != nil || !info.IsDir() {
			return "", batch.UserErrorf("the folder for what does not fit into memory, '%s', is not there; set '%s'", parent, setTemp.Key)
		}
	}
	scratch.RemoveDead(parent)
	return scratch.Name(parent), nil
}

// buffers is where column memory of the process comes from, below the budget. The
// Go heap would be two to ten times slower for columns of some thousand rows.
var buffers = vec.NewPooled()

// defaultCheckpoints is Options.CheckpointDir if it is not set.
const defaultCheckpoints = "checkpoints"

// memoryLimit is the setting, or three quarters of the machine's memory.
func (s *Session) memoryLimit() int64 {
	if n := s.set.snapshot().Bytes(setMemory); n > 0 {
		return n
	}
	return memory.Machine() / 4 * 3
}

// parallelism is the number of partitions of a stage.
func (s *Session) parallelism() int {
	if n := int(s.set.snapshot().Int(setParallelism)); n > 0 {
		return min(n, batch.KeyGroups)
	}
	return min(runtime.GOMAXPROCS(0), batch.KeyGroups)
}

func (s *Session) zone() string { return s.set.get(setZone) }

// Set changes a setting, as SET does.
func (s *Session) Set(key, value string) error {
	if s.opts.workforce != nil && strings.EqualFold(key, setQueriesMax.Key) {
		return batch.UserErrorf("SET %s: it is the cluster's, not a pipeline's: sluice driver --set %s=%s", setQueriesMax.Key, setQueriesMax.Key, value)
	}
	if err := s.set.set(key, value); err != nil {
		return err
	}
	s.resize()
	return nil
}

// Reset gives a setting its default again, as RESET does; all of them if key is empty.
func (s *Session) Reset(key string) error {
	if err := s.set.reset(key); err != nil {
		return err
	}
	s.resize()
	return nil
}

// Close stops all queries and gives memory back.
func (s *Session) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	queries := append([]*Query{}, s.mu.queries...)
	s.mu.Unlock()
	var errs []error
	for _, q := range queries {
		q.Stop()
	}
	for _, q := range queries {
		if err := q.Await(context.Background()); err != nil && !q.reported() {
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.crew.close())
	s.state.Close()
	s.reg.closeMemory()
	s.ungovern()
	errs = append(errs, os.RemoveAll(s.spill), s.buckets.close())
	return errors.Join(errs...)
}

// usable is an error after Close.
func (s *Session) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return batch.UserErrorf("the session is closed")
	}
	return nil
}

// Result is what one statement of a script gave.
type Result struct {
	Schema  *arrow.Schema // of Rows
	Rows    Reader        // nil for a statement without rows; close it
	Zone    string        // in which timestamps are shown
	Message string        // e.g. "table hot created"
	Plan    string        // of EXPLAIN, and of every query under Options.ExplainOnly
	Query   *Query        // that the statement started
}

// Run executes a script. each gets the result of every statement and reads its
// rows before it returns. The first error ends the script.
func (s *Session) Run(ctx context.Context, script string, each func(*Result) error) error {
	stmts, err := parser.Parse(script, s.parserOptions())
	if err != nil {
		return err
	}
	for i := 0; i < len(stmts); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := s.execute(ctx, stmts[i])
		if err != nil {
			return err
		}
		if err := each(r); err != nil {
			return err
		}
		if set, ok := stmts[i].(*ast.Set); ok && set.Key == setDoubleQuoted.Key {
			// What follows is read anew: quotes mean something else now.
			if stmts, err = parser.Parse(script, s.parserOptions()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Session) parserOptions() parser.Options {
	return parser.Options{DoubleQuotedIdentifiers: s.set.snapshot().Bool(setDoubleQuoted)}
}

// Exec executes a script and throws its rows away.
func (s *Session) Exec(ctx context.Context, script string) error {
	return s.Run(ctx, script, func(r *Result) error {
		if r.Rows == nil {
			return nil
		}
		_, err := collect(ctx, r.Rows)
		return err
	})
}

// SQL makes a DataFrame of a query.
func (s *Session) SQL(_ context.Context, query string) (*DataFrame, error) {
	q, err := parser.ParseQuery(query, s.parserOptions())
	if err != nil {
		return nil, err
	}
	n, err := s.bindQuery(q)
	if err != nil {
		return nil, err
	}
	return &DataFrame{s: s, node: n}, nil
}

// Table makes a DataFrame of a table or view. A fault is reported when it is used.
func (s *Session) Table(name string) *DataFrame {
	n, err := parserName(name, s.parserOptions())
	if err != nil {
		return &DataFrame{s: s, err: err}
	}
	q := &ast.Query{Body: &ast.Select{
		Items: []ast.SelectItem{{Expr: &ast.Star{}}}, From: []ast.Table{&ast.TableName{Name: *n}},
	}}
	node, err := s.bindQuery(q)
	return &DataFrame{s: s, node: node, err: err, alias: n.Parts[len(n.Parts)-1].Name}
}

func parserName(name string, opts parser.Options) (*ast.Name, error) {
	n, err := parser.ParseName(name, opts)
	if err != nil {
		return nil, fmt.Errorf("table name %q: %w", name, err)
	}
	return n, nil
}

// bindQuery turns a query into a logical plan. A DataFrame binds tables as
// streams where they can be; what runs it as a batch reads them as they are now.
func (s *Session) bindQuery(q *ast.Query) (logical.Node, error) {
	n, err := sql.BindQuery(s.cat, q, s.bindOptions())
	return n, refused(err)
}

func (s *Session) bindOptions() sql.Options { return sql.Options{Zone: s.zone()} }

// IsSyntaxOrPlanError reports whether err is a fault of the SQL text: it was
// refused before anything ran.
func IsSyntaxOrPlanError(err error) bool {
	var pos *ast.PosError
	var plan *planError
	return errors.As(err, &pos) || errors.As(err, &plan)
}

// planError marks a refusal that carries no position of its own.
type planError struct{ err error }

func (e *planError) Error() string { return e.err.Error() }
func (e *planError) Unwrap() error { return e.err }

// refused marks an error of binding or planning.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return &planError{err}
}
