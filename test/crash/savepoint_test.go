package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// saving counts for ever, in complete mode, so that its result tells of every event.
func saving(name, out, clauses string) string {
	return strings.Replace(tables, "'max-files-per-trigger'='2'", "'max-files-per-trigger'='4'", 1) + `
CREATE TABLE counted (k STRING, n BIGINT, s BIGINT) WITH ('connector'='filesystem', 'path'='` + out + `', 'format'='csv');
CREATE STREAMING QUERY ` + name + ` OUTPUT MODE complete ` + clauses + ` AS INSERT INTO counted SELECT k, count(*), sum(v) FROM events GROUP BY k;
`
}

// TestKillWhileSavingAndRescaling kills a query at random moments while its parallelism
// changes and savepoints of it are made, all the time. Every savepoint that was
// acknowledged is there, and each query that is started from one, and the query
// itself, comes to the batch answer. Each life finds more events, and so do the
// queries that start from savepoints: one that has nothing to do writes nothing.
func TestKillWhileSavingAndRescaling(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 3
	}
	dir := t.TempDir()
	writeInput(t, filepath.Join(dir, "all"))
	brought := 0
	bring := func(until int) {
		t.Helper()
		for ; brought < until; brought++ {
			name := fmt.Sprintf("part-%04d.csv", brought)
			if err := os.Rename(filepath.Join(dir, "all", name), filepath.Join(dir, "in", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "p.sql"), saving("q", "out/counted", "CHECKPOINT 'ck/q'"))
	rng := rand.New(rand.NewPCG(11, uint64(kills)))
	var saved []string
	changes, asked := 0, 0
	for life := range kills {
		bring(files * (life + 1) / (kills + 1))
		l := live(t, exec.Command(bin, "run", "--http", "127.0.0.1:0", "--set", "checkpoint.interval=20ms", "--set", "checkpoint.retain=1", "--set", fmt.Sprintf("parallelism=%d", 1+rng.IntN(7)), "p.sql"), dir)
		did := func() bool {
			before := len(saved) + changes
			name := fmt.Sprintf("s%d", asked)
			asked++
			if rng.IntN(2) == 0 && l.ask("savepoints/"+name, "") == http.StatusCreated {
				saved = append(saved, name)
			}
			if l.ask("parallelism", fmt.Sprintf(`{"parallelism": %d}`, 1+rng.IntN(7))) == http.StatusOK {
				changes++
			}
			return len(saved)+changes > before
		}
		// It does something before its time runs, however slow the machine is.
		limit := time.After(time.Minute)
		for !did() {
			select {
			case <-l.Ended:
				t.Fatalf("it ended by itself: %v\n%s", l.State, l.Said())
			case <-limit:
				t.Fatalf("no savepoint and no change of parallelism for a minute\n%s", l.Said())
			case <-time.After(5 * time.Millisecond):
			}
		}
		kill := time.AfterFunc(time.Duration(rng.IntN(350))*time.Millisecond, l.Kill)
		for alive := true; alive; {
			did()
			select {
			case <-l.Ended:
				alive = false
			default:
			}
		}
		kill.Stop()
		if !l.Killed() {
			t.Fatalf("it ended by itself: %v\n%s", l.State, l.Said())
		}
	}
	if len(saved) == 0 || changes == 0 {
		t.Fatalf("%d savepoints, %d changes of parallelism", len(saved), changes)
	}
	var there []struct{ Name string }
	if err := json.Unmarshal([]byte(run(t, dir, bin, "checkpoint", "savepoints", "--json", "ck/q")), &there); err != nil {
		t.Fatal(err)
	}
	for _, s := range saved {
		if !slices.ContainsFunc(there, func(x struct{ Name string }) bool { return x.Name == s }) {
			t.Errorf("savepoint %s was acknowledged and is gone", s)
		}
	}
	bring(files)
	want := strings.TrimSpace(run(t, dir, bin, "sql", "--format", "csv", "-c", tables+"SELECT k, count(*) AS n, sum(v) AS s FROM events GROUP BY k ORDER BY k"))
	result := func(out string) string {
		ddl := "CREATE TABLE c (k STRING, n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='" + out + "','format'='csv');\n"
		return strings.TrimSpace(run(t, dir, bin, "sql", "--format", "csv", "-c", ddl+"SELECT * FROM c ORDER BY k"))
	}
	run(t, dir, bin, "run", "--once", "p.sql")
	if got := result("out/counted"); got != want {
		t.Errorf("after %d kills, %d changes and %d savepoints:\n%s\nwant\n%s", kills, changes, len(saved), got, want)
	}
	for i, s := range there {
		if i > 0 && i < len(there)-1 && i%max(len(there)/2, 1) != 0 {
			continue
		}
		write(t, filepath.Join(dir, "fork.sql"), saving("f"+s.Name, "out/"+s.Name, "CHECKPOINT 'ck/f"+s.Name+"' FROM CHECKPOINT 'ck/q' SAVEPOINT '"+s.Name+"'"))
		run(t, dir, bin, "run", "--once", "--set", fmt.Sprintf("parallelism=%d", 1+i%7), "fork.sql")
		if got := result("out/" + s.Name); got != want {
			t.Errorf("from savepoint %s:\n%s\nwant\n%s", s.Name, got, want)
		}
	}
}

// alive is a process that runs the query q and serves it.
type alive struct {
	*proctest.Process
	addr string
}

// live starts a process and waits until it serves.
func live(t *testing.T, cmd *exec.Cmd, dir string) *alive {
	t.Helper()
	cmd.Dir = dir
	p := proctest.Start(t, cmd)
	return &alive{p, p.Says(`serving (http://\S+)\s`)}
}

// ask posts to the query and returns the status, 0 if there is no answer.
func (l *alive) ask(what, body string) int {
	client := http.Client{Timeout: 30 * time.Second}
	resp, err := client.Post(l.addr+"/api/queries/q/"+what, "application/json", strings.NewReader(body))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
