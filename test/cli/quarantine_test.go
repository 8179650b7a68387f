package cli

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKilledWithBadRows kills a query at random moments. However it was cut off,
// every good row is in the result once, and every bad one in the quarantine once.
func TestKilledWithBadRows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files, kills := 60, 12
	if testing.Short() {
		files, kills = 20, 3
	}
	var good, bad []string
	for i := range files {
		write(t, dir, "in", fmt.Sprintf("f%04d.csv", i), fmt.Sprintf("id,k\n%d,1\nbad%d,2\n%d,x\n", 2*i, i, 2*i+1))
		good = append(good, fmt.Sprint(2*i))
		bad = append(bad, fmt.Sprintf("bad%d,2", i), fmt.Sprintf(`{"id":%d,"k":"x"}`, 2*i+1))
	}
	ddl := `SET 'errors.policy'='quarantine'; SET 'errors.table'='bad'; SET 'checkpoint.interval'='10ms';
CREATE TABLE src (id BIGINT, k STRING) WITH ('connector'='filesystem','path'='in','format'='csv','bad-rows'='quarantine','quarantine-table'='bad','max-files-per-trigger'='1');
CREATE TABLE bad (batch_id BIGINT, raw BINARY) WITH ('connector'='filesystem','path'='bad','format'='parquet');
CREATE TABLE dst (id BIGINT, k INT) WITH ('connector'='filesystem','path'='out','format'='csv');
CREATE TABLE sums (n BIGINT) WITH ('connector'='filesystem','path'='sums','format'='csv');
`
	write(t, dir, "p.sql", ddl+"CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS INSERT INTO dst SELECT id, CAST(k AS INT) AS k FROM src;"+
		strings.ReplaceAll("CREATE STREAMING QUERY s TRIGGER AVAILABLE NOW OUTPUT MODE complete AS INSERT INTO sums SELECT sum(CAST(k AS INT)) AS n FROM src;", "\n", ""))
	rng := rand.New(rand.NewPCG(5, uint64(kills)))
	for range kills {
		p := start(t, dir, "run", "p.sql")
		p.KillAfter(time.Duration(rng.IntN(250)) * time.Millisecond)
	}
	ok(t, dir, "run", "p.sql")
	got := column(csvRows(t, filepath.Join(dir, "out")), 0)
	compareSets(t, "good rows", got, good)
	// Two queries write their bad rows into the table, each its own.
	text := ok(t, dir, "sql", "--format", "csv", "-c", ddl+"SELECT CAST(raw AS STRING) AS r FROM bad")
	write(t, dir, "badrows", "b.csv", text)
	raws := column(csvRows(t, filepath.Join(dir, "badrows")), 0)
	var want []string
	for _, b := range bad {
		if strings.HasPrefix(b, "{") { // the second query reads k alone
			want = append(want, b, `{"k":"x"}`)
		}
	}
	for i := range files {
		want = append(want, fmt.Sprintf("bad%d,2", i))
	}
	compareSets(t, "bad rows", raws, want)
	if n := fmt.Sprint(csvRows(t, filepath.Join(dir, "sums"))); n != fmt.Sprintf("[[%d]]", 3*files) {
		t.Errorf("sum %s", n)
	}
}

func compareSets(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d, want %d\ngot  %.600q\nwant %.600q", what, len(got), len(want), got, want)
	}
}
