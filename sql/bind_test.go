package sql

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// memCatalog is a catalog of what a test script created.
type memCatalog struct{ rels map[string]*Relation }

func (c *memCatalog) Relation(name string) (*Relation, error) {
	return c.rels[strings.ToLower(name)], nil
}

func (c *memCatalog) Relations() []string {
	var out []string
	for _, r := range c.rels {
		out = append(out, r.Name)
	}
	slices.Sort(out)
	return out
}

func (c *memCatalog) Functions() []string { return []string{"my_double"} }

func (c *memCatalog) Scalar(name string, args []expr.Expr) (expr.Expr, error) {
	if name != "my_double" {
		return nil, nil
	}
	if len(args) != 1 {
		return nil, errors.New("my_double takes one argument")
	}
	f := &expr.Function{Name: "my_double", Strict: true}
	return &expr.Call{Func: f, Args: args, DT: expr.TypeDouble, Null: true}, nil
}

func (c *memCatalog) Aggregate(string, []expr.Expr) (*expr.AggCall, error) { return nil, nil }

var _ Catalog = (*memCatalog)(nil)

// TestData runs testdata/*: `exec` creates tables and views, `plan` binds a
// query or INSERT and prints the plan and its columns. Errors are printed as the
// user sees them, and must be PosErrors of kind User (B1).
func TestData(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		cat := &memCatalog{rels: map[string]*Relation{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			stmts, err := parser.Parse(d.Input, parser.Options{})
			if err != nil {
				return "syntax error: " + err.Error()
			}
			opts := Options{}
			d.MaybeScanArgs(t, "zone", &opts.Zone)
			var b strings.Builder
			for _, s := range stmts {
				out, err := run(cat, s, opts)
				if err != nil {
					var pe *ast.PosError
					if kind, _ := batch.KindOf(err); !errors.As(err, &pe) || pe.Pos.IsZero() || kind != batch.User {
						t.Errorf("%v is not an error of the user's at a place", err)
					}
					return "error: " + err.Error()
				}
				b.WriteString(out)
			}
			return b.String()
		})
	})
}

func run(cat *memCatalog, s ast.Stmt, opts Options) (string, error) {
	switch s := s.(type) {
	case *ast.CreateTable:
		def, err := BuildTable(cat, s, "", opts)
		if err != nil {
			return "", err
		}
		def.Stream = def.Options["stream"] == "true"
		cat.rels[strings.ToLower(def.Name)] = &Relation{Name: def.Name, Table: def}
	case *ast.CreateView:
		v := &ViewDef{Query: s.Query}
		for _, c := range s.Columns {
			v.Columns = append(v.Columns, c.Name.Name)
		}
		cat.rels[strings.ToLower(s.Name.String())] = &Relation{Name: s.Name.String(), View: v}
	case *ast.Describe:
		t := cat.rels[strings.ToLower(s.Name.String())].Table
		out := fmt.Sprintf("%s connector=%s keys=%v partition=%v watermark=%t\n", t.Name, t.Connector, t.Keys, t.Partition, t.Watermark != nil)
		for _, k := range slices.Sorted(maps.Keys(t.Options)) {
			out += fmt.Sprintf("  %s = %s\n", k, t.Options[k])
		}
		for _, c := range t.Columns {
			out += fmt.Sprintf("  %s %v null=%t physical=%d virtual=%t\n", c.Name, c.Type, c.Null, c.Physical, c.Virtual)
		}
		return out, nil
	case *ast.QueryStmt:
		n, err := BindQuery(cat, s.Query, opts)
		if err != nil {
			return "", err
		}
		return show(n), nil
	case *ast.Insert:
		in, err := BindInsert(cat, s, opts)
		if err != nil {
			return "", err
		}
		return "into " + in.Target.Name + "\n" + show(in.Plan), nil
	}
	return "", nil
}

func show(n logical.Node) string {
	var cols []string
	for _, f := range n.Schema().Fields() {
		s := f.Name + " " + expr.TypeName(f.Type)
		if !f.Nullable {
			s += " NOT NULL"
		}
		cols = append(cols, s)
	}
	return logical.Explain(n) + "-> " + strings.Join(cols, ", ") + "\n"
}

// TestLongChains binds what is thousands of links long, which must neither
// overflow a stack nor take quadratic time.
func TestLongChains(t *testing.T) {
	cat := &memCatalog{rels: map[string]*Relation{}}
	def := &TableDef{Name: "t"}
	def.Complete(arrow.NewSchema([]arrow.Field{{Name: "a", Type: expr.TypeInt32, Nullable: true}}, nil))
	cat.rels["t"] = &Relation{Name: "t", Table: def}
	rep := strings.Repeat
	for _, text := range []string{
		"SELECT a FROM t WHERE a = 0" + rep(" OR a = 1", 10_000),
		"SELECT a FROM t WHERE a = 0" + rep(" AND a <> 1", 10_000),
		"SELECT a" + rep(" + 1", 9_000) + " FROM t",
		"SELECT a" + rep(" + 1", 3_000) + ", count(*) FROM t GROUP BY a",
		"SELECT 1" + rep(" UNION ALL SELECT 1", 5_000),
		"SELECT a FROM t WHERE a IN (0" + rep(", 1", 20_000) + ")",
		"SELECT " + rep("a, ", 5_000) + "a FROM t",
	} {
		q, err := parser.ParseQuery(text, parser.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := BindQuery(cat, q, Options{}); err != nil {
			t.Errorf("%.40s..: %v", text, err)
		}
	}
}

// TestBombs feeds short texts that mean billions of parts. Each must be refused
// or bound quickly, and what is bound must be small enough to print.
func TestBombs(t *testing.T) {
	nest := func(n int, open, mid, close string) string {
		return strings.Repeat(open, n) + mid + strings.Repeat(close, n)
	}
	ctes := func(body string) string {
		var b strings.Builder
		b.WriteString("WITH c0 AS (SELECT 1 AS x, 2 AS y)")
		for i := 1; i <= 60; i++ {
			fmt.Fprintf(&b, ", c%d AS ("+body+")", i, i-1)
		}
		return b.String() + " SELECT count(*) FROM c60"
	}
	aliases := "SELECT 1 AS a0"
	for i := 1; i <= 60; i++ {
		aliases += fmt.Sprintf(", a%d + a%d AS a%d", i-1, i-1, i)
	}
	cat := &memCatalog{rels: map[string]*Relation{}}
	for i := 0; i <= 60; i++ {
		text := "SELECT 1 AS x"
		if i > 0 {
			text = fmt.Sprintf("SELECT a.x FROM v%[1]d a, v%[1]d b", i-1)
		}
		q, err := parser.ParseQuery(text, parser.Options{})
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("v%d", i)
		cat.rels[name] = &Relation{Name: name, View: &ViewDef{Query: q}}
	}
	for _, text := range []string{
		aliases,
		ctes("SELECT p.x FROM c%[2]d p, c%[2]d q"),
		ctes("SELECT *, * FROM c%[2]d"),
		ctes("SELECT x FROM c%[2]d UNION ALL SELECT x FROM c%[2]d"),
		"SELECT * FROM v60",
		"SELECT " + nest(200, "coalesce(", "1", ", 2)"),
		"SELECT " + nest(200, "nullif(", "1", ", 2)"),
		"SELECT " + nest(200, "(", "true", " BETWEEN true AND true)"),
		"SELECT " + nest(200, "CASE ", "1", " WHEN 1 THEN 1 WHEN 2 THEN 2 END"),
	} {
		q, err := parser.ParseQuery(text, parser.Options{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := BindQuery(cat, q, Options{})
		var pe *ast.PosError
		switch {
		case err == nil:
			logical.Explain(n)
		case !errors.As(err, &pe):
			t.Errorf("%.60s..: %v", text, err)
		}
	}
}

// TestBindExpr binds over the columns of a plan, as the DataFrame API does.
func TestBindExpr(t *testing.T) {
	in := arrow.NewSchema([]arrow.Field{{Name: "a", Type: expr.TypeInt32}, {Name: "b", Type: expr.TypeString}}, nil)
	for text, want := range map[string]string{
		"a + 1":     "(a#0 + 1)",
		"b IS NULL": "is_null(b#1)",
		"sum(a)":    "1:1: sum is an aggregate function and cannot stand in this expression",
		"c":         `1:1: unknown column "c"; there are "a" and "b"`,
	} {
		e, err := parser.ParseExpr(text, parser.Options{})
		if err != nil {
			t.Fatal(err)
		}
		x, err := BindExpr(nil, e, in, Options{})
		got := fmt.Sprint(x)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
