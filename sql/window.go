package sql

import (
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// windowFuncs are the window table functions and their parameters in order.
var windowFuncs = map[string]struct {
	kind   logical.WindowKind
	params []string
	least  int // parameters that must be given
}{
	"TUMBLE":   {logical.Tumble, []string{"DATA", "TIMECOL", "SIZE", "OFFSET"}, 3},
	"HOP":      {logical.Hop, []string{"DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"}, 4},
	"CUMULATE": {logical.Cumulate, []string{"DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"}, 4},
}

// tableFunc binds a function in FROM.
func (b *binder) tableFunc(t *ast.TableFunc) (*scope, error) {
	name := strings.ToUpper(t.Call.Name.Parts[len(t.Call.Name.Parts)-1].Name)
	f, ok := windowFuncs[name]
	if def := b.function(t.Call.Name); def != nil && !ok {
		return b.tableMacro(t, def)
	}
	switch {
	case ok && len(t.Call.Name.Parts) == 1:
	case generatorName(t.Call) != "":
		sc := emptyScope()
		return sc, b.generatorFrom(sc, t, "", nil, false)
	case isFileFunction(name):
		return b.fileTable(t, name)
	case name == "RANGE", name == "GENERATE_SERIES":
		return b.rangeTable(t, name)
	case name == "SESSION":
		return b.sessionTable(t)
	case name == "DROP_DUPLICATES":
		return b.dropDuplicates(t)
	case isStateFunction(name):
		return b.stateTable(t, name)
	default:
		err := ast.Errorf(t.Pos, "unknown table function %q", t.Call.Name.String())
		if near := ast.Nearest(name, []string{"TUMBLE", "HOP", "CUMULATE", "SESSION"}); near != "" {
			return nil, err.WithHint("did you mean %s?", near)
		}
		return nil, err.WithHint("there are TUMBLE, HOP, CUMULATE and SESSION")
	}
	if t.Ordinality || t.Call.Distinct || t.Call.OrderBy != nil || t.Call.Nulls != "" || t.Call.WithinGroup != nil {
		return nil, ast.Errorf(t.Pos, "%s takes arguments alone: neither DISTINCT, ORDER BY nor WITH ORDINALITY", name)
	}
	args, err := namedArgs(t.Call, name, f.params, f.least)
	if err != nil {
		return nil, err
	}
	sc, err := b.windowData(args["DATA"], name)
	if err != nil {
		return nil, err
	}
	w := &logical.Window{Kind: f.kind}
	if w.Time, err = b.timeColumn(sc, args["TIMECOL"], name); err != nil {
		return nil, err
	}
	for _, p := range f.params[2:] {
		a := args[p]
		if a == nil {
			continue
		}
		d, err := b.duration(a, name+": "+p, p == "OFFSET")
		if err != nil {
			return nil, err
		}
		switch p {
		case "SIZE":
			w.Size = d
		case "OFFSET":
			w.Offset = d
		default:
			w.Slide = d
		}
	}
	if f.kind == logical.Cumulate && w.Size%w.Slide != 0 {
		return nil, ast.Errorf(args["SIZE"].Position(), "CUMULATE: the size %s must be a multiple of the step %s", w.Size, w.Slide)
	}
	addWindow(sc, w)
	return sc, nil
}

// addWindow puts a Window over a scope and names its three columns.
func addWindow(sc *scope, w *logical.Window) {
	n := sc.node.Schema().NumFields()
	w.Input = sc.node
	sc.node = w
	for i, f := range w.Schema().Fields()[n:] {
		sc.add(scopeCol{name: f.Name, e: columnOf(n+i, f)})
	}
}

// namedArgs pairs arguments with parameters, by position or by name.
func namedArgs(c *ast.Call, name string, params []string, least int) (map[string]ast.Expr, error) {
	out := map[string]ast.Expr{}
	for i, a := range c.Args {
		if n, ok := a.(*ast.NamedArg); ok {
			p := strings.ToUpper(n.Name.Name)
			if !contains(params, p) {
				err := ast.Errorf(n.Pos, "%s has no parameter %q", name, n.Name.Name)
				if near := ast.Nearest(p, params); near != "" {
					return nil, err.WithHint("did you mean %s?", near)
				}
				return nil, err.WithHint("it has %s", strings.Join(params, ", "))
			}
			out[p] = n.X
			continue
		}
		if i >= len(params) {
			return nil, ast.Errorf(a.Position(), "%s takes at most %d arguments: %s", name, len(params), strings.Join(params, ", "))
		}
		out[params[i]] = a
	}
	for _, p := range params[:least] {
		if out[p] == nil {
			return nil, ast.Errorf(c.Pos, "%s needs %s: %s(TABLE t, DESCRIPTOR(ts), %s)", name, p, name,
				strings.TrimSuffix(strings.Repeat("INTERVAL '..' MINUTE, ", least-2), ", "))
		}
	}
	return out, nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// windowData binds TABLE t, or a query.
func (b *binder) windowData(e ast.Expr, name string) (*scope, error) {
	var sc *scope
	var err error
	switch e := e.(type) {
	case *ast.TableArg:
		if e.PartitionBy != nil || e.OrderBy != nil {
			return nil, ast.Errorf(e.Pos, "%s takes neither PARTITION BY nor ORDER BY", name)
		}
		if e.Query != nil {
			sc, err = b.query(e.Query)
		} else {
			sc, err = b.tableName(&ast.TableName{Pos: e.Table.Pos, Name: e.Table})
		}
	case *ast.Subquery:
		sc, err = b.query(e.Query)
	case *ast.Column:
		return nil, ast.Errorf(e.Pos, "the first argument of %s is written TABLE %s", name, ast.SQL(e))
	default:
		return nil, ast.Errorf(e.Position(), "the first argument of %s is TABLE t", name)
	}
	if err != nil {
		return nil, err
	}
	return sc.projected(), nil
}

func (b *binder) timeColumn(sc *scope, e ast.Expr, name string) (expr.Expr, error) {
	d, ok := e.(*ast.Descriptor)
	if !ok || len(d.Columns) != 1 {
		return nil, ast.Errorf(e.Position(), "%s needs one time column: DESCRIPTOR(ts)", name)
	}
	x := &exprBinder{b: b, sc: sc, clause: name}
	v, err := x.column(&ast.Column{Pos: d.Columns[0].Pos, Parts: d.Columns})
	if err != nil {
		return nil, err
	}
	return v, checkTime(d.Columns[0].Pos, v, name)
}

func checkTime(pos ast.Pos, v expr.Expr, name string) error {
	if v.Type().ID() != arrow.TIMESTAMP {
		return ast.Errorf(pos, "%s needs a TIMESTAMP, found %s", name, expr.TypeName(v.Type()))
	}
	return nil
}

// duration evaluates a constant length of time: an interval or its text.
func (b *binder) duration(e ast.Expr, what string, zero bool) (time.Duration, error) {
	var a ast.Amount
	var err error
	switch e := e.(type) {
	case *ast.Interval:
		a, err = e.Amount()
	case *ast.Literal:
		if e.Kind != ast.LitString {
			return 0, ast.Errorf(e.Pos, "%s must be an interval such as INTERVAL '10' MINUTE or '10 minutes'", what)
		}
		a, err = ast.ParseInterval(e.Text)
	default:
		return 0, ast.Errorf(e.Position(), "%s must be a constant interval such as INTERVAL '10' MINUTE", what)
	}
	if err != nil {
		return 0, ast.Errorf(e.Position(), "%s: %w", what, err)
	}
	if a.YearMonth {
		return 0, ast.Errorf(e.Position(), "%s: months and years have no fixed length; use days or smaller units", what)
	}
	if !zero && a.Micros <= 0 {
		return 0, ast.Errorf(e.Position(), "%s must be above zero", what)
	}
	const maxMicros = int64(1<<63-1) / 1000
	if a.Micros > maxMicros || a.Micros < -maxMicros {
		return 0, ast.Errorf(e.Position(), "%s is out of range", what)
	}
	return time.Duration(a.Micros) * time.Microsecond, nil
}

// window binds Spark's window(ts, size [, slide [, start]]): it adds a Window to
// the plan below and is a struct of its two columns.
func (x *exprBinder) window(c *ast.Call) (expr.Expr, error) {
	switch {
	case !x.canJoin() || x.lambda != nil || x.inAgg:
		return nil, ast.Errorf(c.Pos, "window cannot stand in %s", x.clause)
	case len(c.Args) < 2 || len(c.Args) > 4:
		return nil, ast.Errorf(c.Pos, "window takes a time, a size and perhaps a slide and a start: window(ts, '10 minutes', '5 minutes')")
	}
	ts, err := x.bind(c.Args[0])
	if err != nil {
		return nil, err
	}
	if _, end, ok := windowColumns(ts); ok { // a window over a window is over its last instant
		if ts, err = x.lastInstant(c.Args[0].Position(), end); err != nil {
			return nil, err
		}
	}
	if err := checkTime(c.Args[0].Position(), ts, "window"); err != nil {
		return nil, err
	}
	w := &logical.Window{Kind: logical.Tumble, Time: ts}
	if w.Size, err = x.b.duration(c.Args[1], "window: the size", false); err != nil {
		return nil, err
	}
	if len(c.Args) > 2 {
		if w.Slide, err = x.b.duration(c.Args[2], "window: the slide", false); err != nil {
			return nil, err
		}
		if w.Slide > w.Size {
			return nil, ast.Errorf(c.Args[2].Position(), "window: the slide %s must not be above the size %s", w.Slide, w.Size)
		}
		w.Kind = logical.Hop
		if w.Slide == w.Size {
			w.Kind, w.Slide = logical.Tumble, 0
		}
	}
	if len(c.Args) > 3 {
		if w.Offset, err = x.b.duration(c.Args[3], "window: the start", true); err != nil {
			return nil, err
		}
	}
	return x.windowStruct(c.Pos, w)
}

// windowStruct returns the struct for a window, which is added to the plan
// unless an equal one is there.
func (x *exprBinder) windowStruct(pos ast.Pos, w *logical.Window) (expr.Expr, error) {
	n := x.sc.node.Schema().NumFields()
	for in := x.sc.node; ; {
		have, ok := in.(*logical.Window)
		if !ok {
			w.Input = x.sc.node
			x.sc.node = w
			break
		}
		first := have.Input.Schema().NumFields()
		if have.String() == w.String() {
			n = first
			break
		}
		in = have.Input
	}
	f := x.sc.node.Schema().Fields()
	start, end := columnOf(n, f[n]), columnOf(n+1, f[n+1])
	x.b.at[start], x.b.at[end] = pos, pos
	e, err := structOfWindow(start, end)
	return e, at(pos, err)
}

// windowColumns recognises the struct of a window.
func windowColumns(e expr.Expr) (start, end expr.Expr, ok bool) {
	vals := structValues(e)
	if len(vals) != 2 {
		return nil, nil, false
	}
	s, ok1 := vals[0].(*expr.Column)
	t, ok2 := vals[1].(*expr.Column)
	if !ok1 || !ok2 || s.Name != "window_start" || t.Name != "window_end" {
		return nil, nil, false
	}
	return s, t, true
}

// windowTime binds window_time(window): the last instant that lies in it.
func (x *exprBinder) windowTime(c *ast.Call) (expr.Expr, error) {
	if len(c.Args) != 1 {
		return nil, ast.Errorf(c.Pos, "window_time takes one argument, a window")
	}
	v, err := x.bind(c.Args[0])
	if err != nil {
		return nil, err
	}
	_, end, ok := windowColumns(v)
	if !ok {
		return nil, ast.Errorf(c.Args[0].Position(), "window_time takes a window, made with window(..)")
	}
	return x.lastInstant(c.Pos, end)
}

func (x *exprBinder) lastInstant(pos ast.Pos, end expr.Expr) (expr.Expr, error) {
	return x.apply(pos, "-", end, &expr.Literal{Value: int64(1), DT: expr.TypeDuration})
}
