//go:build linux

package partition

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

// A batch run over the input says what the outputs have to be; so does DuckDB, where
// `make test` has installed it.
const (
	batchCounts = `SELECT k, count(*) AS n, sum(v) AS total FROM src GROUP BY k ORDER BY k`
	shownCounts = `SELECT k, n, total FROM (SELECT k, n, total, sum(CASE WHEN op IN ('+I', '+U') THEN 1 ELSE -1 END) AS alive
  FROM shown GROUP BY k, n, total) AS net WHERE alive <> 0 ORDER BY k, n`
	shownTable = "CREATE TABLE shown (op STRING, k BIGINT, n BIGINT, total BIGINT)\n" +
		"  WITH ('connector' = 'filesystem', 'path' = '$DIR/out/counts', 'format' = 'csv', 'csv.header' = 'false');\n"
	// A window is closed when its end is not behind the watermark.
	batchWindows = `SELECT window_start AS w, k, count(*) AS n, sum(v) AS total FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE)
  GROUP BY window_start, window_end, k HAVING window_end <= (SELECT max(ts) FROM src) - INTERVAL '20' MINUTE ORDER BY 1, 2`
	shownWindows = `SELECT w, k, n, total FROM windows ORDER BY w, k`
)

// compare waits until what the queries with state show is what a batch run says. At first
// the windows of all rows are closed, by rows of the next day.
func (s *scene) compare(when string) {
	s.t.Helper()
	s.giveAt(24 * time.Hour)
	s.all(when)
	for _, o := range []struct{ name, want, got string }{{"counts", batchCounts, shownCounts}, {"windows", batchWindows, shownWindows}} {
		want := s.batch(o.want)
		if strings.Count(want, "\n") < 2 {
			s.t.Fatalf("the batch run over %s finds nothing", o.name)
		}
		s.until("the "+o.name+" are those of a batch run "+when, func() (bool, string) {
			got := s.batch(shownTable + o.got)
			return got == want, fmt.Sprintf("%s\nwant %s\n%s", got, want, s.states())
		})
	}
	s.compareDuckDB(when)
}

// batch runs a query over the tables as they are.
func (s *scene) batch(query string) string {
	s.t.Helper()
	return must(s.t, "sql", "--format", "csv", "-c", s.expand(tables+query))
}

func (s *scene) compareDuckDB(when string) {
	s.t.Helper()
	python := os.Getenv(duckdb.PythonVariable)
	if python == "" {
		return
	}
	db, err := duckdb.Open(python)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	query := func(text string) (out []string) {
		text = strings.NewReplacer(
			"SRC", "read_csv('$DIR/in/*.csv', header=false, columns={'k':'BIGINT','seq':'BIGINT','v':'BIGINT','ts':'TIMESTAMP'})",
			"COPIES", "read_csv('$DIR/out/copies/*.csv', header=false, columns={'k':'BIGINT','seq':'BIGINT','v':'BIGINT'})",
			"WINDOWS", "read_csv('$DIR/out/windows/*.csv', header=false, columns={'w':'TIMESTAMP','k':'BIGINT','n':'BIGINT','total':'BIGINT'})",
			" shown ", " read_csv('$DIR/out/counts/*.csv', header=false, columns={'op':'VARCHAR','k':'BIGINT','n':'BIGINT','total':'BIGINT'}) ").Replace(text)
		_, rows, err := db.Query(s.t.Context(), s.expand(text))
		if err != nil {
			s.t.Fatalf("DuckDB: %s: %v", text, err)
		}
		for _, r := range rows {
			out = append(out, strings.Join(r, ","))
		}
		return out
	}
	for _, o := range []struct{ name, want, got string }{
		{"copies", "SELECT k, seq, v FROM SRC ORDER BY v", "SELECT k, seq, v FROM COPIES ORDER BY v"},
		{"counts", "SELECT k, count(*), sum(v)::BIGINT FROM SRC GROUP BY k ORDER BY k", shownCounts},
		{"windows", `SELECT time_bucket(INTERVAL '1 minute', ts) AS w, k, count(*), sum(v)::BIGINT FROM SRC GROUP BY w, k
			HAVING w + INTERVAL '1 minute' <= (SELECT max(ts) FROM SRC) - INTERVAL '20 minutes' ORDER BY 1, 2`, "SELECT w, k, n, total FROM WINDOWS ORDER BY w, k"},
	} {
		if got, want := query(o.got), query(o.want); !slices.Equal(got, want) {
			s.t.Errorf("%s: DuckDB finds %d rows of %s and wants %d:\n%.2000s\nwant\n%.2000s", when, len(got), o.name, len(want), got, want)
		}
	}
}
