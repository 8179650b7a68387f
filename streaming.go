package sluice

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
)

// insert runs INSERT INTO: from a stream under a pipeline it starts a streaming
// query with the defaults, else it writes what the tables hold now.
func (s *Session) insert(ctx context.Context, st *ast.Insert) (*Result, error) {
	opts := s.bindOptions()
	opts.Definitions = s.pipeline(ctx)
	in, err := sql.BindInsert(s.cat, st, opts)
	if err != nil {
		return nil, refused(err)
	}
	if s.pipeline(ctx) && logical.Streaming(in.Plan) {
		if in.Overwrite {
			return nil, ast.Errorf(st.Pos, "INSERT OVERWRITE cannot take a stream; use OUTPUT MODE complete")
		}
		d := s.defaultQuery(in, ast.SQL(st))
		if again, err := sql.BindInsert(s.pinnedCatalog(s.dir(d)), st, opts); err == nil {
			d = s.defaultQuery(again, ast.SQL(st))
		}
		return s.startStatement(ctx, d, st)
	}
	if s.explains(ctx) {
		plan, err := s.explain(ctx, in.Plan)
		return &Result{Plan: plan}, err
	}
	mode := sinks.Append
	if in.Overwrite {
		mode = sinks.Complete
	}
	rows, err := s.insertBatch(ctx, insertDef{node: in.Plan, table: in.Target}, mode)
	if err != nil {
		return nil, err
	}
	return message("%d rows inserted into %s", rows, in.Target.Name), nil
}

// defaultQuery names an INSERT by its target and text, so that the same script
// finds the same checkpoint again.
func (s *Session) defaultQuery(in *sql.Insert, text string) *queryDef {
	h := fnv.New32a()
	fmt.Fprint(h, text)
	return &queryDef{
		name: fmt.Sprintf("insert_%s_%08x", in.Target.Name, h.Sum32()), text: text, mode: sinks.Append,
		inserts: []insertDef{{node: in.Plan, table: in.Target}},
	}
}

// createStreamingQuery declares a query and starts it.
func (s *Session) createStreamingQuery(ctx context.Context, st *ast.CreateStreamingQuery) (*Result, error) {
	name := nameText(st.Name)
	old, exists := s.Query(name)
	switch {
	case exists && st.IfNotExists:
		return message("streaming query %s exists", name), nil
	case exists && !st.OrReplace:
		return nil, ast.Errorf(st.Name.Pos, "streaming query %q exists already; STOP and DROP it, or use CREATE OR REPLACE", name)
	}
	d, err := s.declare(st)
	if err != nil {
		return nil, err
	}
	if !exists || s.explains(ctx) {
		return s.startStatement(ctx, d, st)
	}
	return s.replaceBy(ctx, old, d, st)
}

// declare binds a query's statement.
func (s *Session) declare(st *ast.CreateStreamingQuery) (*queryDef, error) {
	d := &queryDef{name: nameText(st.Name), text: ast.SQL(st), mode: sinks.Append, checkpoint: st.Clauses.Checkpoint, stmt: st,
		startFrom: startFrom{from: st.Clauses.From, parallelism: st.Clauses.Parallelism}}
	cat := s.pinnedCatalog(s.dir(d))
	for _, i := range st.Inserts {
		opts := s.bindOptions()
		opts.Definitions = true
		in, err := sql.BindInsert(cat, i, opts)
		if err != nil {
			return nil, refused(err)
		}
		d.inserts = append(d.inserts, insertDef{node: in.Plan, table: in.Target})
	}
	if st.Bootstrap {
		d.boot = &bootStart{}
	}
	return d, clauses(d, &st.Clauses)
}

// replaceBy ends a query for another of its name. What can be seen now to be
// refused leaves the old one running.
func (s *Session) replaceBy(ctx context.Context, old *Query, d *queryDef, st ast.Stmt) (_ *Result, err error) {
	pq, targets, hash, err := s.planWhole(d)
	if err != nil {
		return nil, s.at(err, st)
	}
	same := s.dir(d) == old.dir && hash != old.hash
	boots := same && s.bootstraps(d)
	switch {
	case boots && old.running():
		b, err := s.bootstrapBeside(ctx, old, d, pq, targets)
		if err != nil {
			return nil, s.at(refused(fmt.Errorf("%w. The old query goes on", err)), st)
		}
		defer func() { err = errors.Join(err, b.close()) }()
		d.boot = &bootStart{prepared: b, former: &formerQuery{old.plan, old.targets}}
	case boots:
		d.boot = &bootStart{former: &formerQuery{old.plan, old.targets}}
	case same:
		if err := s.fits(old, pq, targets); err != nil {
			return nil, s.at(refused(batch.UserErrorf("%w. The old query goes on", err)), st)
		}
	}
	old.Stop()
	if err := old.Await(ctx); err != nil && ctx.Err() != nil {
		return nil, err
	}
	res, err := s.startStatement(ctx, d, st)
	d.boot = nil
	if err != nil && boots && ctx.Err() == nil {
		if _, again := s.start(ctx, old.def); again == nil {
			err = fmt.Errorf("%w. The old query goes on", err)
		}
	}
	return res, err
}

// startStatement starts a query, or explains it.
func (s *Session) startStatement(ctx context.Context, d *queryDef, st ast.Stmt) (*Result, error) {
	if s.explains(ctx) {
		var was *state.PlanInfo
		if s.former != nil {
			was = s.former(d)
		}
		pq, targets, err := s.planOn(d, was)
		if err != nil {
			return nil, s.at(err, st)
		}
		if s.planned != nil {
			s.planned(d, pq, targets)
		}
		return &Result{Plan: planIn(ctx, pq, d.name, string(d.mode)) + s.explainQuota(ctx)}, nil
	}
	q, err := s.start(ctx, d)
	if err != nil {
		return nil, s.at(err, st)
	}
	return &Result{Message: fmt.Sprintf("streaming query %s started", d.name), Query: q}, nil
}

// at gives a refusal without a position that of its statement.
func (s *Session) at(err error, st ast.Stmt) error {
	if k, _ := batch.KindOf(err); k == batch.User && IsSyntaxOrPlanError(err) {
		return s.located(err, st.Position())
	}
	return err
}

// clauses reads TRIGGER, OUTPUT MODE and the rest. What this version cannot do
// is refused here.
func clauses(d *queryDef, c *ast.StreamingClauses) error {
	if c.OutputMode != "" {
		d.mode = sinks.Mode(strings.ToLower(c.OutputMode))
	}
	if c.Late != nil {
		if err := lates(d, c.Late); err != nil {
			return err
		}
	}
	if c.Trigger != nil {
		t, err := trigger(c.Trigger.Kind, c.Trigger.Value)
		if err != nil {
			return ast.Errorf(c.Trigger.Pos, "%s", err.Error())
		}
		d.trigger = t
	}
	if c.Emit != nil {
		return emits(d, c)
	}
	return nil
}

// trigger makes a trigger of its SQL spelling.
func trigger(kind, value string) (microbatch.Trigger, error) {
	t := microbatch.Trigger{}
	switch strings.ToUpper(kind) {
	case "", "IMMEDIATE":
		return t, nil
	case "AVAILABLE NOW":
		t.Kind = microbatch.AvailableNow
		return t, nil
	case "ONCE":
		t.Kind = microbatch.Once
		return t, nil
	case "CRON":
		t.Kind, t.Schedule = microbatch.Cron, value
		return t, t.Validate()
	case "EVERY", "LATENCY":
		t.Kind = microbatch.Every
		if strings.EqualFold(kind, "LATENCY") {
			t.Kind = microbatch.Latency
		}
		d, err := options.ParseDuration(value)
		if err != nil {
			return t, fmt.Errorf("TRIGGER %s: %w; write for example '1 second' or '100ms'", kind, err)
		}
		t.Interval = d
		return t, t.Validate()
	}
	return t, fmt.Errorf("unknown trigger %q", kind)
}

// controlStreamingQuery is STOP, START and DROP STREAMING QUERY.
func (s *Session) controlStreamingQuery(ctx context.Context, st *ast.ControlStreamingQuery) (*Result, error) {
	name := nameText(st.Name)
	if strings.EqualFold(st.Action, "DROP") {
		return s.dropQuery(name, st.IfExists, st.Name.Pos)
	}
	q, err := s.namedQuery(name, st.Name.Pos)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(st.Action, "STOP") {
		q.Stop()
		return message("streaming query %s stopped", name), q.Await(ctx)
	}
	if st.Bootstrap {
		return s.startRebuilt(ctx, q, st)
	}
	if q.running() {
		return message("streaming query %s is running", name), nil
	}
	if err := q.cleanUp(); err != nil {
		return nil, err
	}
	if _, err := s.start(ctx, q.def); err != nil {
		return nil, err
	}
	return message("streaming query %s started", name), nil
}

func (q *Query) running() bool {
	select {
	case <-q.drv.Done():
		return false
	default:
		return true
	}
}

// startRebuilt answers START STREAMING QUERY q WITH BOOTSTRAP: the query's text is
// bound anew, since views and tables may have changed, and what it lacks is rebuilt.
func (s *Session) startRebuilt(ctx context.Context, q *Query, st *ast.ControlStreamingQuery) (*Result, error) {
	d := q.def
	if d.stmt != nil {
		var err error
		if d, err = s.declare(d.stmt); err != nil {
			return nil, err
		}
		d.from, d.parallelism = nil, q.def.parallelism
	}
	_, _, hash, err := s.planWhole(d)
	if err != nil {
		return nil, s.at(err, st)
	}
	if hash == q.hash && q.running() {
		return message("streaming query %s is running, and has not changed", q.Name()), nil
	}
	d.boot = &bootStart{}
	return s.replaceBy(ctx, q, d, st)
}

// namedQuery finds a query for a statement.
func (s *Session) namedQuery(name string, pos ast.Pos) (*Query, error) {
	if q, ok := s.Query(name); ok {
		return q, nil
	}
	var names []string
	for _, q := range s.Queries() {
		names = append(names, q.Name())
	}
	return nil, ast.Errorf(pos, "there is no streaming query %q%s", name, options.Suggest(name, names))
}

// dropQuery stops a query and forgets it. Its checkpoint stays: a query of the
// same name and text goes on from it.
func (s *Session) dropQuery(name string, ifExists bool, pos ast.Pos) (*Result, error) {
	q, ok := s.Query(name)
	if !ok {
		if ifExists {
			return message("there is no streaming query %s", name), nil
		}
		_, err := s.namedQuery(name, pos)
		return nil, err
	}
	q.Stop()
	err := q.Await(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, o := range s.mu.queries {
		if o == q {
			s.mu.queries = append(s.mu.queries[:i], s.mu.queries[i+1:]...)
			break
		}
	}
	return message("streaming query %s dropped; its checkpoint stays in %s", name, q.Checkpoint()), err
}
