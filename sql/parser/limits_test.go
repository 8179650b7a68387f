package parser

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/sql/ast"
)

// TestDeepAndLong feeds what would break a careless parser: each text must end
// in a tree or in a PosError, and the long ones in linear time (P1, P2).
func TestDeepAndLong(t *testing.T) {
	rep := strings.Repeat
	for _, c := range []struct {
		name, text, err string
	}{
		{"10,000 ORs", "SELECT a = 0" + rep(" OR a = 1", 10_000), ""},
		{"10,000 ANDs and ORs", "SELECT a = 0" + rep(" OR a = 1 AND b = 2", 10_000), ""},
		{"9,000 plus", "SELECT 1" + rep(" + 1", 9_000), ""},
		{"20,000 plus", "SELECT 1" + rep(" + 1", 20_000), "operators follow one another"},
		{"100,000 IN", "SELECT a IN (0" + rep(", 1", 100_000) + ")", ""},
		{"9,000 UNION ALL", "SELECT 1" + rep(" UNION ALL SELECT 1", 9_000), ""},
		{"20,000 UNION ALL", "SELECT 1" + rep(" UNION ALL SELECT 1", 20_000), "operators follow one another"},
		{"900 parens", "SELECT " + rep("(", 900) + "1" + rep(")", 900), ""},
		{"1,000,000 parens", "SELECT " + rep("(", 1_000_000), "nested too deeply"},
		{"parens of queries", "SELECT * FROM " + rep("(", 100_000) + "SELECT 1" + rep(")", 100_000), "nested too deeply"},
		{"100,000 NOTs", "SELECT " + rep("NOT ", 100_000) + "a", "nested too deeply"},
		{"100,000 minus", "SELECT " + rep("- ", 100_000) + "a", "nested too deeply"},
		{"100,000 indexes", "SELECT a" + rep("[0]", 100_000), "operators follow one another"},
		{"100,000 casts", "SELECT a" + rep("::INT", 100_000), "operators follow one another"},
		{"100,000 fields", "SELECT a" + rep(".b", 100_000), "a name of more than"},
		{"100,000 arrays", "SELECT CAST(a AS " + rep("ARRAY<", 100_000), "nested too deeply"},
		{"100,000 array suffixes", "SELECT CAST(a AS INT" + rep(" ARRAY", 100_000) + ")", "nested too deeply"},
		{"100,000 CASEs", "SELECT " + rep("CASE WHEN ", 100_000), "nested too deeply"},
		{"100,000 calls", "SELECT " + rep("f(", 100_000), "nested too deeply"},
		{"100,000 lambdas", "SELECT f(" + rep("x -> ", 100_000) + "1)", "nested too deeply"},
		{"100,000 EXISTS", rep("SELECT EXISTS (", 100_000), "nested too deeply"},
		{"20,000 joins", "SELECT * FROM t" + rep(" JOIN t", 20_000), "operators follow one another"},
		{"100,000 joins in parens", "SELECT * FROM " + rep("(t JOIN ", 100_000), "nested too deeply"},
		{"100,000 CTEs", rep("WITH a AS (", 100_000), "nested too deeply"},
		{"100,000 patterns", "SELECT * FROM t MATCH_RECOGNIZE (PATTERN (" + rep("(", 100_000), "nested too deeply"},
		{"100,000 grouping sets", "SELECT 1 GROUP BY " + rep("GROUPING SETS (", 100_000), "nested too deeply"},
		{"100,000 comments", rep("/*", 100_000), "has no end"},
		{"100,000 EXPLAIN", rep("EXPLAIN ", 100_000), "nested too deeply"},
		{"1 MB string", "SELECT '" + rep("x", 1<<20) + "'", ""},
		{"1 MB of columns", "SELECT a" + rep(", abcdefg", 1<<20/9), ""},
		{"not UTF-8", "SELECT\n 'a\xff'", "2:4: the text is not UTF-8 here"},
		{"NUL", "SELECT \x00", "unexpected character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			stmts, err := Parse(c.text, Options{})
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %v", d)
			}
			switch {
			case c.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.err != "" && err == nil:
				t.Errorf("accepted, want an error with %q", c.err)
			case c.err != "" && !strings.Contains(err.Error(), c.err):
				t.Errorf("got %v, want an error with %q", err, c.err)
			case err == nil:
				ast.SQL(stmts[0])
			}
		})
	}
}

// FuzzParse holds P1 and A2: no text makes the parser panic, what parses
// prints to something that parses to the same tree, and the shell's view of
// completeness does not panic either.
func FuzzParse(f *testing.F) {
	for _, s := range corpus {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		defer func() {
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("%d bytes took %v", len(text), d)
			}
		}()
		Split(text, Options{})
		Completes(text, Options{DoubleQuotedIdentifiers: true})
		if _, err := ParseExpr(text, Options{}); err != nil {
			if _, ok := err.(*ast.PosError); !ok {
				t.Fatalf("%T", err)
			}
		}
		stmts, err := Parse(text, Options{})
		if err != nil {
			return
		}
		for _, s := range stmts {
			if msg := roundTrip(s, ast.SQL(s)); msg != "" {
				t.Fatal(msg)
			}
		}
	})
}

// TestPiecesParseAsTheWhole holds Split to Parse: a script and its pieces give
// the same statements.
func TestPiecesParseAsTheWhole(t *testing.T) {
	script := strings.Join(corpus, ";\n")
	stmts, err := Parse(script, Options{})
	if err != nil {
		t.Fatal(err)
	}
	pieces := Split(script, Options{})
	if len(pieces) != len(stmts) {
		t.Fatalf("%d pieces, %d statements", len(pieces), len(stmts))
	}
	for i, p := range pieces {
		s, err := ParseStatement(p.Text, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := ast.SQL(s), ast.SQL(stmts[i]); got != want {
			t.Errorf("piece %d: %s, want %s", i, got, want)
		}
		if got := stmts[i].Position(); got.Offset != p.Pos.Offset {
			t.Errorf("piece %d starts at %v, its statement at %v", i, p.Pos, got)
		}
	}
}

// corpus holds a statement of each kind.
var corpus = []string{
	"SELECT 1",
	"WITH a AS (SELECT x, y FROM t) SELECT x AS k, sum(y) FILTER (WHERE y > 1) FROM a GROUP BY x HAVING sum(y) > 2 ORDER BY 1 LIMIT 3",
	"SELECT CASE WHEN a THEN 1 ELSE b[1].c END, m['k']::INT, -x, NOT y, transform(z, v -> v + 1), INTERVAL '1' DAY FROM t",
	"SELECT * FROM a LEFT JOIN b USING (k) CROSS JOIN UNNEST(b.xs) AS u(x) WHERE a.x BETWEEN 1 AND 2 OR a.y LIKE 'x%' AND z IN (1, 2)",
	"SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)",
	"SELECT rank() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t QUALIFY 1 = 1",
	"SELECT * FROM t PIVOT (sum(x) FOR k IN (1, 2)) UNION ALL VALUES (1, 2) INTERSECT (SELECT 1)",
	"SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts PATTERN (A+ (B | C)*) DEFINE A AS A.x > 1) AS m",
	"SELECT a FROM t GROUP BY GROUPING SETS ((a), ROLLUP(b, c), ())",
	"CREATE TABLE t (a INT, b AS a + 1, WATERMARK FOR a AS a - INTERVAL '1' SECOND) WITH ('k' = 'v')",
	"CREATE STREAMING QUERY q TRIGGER EVERY '1 s' OUTPUT MODE append AS BEGIN INSERT INTO t SELECT CASE WHEN a THEN 1 END FROM u; INSERT INTO v SELECT 1; END",
	"CREATE OR REPLACE TEMPORARY VIEW v AS SELECT EXTRACT(YEAR FROM d), TRIM(BOTH 'x' FROM y), X'0f', 'a''b\\n' FROM t",
	"SET a.b = 10s", "SHOW TABLES LIKE 'x'", "EXPLAIN ANALYZE SELECT 1", "DESCRIBE FUNCTION sum", "DROP TABLE IF EXISTS t",
	"INSERT INTO t (a, b) VALUES (1, ?), (:p, NULL)",
}

var typical = fmt.Sprintf("SELECT %s", `f.origin, a.name, count(*) AS n,
       sum(CASE WHEN f.dep_delay > 15 THEN 1 ELSE 0 END) AS late,
       avg(f.dep_delay) AS avg_delay,
       max(f.arr_delay) AS worst,
       row_number() OVER (PARTITION BY f.origin ORDER BY count(*) DESC) AS rn
FROM (SELECT origin, dest, dep_delay, arr_delay, event_time FROM flights WHERE dep_delay IS NOT NULL) f
JOIN airports a ON a.faa = f.origin
LEFT JOIN weather w
  ON w.origin = f.origin
 AND w.hour_ts = f.event_time
WHERE f.origin IN ('JFK', 'LGA', 'EWR')
  AND f.event_time BETWEEN '2013-01-01' AND '2013-12-31'
  AND (w.visib IS NULL OR w.visib < 10.0)
  AND a.name LIKE '%Intl%'
GROUP BY f.origin, a.name
HAVING count(*) > 10
ORDER BY late DESC, avg_delay DESC
LIMIT 10 OFFSET 5`)

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, text string }{
		{"small", "SELECT 1"},
		{"typical", typical},
		{"megabyte", strings.Repeat(typical+";\n", 1<<20/len(typical))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(c.text, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
