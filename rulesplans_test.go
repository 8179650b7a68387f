package sluice

import (
	"path/filepath"
	"testing"

	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/rules"
	"github.com/sluice-stream/sluice/planner/stats"
)

// ruleQueries show what each rule does, over the tables of TPC-H.
var ruleQueries = map[string]string{
	"decorrelate":             `SELECT o_orderkey FROM orders WHERE EXISTS (SELECT 1 FROM lineitem WHERE l_orderkey = o_orderkey AND l_quantity > o_totalprice)`,
	"fold-constants":          `SELECT n_name FROM nation WHERE n_nationkey > 1 + 2 AND true`,
	"merge-filters":           `SELECT * FROM (SELECT * FROM nation WHERE n_nationkey > 3) WHERE n_regionkey = 1`,
	"factor-conditions":       `SELECT count(*) FROM part, lineitem WHERE (p_partkey = l_partkey AND p_size = 1) OR (p_partkey = l_partkey AND l_linenumber = 2)`,
	"push-filters":            `SELECT * FROM (SELECT n_regionkey AS r, count(*) AS c FROM nation GROUP BY n_regionkey) WHERE r = 1 AND c > 2`,
	"order-joins":             `SELECT count(*) FROM customer, lineitem, orders WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey`,
	"outer-to-inner":          `SELECT o_orderkey, l_quantity FROM orders LEFT JOIN lineitem ON l_orderkey = o_orderkey WHERE l_quantity > 3`,
	"imply-filters":           `SELECT count(*) FROM supplier JOIN nation ON s_nationkey = n_nationkey WHERE (n_name = 'FRANCE' AND s_acctbal > 0) OR (n_name = 'GERMANY' AND s_acctbal < 0)`,
	"push-residuals":          `SELECT c_custkey, o_orderkey FROM customer LEFT JOIN orders ON c_custkey = o_custkey AND o_comment NOT LIKE '%special%'`,
	"push-filters-into-joins": `SELECT count(*) FROM supplier JOIN nation ON s_nationkey = n_nationkey WHERE n_name = 'FRANCE'`,
	"reorder-joins":           `SELECT count(*) FROM lineitem, orders, supplier, nation WHERE l_orderkey = o_orderkey AND l_suppkey = s_suppkey AND s_nationkey = n_nationkey AND n_name = 'FRANCE' AND EXISTS (SELECT 1 FROM partsupp WHERE ps_suppkey = s_suppkey AND ps_availqty = 1)`,
	"merge-projects":          `SELECT a + 1 AS b FROM (SELECT n_nationkey * 2 AS a FROM nation)`,
	"scan-filters":            `SELECT n_name FROM nation WHERE n_nationkey = 3`,
	"prune-columns":           `SELECT n_name FROM nation JOIN region ON n_regionkey = r_regionkey`,
	"narrow-sides":            `SELECT c_custkey, o_orderkey FROM customer LEFT JOIN (SELECT * FROM orders WHERE o_comment NOT LIKE '%special%') ON c_custkey = o_custkey`,
	"reduce-sides":            `SELECT p_name, q FROM (SELECT * FROM part WHERE p_brand = 'Brand#23' AND p_container = 'MED BOX') JOIN (SELECT l_partkey, avg(l_quantity) AS q FROM lineitem GROUP BY l_partkey) ON p_partkey = l_partkey`,
}

// TestRules holds what each rule alone makes of a query, beside what it was made of.
func TestRules(t *testing.T) {
	s := tpchSession(t)
	for i, r := range rules.Order() {
		t.Run(r.ID, func(t *testing.T) {
			text, ok := ruleQueries[r.ID]
			if !ok {
				t.Fatal("no query shows what the rule does")
			}
			c := &rules.Context{Stats: stats.New(tpchTable), ReduceFrom: 100_000}
			before := bound(t, s, text)
			for _, first := range rules.Order()[:min(i, 1)] { // no rule sees a subquery that is not a join yet
				n, err := first.Apply(c, before)
				if err != nil {
					t.Fatal(err)
				}
				before = n
			}
			after, err := r.Apply(c, before)
			if err != nil {
				t.Fatal(err)
			}
			if !after.Schema().Equal(before.Schema()) {
				t.Errorf("the columns changed from %v to %v", before.Schema(), after.Schema())
			}
			if logical.Explain(before) == logical.Explain(after) {
				t.Error("the rule changes nothing here")
			}
			holdPlan(t, filepath.Join("testdata", "plans", "rule-"+r.ID+".txt"), text+"\n== before\n"+logical.Explain(before)+"== after\n"+logical.Explain(after))
		})
	}
}

// TestRulesNeedNoStatistics holds that a plan without estimates, which is a stream.s,
// goes through every rule.
func TestRulesNeedNoStatistics(t *testing.T) {
	for _, r := range rules.Order() {
		n, err := r.Apply(&rules.Context{}, &logical.Range{End: 3, Step: 1, Name: "id"})
		if err != nil || n.String() != "Range 0 to 3 by 1" {
			t.Errorf("%s: %v, %v", r.ID, n, err)
		}
	}
}
