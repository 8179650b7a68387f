package crash

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// texts are what the query is changed to, in turn. Each needs state of its own.
var texts = []string{
	"SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k",
	"SELECT k, count(*) AS n, sum(v * 2) AS s FROM events WHERE v > 10 GROUP BY k",
	"SELECT concat('c', n) AS k, count(*) AS n, sum(s) AS s FROM (SELECT k, count(*) AS n, sum(v) AS s FROM events WHERE id % 2 = 0 GROUP BY k) GROUP BY concat('c', n)",
}

func rebuilt(mode, place, text string) string {
	return strings.Replace(tables, "'max-files-per-trigger'='2'", "'max-files-per-trigger'='30'", 1) + `
CREATE TABLE counted (k STRING, n BIGINT, s BIGINT) WITH ('connector'='filesystem', 'path'='out', 'format'='csv'` + map[string]string{"changelog": ", 'changelog.op-column'='op'"}[mode] + `);
CREATE STREAMING QUERY q OUTPUT MODE ` + mode + ` CHECKPOINT '` + place + `' AS INSERT INTO counted ` + text + `;
`
}

// TestKillWhileBootstrapping changes a query again and again, and kills it at random
// moments: while state is rebuilt, while it is swapped, and after. Whenever it is left
// alone the accumulated output is the batch answer of the newest text, however far
// the changes before had come.
func TestKillWhileBootstrapping(t *testing.T) {
	kills := 8
	if testing.Short() {
		kills = 3
	}
	backend := s3mem.New()
	if err := backend.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(srv.Close)
	t.Setenv("AWS_ENDPOINT_URL", srv.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for name, place := range map[string]string{"complete": "ck", "changelog": "ck", "changelog in a bucket": "s3://lake/ck"} {
		mode, _, _ := strings.Cut(name, " ")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cache := "checkpoint.cache-dir=" + filepath.Join(dir, "cache")
			writeInput(t, filepath.Join(dir, "in"))
			rng := rand.New(rand.NewPCG(21, uint64(kills)))
			for n := range kills {
				text := texts[n%len(texts)]
				write(t, filepath.Join(dir, "p.sql"), rebuilt(mode, place, text))
				p := start(t, dir, bin, "run", "--bootstrap", "--set", cache, "--set", "checkpoint.interval=20ms", "--set", fmt.Sprintf("parallelism=%d", 1+rng.IntN(7)), "p.sql")
				if !p.KillAfter(time.Duration(20+rng.IntN(500)) * time.Millisecond) {
					t.Fatalf("it ended by itself: %v", p.State)
				}
				if n%2 == 0 {
					continue
				}
				text = texts[(n+n/2)%len(texts)]
				write(t, filepath.Join(dir, "p.sql"), rebuilt(mode, place, text))
				run(t, dir, bin, "run", "--bootstrap", "--once", "--set", cache, "p.sql")
				want := strings.TrimSpace(run(t, dir, bin, "sql", "--format", "csv", "-c", tables+"SELECT k, n, s FROM ("+text+") ORDER BY k, n, s"))
				if got := counted(t, dir, mode); got != want {
					t.Fatalf("after %d kills, text %s:\n%s\nwant\n%s", n+1, text, got, want)
				}
				for _, left := range []string{filepath.Join(dir, "ck", "bootstrap"), filepath.Join(dir, "cache", "bootstrap", "s3", "lake", "ck")} {
					if _, err := os.Stat(left); err == nil {
						t.Error("what was rebuilt is left over")
					}
				}
			}
		})
	}
}

// counted is the result as the files have it.
func counted(t *testing.T, dir, mode string) string {
	t.Helper()
	if mode == "complete" {
		return strings.TrimSpace(run(t, dir, bin, "sql", "--format", "csv", "-c", "CREATE TABLE c (k STRING, n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='out','format'='csv');\nSELECT * FROM c ORDER BY k, n, s"))
	}
	return strings.TrimSpace(run(t, dir, bin, "sql", "--format", "csv", "-c", "CREATE TABLE c (k STRING, n BIGINT, s BIGINT, op STRING) WITH ('connector'='filesystem','path'='out','format'='csv');\n"+
		"SELECT k, n, s FROM (SELECT k, n, s, sum(CASE WHEN op IN ('+I', '+U') THEN 1 ELSE -1 END) AS c FROM c GROUP BY k, n, s) WHERE c <> 0 ORDER BY k, n, s"))
}
