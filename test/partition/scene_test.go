//go:build linux

package partition

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/clock"
)

var keep = flag.String("keep", "", "a new folder for what a failed test leaves: logs, input, output, checkpoints")

// scene is a cluster on which queries run, and what they are given.
type scene struct {
	t       *testing.T
	dir     string
	net     *network
	drivers []*node
	workers []*node
	web     http.Client
	token   string
	disks   map[string]*disk // by what lies on them
	given   given
	copies  copies
	hits    map[string]int // faults by name
	mended  time.Time      // when the last round had broken all that it was to break
	terms   map[uint64]string

	worst, worstLed time.Duration // until all rows were there, and until one driver led
}

// given is the input so far: files of rows, each key's numbered.
type given struct {
	dir   string
	files int
	times []time.Time // when the files came
	rows  int
	seqs  [keys]int
}

const (
	keys        = 7
	rowsPerFile = 35
	lease       = 1500 * time.Millisecond
)

func newScene(t *testing.T, drivers, workers int) *scene {
	t.Helper()
	var names []string
	for i := range drivers {
		names = append(names, fmt.Sprintf("d%d", i+1))
	}
	for i := range workers {
		names = append(names, fmt.Sprintf("w%d", i+1))
	}
	s := &scene{t: t, dir: t.TempDir(), net: newNetwork(t, names...), disks: map[string]*disk{}, hits: map[string]int{}, terms: map[uint64]string{}}
	s.given.dir = filepath.Join(s.dir, "in")
	s.copies = copies{dir: filepath.Join(s.dir, "out", "copies"), files: map[string]bool{}, batches: map[int]int{}}
	for _, d := range append([]string{"out", "checkpoints"}, names...) {
		s.disks[d] = newDisk(t, filepath.Join(s.dir, d))
	}
	for _, d := range []string{"in", "out/copies", "out/counts", "out/windows", "logs", "clocks", "auth"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.trust()
	var join, peers []string
	for i, p := range s.net.nodes[:drivers] {
		join = append(join, p.address+":7070")
		peers = append(peers, names[i]+"="+p.address+":7070")
	}
	for i, p := range s.net.nodes {
		id := names[i]
		n := &node{place: p, id: id, t: t, log: filepath.Join(s.dir, "logs", id), clock: filepath.Join(s.dir, "clocks", id)}
		if err := os.WriteFile(n.clock, make([]byte, 8), 0o600); err != nil {
			t.Fatal(err)
		}
		if i < drivers {
			n.args = []string{"driver", "--id", id, "--data", filepath.Join(s.dir, id), "--listen", p.address + ":7070", "--http", p.address + ":7071",
				"--checkpoint-dir", filepath.Join(s.dir, "checkpoints"), "--tls-dir", filepath.Join(s.dir, "tls", id), "--auth-dir", filepath.Join(s.dir, "auth"), "--audit-log", filepath.Join(s.dir, "logs", id+".audit"),
				"--lease", lease.String(), "--set", "checkpoint.interval=300ms", "--log", "info"}
			if drivers > 1 {
				n.args = append(n.args, "--peers", strings.Join(peers, ","))
			}
			s.drivers = append(s.drivers, n)
		} else {
			n.args = []string{"worker", "--id", id, "--data", filepath.Join(s.dir, id), "--listen", p.address + ":7072", "--join", strings.Join(join, ","),
				"--tls-dir", filepath.Join(s.dir, "tls", id), "--slots", "2", "--log", "info"}
			s.workers = append(s.workers, n)
		}
	}
	t.Cleanup(func() {
		for _, n := range s.nodes() {
			n.kill()
		}
		if t.Failed() {
			for _, n := range s.nodes() {
				t.Logf("%s, which ended by itself %v, said last:\n%s", n.name, n.exits, n.said(40))
			}
			if *keep != "" {
				if err := os.CopyFS(filepath.Join(*keep, fmt.Sprint(time.Now().Unix())), os.DirFS(s.dir)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for _, n := range s.nodes() {
		n.run()
	}
	return s
}

func (s *scene) nodes() []*node { return slices.Concat(s.drivers, s.workers) }

// trust makes certificates for every node and a token for the test.
func (s *scene) trust() {
	s.t.Helper()
	ca := filepath.Join(s.dir, "ca")
	must(s.t, "certs", "init", "--dir", ca)
	for _, p := range s.net.nodes {
		id := p.name[strings.LastIndexByte(p.name, '-')+1:]
		role := map[byte]string{'d': "driver", 'w': "worker"}[id[0]]
		must(s.t, "certs", "issue", "--dir", ca, "--out", filepath.Join(s.dir, "tls", id), "--role", role, "--id", id, "--hosts", p.address)
	}
	s.token = strings.TrimSpace(must(s.t, "token", "create", "--auth-dir", filepath.Join(s.dir, "auth"), "--name", "test", "--role", "admin"))
	pem, err := os.ReadFile(filepath.Join(ca, "ca.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	s.web = http.Client{Timeout: time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

// tables declare what is read and written; $DIR is the scene's folder.
const tables = `
CREATE TABLE src (k BIGINT, seq BIGINT, v BIGINT, ts TIMESTAMP_NTZ, WATERMARK FOR ts AS ts - INTERVAL '20' MINUTE)
  WITH ('connector' = 'filesystem', 'path' = '$DIR/in', 'format' = 'csv', 'csv.header' = 'false', 'max-files-per-trigger' = '3');
CREATE TABLE copies (k BIGINT, seq BIGINT, v BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out/copies', 'format' = 'csv', 'csv.header' = 'false');
CREATE TABLE windows (w TIMESTAMP_NTZ, k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out/windows', 'format' = 'csv', 'csv.header' = 'false');
`

// pipeline has a query without state, one whose answer changes with each row, and one
// whose windows close behind the watermark.
const pipeline = tables + `
CREATE TABLE counts (k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out/counts', 'format' = 'csv', 'csv.header' = 'false', 'changelog.op-column' = 'op');
CREATE STREAMING QUERY copying TRIGGER EVERY '50 ms' AS INSERT INTO copies SELECT k, seq, v FROM src;
CREATE STREAMING QUERY counting OUTPUT MODE changelog TRIGGER EVERY '50 ms' AS INSERT INTO counts SELECT k, count(*), sum(v) FROM src GROUP BY k;
CREATE STREAMING QUERY closing OUTPUT MODE append TRIGGER EVERY '50 ms' AS
  INSERT INTO windows SELECT window_start, k, count(*), sum(v) FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start, window_end, k;
`

func (s *scene) expand(text string) string { return strings.ReplaceAll(text, "$DIR", s.dir) }

// submit gives the pipeline to whichever driver takes it.
func (s *scene) submit() {
	s.t.Helper()
	file := filepath.Join(s.dir, "pipeline.sql")
	if err := os.WriteFile(file, []byte(s.expand(pipeline)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	tokens := filepath.Join(s.dir, "token")
	if err := os.WriteFile(tokens, []byte(s.token), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.until("the pipeline is submitted", func() (bool, string) {
		var said error
		for _, d := range s.drivers {
			_, err := command(s.t.Context(), s.t, "submit", "--server", d.address+":7071", "--tls-dir", filepath.Join(s.dir, "ca"), "--token-file", tokens, file)
			if err == nil {
				return true, ""
			}
			said = err
		}
		return false, said.Error()
	})
}

// give adds a file of rows: it comes whole.
func (s *scene) give() { s.giveAt(0) }

// giveAt adds one whose times are that much later than they would be.
func (s *scene) giveAt(later time.Duration) {
	g := &s.given
	var b strings.Builder
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(later)
	for range rowsPerFile {
		k := g.rows * 31 % keys
		fmt.Fprintf(&b, "%d,%d,%d,%s\n", k, g.seqs[k], g.rows, begun.Add(time.Duration(g.rows)*250*time.Millisecond).Format("2006-01-02 15:04:05.000"))
		g.seqs[k]++
		g.rows++
	}
	g.files++
	g.times = append(g.times, time.Now())
	hidden := filepath.Join(s.dir, "hidden")
	if err := os.WriteFile(hidden, []byte(b.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(hidden, filepath.Join(g.dir, fmt.Sprintf("%08d.csv", g.files))); err != nil {
		s.t.Fatal(err)
	}
}

// errElsewhere is what a driver answers that does not lead.
var errElsewhere = errors.New("another driver is to be asked")

// ask gets what a driver says at a path.
func (s *scene) ask(d *node, path string, into any) error {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+d.address+":7071"+path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := s.web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return errElsewhere
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s of %s: %s", path, d.name, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// joined waits until a driver counts on workers.
func (s *scene) joined(n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("%d workers are there", n), func() (bool, string) {
		var said []string
		for _, d := range s.drivers {
			var list []struct{ ID, State string }
			if err := s.ask(d, "/api/workers", &list); err != nil {
				said = append(said, err.Error())
				continue
			}
			there := 0
			for _, w := range list {
				if w.State == "joined" {
					there++
				}
			}
			if there == n {
				return true, ""
			}
			said = append(said, fmt.Sprint(list))
		}
		return false, strings.Join(said, "; ")
	})
}

// patience is how long anything may take. Slow machines take seconds, never that long.
const patience = 2 * time.Minute

// look is how often it is looked whether a condition holds.
const look = 50 * time.Millisecond

// until waits for a condition, while nodes that end by themselves are started again.
func (s *scene) until(what string, ok func() (bool, string)) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; s.pause(look) {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waiting until %s: %s", what, state)
		}
		for _, n := range s.nodes() {
			n.watch()
		}
	}
}

func (s *scene) pause(d time.Duration) {
	if err := clock.Wait(s.t.Context(), clock.System(), d); err != nil {
		s.t.Fatalf("the time is over: %v", err)
	}
}
