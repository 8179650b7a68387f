package sluice

import (
	"fmt"
	"strings"
	"testing"
)

// TestStateLookups: conditions that name values for each key column become lookups,
// as EXPLAIN says, in a checkpoint and in a query that runs, for aggregates, windows
// and operators that keep rows. They find what reading all rows finds.
func TestStateLookups(t *testing.T) {
	b := newStateBed(t)
	s := b.session("parallelism=3")
	b.exec(s, `CREATE TABLE tv (id BIGINT, k STRING, v BIGINT, ts AS timestamp_seconds(id), WATERMARK FOR ts AS ts - INTERVAL '1' HOUR)
	WITH ('connector'='filesystem','path'='`+b.dir+`/in','format'='csv');
	CREATE TABLE o1 (a STRING, b BIGINT, n BIGINT) WITH ('connector'='blackhole');
	CREATE TABLE o2 (w TIMESTAMP, a STRING, n BIGINT) WITH ('connector'='blackhole');
	CREATE TABLE o3 (a STRING, b BIGINT, n BIGINT) WITH ('connector'='blackhole')`)
	b.feed(0, 1, 2)
	for name, c := range map[string]struct {
		text    string
		columns string
		where   map[string]string // and what EXPLAIN says
	}{
		"groups": {"INSERT INTO o1 SELECT k, v % 5, count(*) FROM tv GROUP BY k, v % 5", "*", map[string]string{
			"k = 'k3' AND `(v % 5)` = 2":                      "1 key is looked up",
			"k IN ('k1', 'k3', 'no') AND `(v % 5)` IN (0, 4)": "6 keys are looked up",
			"k = 'k3'":                   "all rows are read",
			"k = 'k3' AND `(v % 5)` > 2": "all rows are read",
			"k = 'k3' AND `(v % 5)` = 2 AND `count(*).0` > 1000": "1 key is looked up",
		}},
		"windows": {"INSERT INTO o2 SELECT window_end, k, count(*) FROM TUMBLE(TABLE tv, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end", "*", map[string]string{
			"k = 'k4' AND window_end = TIMESTAMP '1970-01-01 00:00:20' AND window_start = TIMESTAMP '1970-01-01 00:00:10'": "1 key is looked up",
			"k = 'k4' AND window_start = TIMESTAMP '1970-01-01 00:00:10'":                                                  "all rows are read",
		}},
		"rows": {"INSERT INTO o3 SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) FROM tv", "*", map[string]string{
			"k = 'k4'":                "1 key is looked up",
			"k IN ('k4','k5','none')": "3 keys are looked up",
		}},
	} {
		b.exec(s, "CREATE STREAMING QUERY "+name+" OUTPUT MODE changelog AS "+c.text)
		q := b.drained(s, name)
		b.exec(s, "SAVE STREAMING QUERY "+name+" AS s")
		op := q.StateOperators()[0]
		for where, says := range c.where {
			for _, from := range []string{"state('" + name + "', '" + op + "', savepoint => 's')", "query_state('" + name + "', '" + op + "')"} {
				got := b.rows(s, "SELECT * FROM "+from+" WHERE "+where)
				all := b.rows(s, "SELECT * FROM (SELECT * FROM "+from+" LIMIT 100000) WHERE "+where)
				b.same(from+" where "+where, got, all)
				if len(all) == 0 && !strings.Contains(where, "1000") {
					t.Errorf("%s where %s: nothing is there to be found", from, where)
				}
				if plan := fmt.Sprint(b.rows(s, "EXPLAIN SELECT * FROM "+from+" WHERE "+where)); !strings.Contains(plan, says) {
					t.Errorf("%s where %s: EXPLAIN does not say %q:\n%s", from, where, says, plan)
				}
			}
		}
		b.exec(s, "STOP STREAMING QUERY "+name)
	}
	b.close(s)
}
