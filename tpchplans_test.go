package sluice

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/parser"
)

// tpchTables are the tables of TPC-H, without the rows.
var tpchTables = []string{
	"customer (c_custkey BIGINT, c_name STRING, c_address STRING, c_nationkey BIGINT, c_phone STRING, c_acctbal DECIMAL(15,2), c_mktsegment STRING, c_comment STRING)",
	"lineitem (l_orderkey BIGINT, l_partkey BIGINT, l_suppkey BIGINT, l_linenumber INT, l_quantity DECIMAL(15,2), l_extendedprice DECIMAL(15,2), l_discount DECIMAL(15,2), l_tax DECIMAL(15,2), l_returnflag STRING, l_linestatus STRING, l_shipdate DATE, l_commitdate DATE, l_receiptdate DATE, l_shipinstruct STRING, l_shipmode STRING, l_comment STRING)",
	"nation (n_nationkey BIGINT, n_name STRING, n_regionkey BIGINT, n_comment STRING)",
	"orders (o_orderkey BIGINT, o_custkey BIGINT, o_orderstatus STRING, o_totalprice DECIMAL(15,2), o_orderdate DATE, o_orderpriority STRING, o_clerk STRING, o_shippriority INT, o_comment STRING)",
	"part (p_partkey BIGINT, p_name STRING, p_mfgr STRING, p_brand STRING, p_type STRING, p_size INT, p_container STRING, p_retailprice DECIMAL(15,2), p_comment STRING)",
	"partsupp (ps_partkey BIGINT, ps_suppkey BIGINT, ps_availqty INT, ps_supplycost DECIMAL(15,2), ps_comment STRING)",
	"region (r_regionkey BIGINT, r_name STRING, r_comment STRING)",
	"supplier (s_suppkey BIGINT, s_name STRING, s_address STRING, s_nationkey BIGINT, s_phone STRING, s_acctbal DECIMAL(15,2), s_comment STRING)",
}

// TestTPCHPlans holds the plans of the 22 queries over known statistics, so that
// a change of a rule shows in all that it changes. -rewrite writes them anew.
func TestTPCHPlans(t *testing.T) {
	s := tpchSession(t)
	text, err := os.ReadFile(filepath.Join("test", "tpch", "queries.sql"))
	if err != nil {
		t.Fatal(err)
	}
	queries := strings.Split(strings.TrimSpace(string(text)), ";\n")
	if len(queries) != 22 {
		t.Fatalf("%d queries", len(queries))
	}
	for i, q := range queries {
		name := fmt.Sprintf("q%02d", i+1)
		t.Run(name, func(t *testing.T) { holdPlan(t, filepath.Join("testdata", "plans", name+".txt"), planWith(t, s, q)) })
	}
}

// tpchSession is a session that knows the tables of TPC-H by name and columns.
func tpchSession(t *testing.T) *Session {
	t.Helper()
	s := openSession(t, Options{})
	for _, table := range tpchTables {
		name, _, _ := strings.Cut(table, " ")
		ddl := fmt.Sprintf("CREATE TABLE %s WITH ('connector'='filesystem', 'path'='%s.parquet')", table, name)
		if err := s.Exec(t.Context(), ddl); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// planWith plans a query over the statistics of tpchStats.
func planWith(t *testing.T, s *Session, text string) string {
	t.Helper()
	q, err := planner.Build([]planner.Output{{Node: bound(t, s, text)}}, planner.Options{Stats: tpchTable})
	if err != nil {
		t.Fatal(err)
	}
	return q.Plan.String()
}

func tpchTable(t *logical.Table) *batch.TableStats {
	st := tpchStats[t.Name]
	return &st
}

// bound is a query as the binder leaves it.
func bound(t *testing.T, s *Session, text string) logical.Node {
	t.Helper()
	q, err := parser.ParseQuery(strings.TrimSuffix(strings.TrimSpace(text), ";"), parser.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := sql.BindQuery(s.cat, q, s.bindOptions())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// holdPlan compares a plan with the one in a file.
func holdPlan(t *testing.T, path, got string) {
	t.Helper()
	if flag.Lookup("rewrite").Value.String() == "true" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
