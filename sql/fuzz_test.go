package sql

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// FuzzBind holds B1: no text makes the binder panic, every refusal is a
// PosError, and a plan that comes out has a schema and prints. The seeds are
// the statements of testdata.
func FuzzBind(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		if st, err := os.Stat(name); err != nil || st.IsDir() {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, block := range strings.Split(string(text), "\n\n") {
			if _, rest, ok := strings.Cut(block, "\n"); ok && strings.HasPrefix(block, "plan") {
				in, _, _ := strings.Cut(rest, "\n----")
				f.Add(in)
			}
		}
	}
	cat := fuzzCatalog(f)
	f.Fuzz(func(t *testing.T, text string) {
		stmts, err := parser.Parse(text, parser.Options{})
		if err != nil {
			return
		}
		for _, s := range stmts {
			out, err := bindAny(cat, s)
			var pe *ast.PosError
			if err != nil && !errors.As(err, &pe) {
				t.Fatalf("%T: %v", err, err)
			}
			if out != nil {
				out.Schema()
				logical.Explain(out)
			}
		}
	})
}

// bindAny binds without changing the catalog, which the fuzzer's runs share.
func bindAny(cat Catalog, s ast.Stmt) (logical.Node, error) {
	switch s := s.(type) {
	case *ast.QueryStmt:
		return BindQuery(cat, s.Query, Options{})
	case *ast.Insert:
		in, err := BindInsert(cat, s, Options{})
		if err != nil {
			return nil, err
		}
		return in.Plan, nil
	case *ast.CreateTable:
		_, err := BuildTable(cat, s, "", Options{})
		return nil, err
	}
	return nil, nil
}

func fuzzCatalog(f *testing.F) *memCatalog {
	cat := &memCatalog{rels: map[string]*Relation{}}
	stmts, err := parser.Parse(`
		CREATE TABLE flights (origin STRING NOT NULL, dest STRING, delay DOUBLE, dist INT, price DECIMAL(10,2),
			ts TIMESTAMP(3), s STRUCT<a: INT, b: STRUCT<c: STRING>>, xs ARRAY<INT>, m MAP<STRING, INT>);
		CREATE TABLE airports (code STRING, name STRING, lat DOUBLE);
		CREATE TABLE bids (auction BIGINT, price BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH ('stream' = 'true');
		CREATE TABLE l (k INT, a STRING); CREATE TABLE r (k BIGINT, b STRING);
		CREATE VIEW v AS SELECT origin, count(*) AS n FROM flights GROUP BY origin`, parser.Options{})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range stmts {
		if _, err := run(cat, s, Options{}); err != nil {
			f.Fatal(err)
		}
	}
	return cat
}
