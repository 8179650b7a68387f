package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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
// itself, comes to the batch answer.
func TestKillWhileSavingAndRescaling(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 3
	}
	bin, dir := binary(t), t.TempDir()
	writeInput(t, filepath.Join(dir, "in"))
	write(t, filepath.Join(dir, "p.sql"), saving("q", "out/counted", "CHECKPOINT 'ck/q'"))
	rng := rand.New(rand.NewPCG(11, uint64(kills)))
	var saved []string
	changes := 0
	for range kills {
		addr := freeAddr(t)
		cmd := exec.Command(bin, "run", "--http", addr, "--set", "checkpoint.interval=20ms", "--set", "checkpoint.retain=1", "--set", fmt.Sprintf("parallelism=%d", 1+rng.IntN(7)), "p.sql")
		cmd.Dir = dir
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		end := time.After(time.Duration(150+rng.IntN(350)) * time.Millisecond)
		for alive := true; alive; {
			select {
			case err := <-ended:
				t.Fatalf("it ended by itself: %v\n%s", err, errOut.String())
			case <-end:
				_ = cmd.Process.Kill()
				<-ended
				alive = false
			default:
				name := fmt.Sprintf("s%d", len(saved)+changes)
				if rng.IntN(2) == 0 && ask(addr, "savepoints/"+name, "") == http.StatusCreated {
					saved = append(saved, name)
				}
				if ask(addr, "parallelism", fmt.Sprintf(`{"parallelism": %d}`, 1+rng.IntN(7))) == http.StatusOK {
					changes++
				}
			}
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

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask posts to the query and returns the status, 0 if there is no answer.
func ask(addr, what, body string) int {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Post("http://"+addr+"/api/queries/q/"+what, "application/json", strings.NewReader(body))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
