package cli

import (
	"strings"
	"testing"
)

// someRows are 100 MB and more, several times what memory_limit below leaves to
// one operator.
const someRows = "(SELECT id, id * 7919 % 1000003 k, concat(repeat('x', 100), CAST(id AS STRING)) s FROM range(800000))"

// TestResidentMemory runs what has to hold many rows under a limit that they do not
// fit into, and looks at what the process really had. The limit counts buffers and
// tables; the program itself and garbage come on top.
func TestResidentMemory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"sort":                 {"SELECT count(*), max(k) FROM (SELECT * FROM R ORDER BY k, s DESC LIMIT 700000)", "700000,"},
		"top 60,000":           {"SELECT count(*), min(s) FROM (SELECT * FROM R ORDER BY k DESC LIMIT 60000)", "60000,"},
		"running window":       {"SELECT max(r), max(s) FROM (SELECT count(*) OVER (ORDER BY id) r, s FROM R)", "800000,"},
		"whole window":         {"SELECT max(r), max(s) FROM (SELECT count(*) OVER () r, s FROM R)", "800000,"},
		"lag":                  {"SELECT count(r), count(*) FROM (SELECT lag(s) OVER (ORDER BY k) r FROM R)", "799999,800000"},
		"windows in one":       {"SELECT sum(r), sum(n) FROM (SELECT rank() OVER (PARTITION BY k % 2 ORDER BY id) r, ntile(4) OVER (PARTITION BY k % 2 ORDER BY id) n, first_value(s) OVER (PARTITION BY k % 2 ORDER BY id) FROM R)", "160000"},
		"join":                 {"SELECT count(*), max(a.s), max(b.s) FROM R a JOIN R b ON a.id = b.id", "800000,"},
		"full join":            {"SELECT count(*), max(a.s), max(b.s) FROM R a FULL JOIN R b ON a.id = b.id + 10", "800010,"},
		"group":                {"SELECT count(*), sum(n) FROM (SELECT s, count(*) n, max(k) FROM R GROUP BY s)", "800000,800000"},
		"distinct":             {"SELECT count(*) FROM (SELECT DISTINCT s FROM R)", "800000"},
		"head of a cross join": {"SELECT count(*) FROM (SELECT * FROM R a CROSS JOIN R b LIMIT 100000)", "100000"},
		"table from a query":   {"CREATE TABLE o WITH ('connector'='filesystem', 'path'='o', 'format'='parquet') AS SELECT * FROM R; SELECT count(*) FROM o", "800000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, t.TempDir(), "sql", "--format", "csv", "--set", "memory_limit=64MB", "--set", "parallelism=2", "-c", strings.ReplaceAll(c.sql, " R", " "+someRows))
			r := p.wait()
			if r.code != done || !strings.Contains(r.out, c.want) {
				t.Errorf("exit code %d, want %q in %q\n%s", r.code, c.want, r.out[:min(len(r.out), 300)], r.err)
			}
			if mb := peakMB(p); mb > 230 {
				t.Errorf("took %d MB of memory", mb)
			}
		})
	}
}
