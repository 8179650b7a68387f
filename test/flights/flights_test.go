package flights

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compare asks DuckDB for what the pipeline must have written: every hour that
// the watermark (highest event time less an hour) has closed, once, with the
// weather of that hour where there is one.
const compare = `
import duckdb
con = duckdb.connect()
flights = "'examples/flights/data/flights-2013-*.parquet'"
con.sql("CREATE TABLE got AS SELECT * FROM 'out/flights/hourly/*.parquet'")
con.sql(f"""CREATE TABLE want AS
  SELECT h.*, w.wind_speed, w.visib FROM (
    SELECT time_bucket(INTERVAL '1 hour', event_time) AS ws, origin, count(*) AS n, avg(dep_delay) AS d,
           quantile_cont(dep_delay, 0.95) AS p, avg(CASE WHEN cancelled THEN 1.0 ELSE 0.0 END) AS c
    FROM {flights} GROUP BY ALL) h
  LEFT JOIN read_csv('examples/flights/data/weather.csv') w ON h.origin = w.origin AND h.ws = w.hour_start
  WHERE ws + INTERVAL '1 hour' <= (SELECT max(event_time) - INTERVAL '1 hour' FROM {flights})""")
rows = con.sql("SELECT count(*) FROM want").fetchall()[0][0]
got, distinct = con.sql("SELECT count(*), count(DISTINCT (window_start, origin)) FROM got").fetchall()[0]
same = con.sql("""SELECT count(*) FROM got g JOIN want w ON g.window_start = w.ws AND g.origin = w.origin
  WHERE g.flights = w.n AND (g.avg_delay IS NOT DISTINCT FROM w.d OR abs(g.avg_delay - w.d) < 1e-9)
    AND (g.p95_delay IS NOT DISTINCT FROM w.p OR abs(g.p95_delay - w.p) < 1e-9) AND abs(g.cancelled_share - w.c) < 1e-12
    AND g.wind_speed IS NOT DISTINCT FROM w.wind_speed AND g.visib IS NOT DISTINCT FROM w.visib""").fetchall()[0][0]
assert rows > 20000 and rows == got == distinct == same, (rows, got, distinct, same)
print("equal", rows)
`

func TestPipelineEqualsDuckDB(t *testing.T) {
	python := os.Getenv("SLUICE_DUCKDB_PYTHON")
	if python == "" {
		t.Skip("SLUICE_DUCKDB_PYTHON is not set: make test installs DuckDB and sets it")
	}
	dir := t.TempDir()
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(examples, filepath.Join(dir, "examples")); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "sluice")
	run(t, ".", "go", "build", "-o", bin, "github.com/sluice-stream/sluice/cmd/sluice")
	run(t, dir, bin, "run", "examples/flights/delays.sql")
	if out := run(t, dir, python, "-c", compare); !strings.HasPrefix(out, "equal") {
		t.Errorf("DuckDB says %q", out)
	}
	// Run again: everything is processed, nothing may change.
	run(t, dir, bin, "run", "examples/flights/delays.sql")
	run(t, dir, python, "-c", compare)
	if out := run(t, dir, bin, "sql", "--format", "csv", "-f", "examples/flights/worst.sql"); strings.Count(out, "\n") != 11 {
		t.Errorf("the ten worst hours:\n%s", out)
	}
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), args[0], err, errOut.String())
	}
	return out.String()
}
