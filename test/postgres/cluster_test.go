package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	rng "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// cluster is drivers and workers in processes of their own. It has an address of the
// loopback network of its own, so that ports are its nodes' also while they are away.
type cluster struct {
	t       *testing.T
	bin     string
	dir     string
	host    string
	drivers int
	ck      string // the base of checkpoints
	env     []string
	nodes   map[string]*proctest.Process
}

func newCluster(t *testing.T, drivers int, bucket bool) *cluster {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: t.TempDir(), drivers: drivers, nodes: map[string]*proctest.Process{}, host: fmt.Sprintf("127.%d.%d.%d", 1+b[0]%254, b[1], 1+b[2]%254)}
	var err error
	if c.bin, err = theProgram(); err != nil {
		t.Fatal(err)
	}
	c.ck = filepath.Join(c.dir, "ck")
	if bucket {
		backend := s3mem.New()
		if err := backend.CreateBucket("lake"); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
		t.Cleanup(srv.Close)
		c.ck, c.env = "s3://lake/ck", []string{"AWS_ENDPOINT_URL=" + srv.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}
	}
	for i := range drivers {
		c.begin(c.id(i))
	}
	return c
}

// theProgram is the command, built once for all tests.
var theProgram = sync.OnceValues(func() (string, error) { return proctest.Build(programDir, proctest.Checked()...) })

func (c *cluster) id(i int) string       { return fmt.Sprintf("d%d", i+1) }
func (c *cluster) web(i int) string      { return fmt.Sprintf("%s:%d", c.host, 8001+i) }
func (c *cluster) addr(i int) string     { return fmt.Sprintf("%s:%d", c.host, 7001+i) }
func (c *cluster) data(id string) string { return filepath.Join(c.dir, id) }

// begin starts a node: a driver or, by any other name, a worker.
func (c *cluster) begin(id string) {
	c.t.Helper()
	var all, peers []string
	for i := range c.drivers {
		all, peers = append(all, c.addr(i)), append(peers, c.id(i)+"="+c.addr(i))
	}
	args := []string{"worker", "--id", id, "--data", c.data(id), "--slots", "2", "--join", strings.Join(all, ",")}
	for i := range c.drivers {
		if id != c.id(i) {
			continue
		}
		args = []string{"driver", "--id", id, "--data", c.data(id), "--listen", c.addr(i), "--http", c.web(i), "--lease", "1500ms", "--checkpoint-dir", c.ck}
		if c.drivers > 1 {
			args = append(args, "--peers", strings.Join(peers, ","))
		}
	}
	cmd := exec.Command(c.bin, args...)
	cmd.Env = append(append(os.Environ(), "XDG_CACHE_HOME="+c.data(id), "HOME="+c.data(id)), c.env...)
	c.nodes[id] = proctest.Start(c.t, cmd)
}

// kill ends a node without any warning, and starts it again.
func (c *cluster) kill(id string) {
	c.t.Helper()
	c.nodes[id].Kill()
	c.begin(id)
}

// depose stops a driver until another one leads: it goes on as if it led.
func (c *cluster) depose(id string) {
	c.t.Helper()
	c.nodes[id].Signal(syscall.SIGSTOP)
	c.leads(id)
	c.nodes[id].Signal(syscall.SIGCONT)
}

// ask has one of the drivers answer; "" if none does.
func (c *cluster) ask(method, path, body string) (said string, code int) {
	client := &http.Client{Timeout: 2 * time.Second}
	for i := range c.drivers {
		req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.web(i)+path, strings.NewReader(body))
		if err != nil {
			c.t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // it was read
		if said, code = string(b), resp.StatusCode; err == nil && code < 300 {
			return said, code
		}
	}
	return said, code
}

// leads waits until a driver leads that is not this one.
func (c *cluster) leads(but string) string {
	c.t.Helper()
	var state struct{ Leader string }
	proctest.Until(c.t, "a driver leads", func() (bool, string) {
		said, _ := c.ask(http.MethodGet, "/api/drivers", "")
		err := json.Unmarshal([]byte(said), &state)
		return err == nil && state.Leader != "" && state.Leader != but, said
	})
	return state.Leader
}

func (c *cluster) submit(text string) {
	c.t.Helper()
	proctest.Until(c.t, "the pipeline is taken", func() (bool, string) {
		said, code := c.ask(http.MethodPost, "/api/pipelines/lookups", text)
		return code == http.StatusCreated, fmt.Sprint(code, said)
	})
}

// changing has a table change all the time, until the test ends.
func (s *server) changing(t *testing.T, schema string) {
	ctx, cancel := context.WithCancel(t.Context())
	conn, err := s.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := conn.Exec(ctx, fmt.Sprintf("UPDATE %s.dim SET version = %d WHERE k %% 3 = %d", schema, i, i%3)); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = conn.Close(context.Background())
	})
}

// A query on a cluster looks rows up in a table that changes all the time, while workers
// and drivers are killed. What it writes is the batch answer, each row once; and the counts by what
// changes are those of the rows: batches that run again meet what they have met, or the
// digests of the state would differ, which ends the query.
func TestClusterThatLooksUpIsKilled(t *testing.T) {
	for _, of := range []struct {
		name    string
		drivers int
		bucket  bool
	}{{"one_driver", 1, false}, {"three_drivers", 3, false}, {"three_drivers_and_a_bucket", 3, true}} {
		drivers := of.drivers
		t.Run(of.name, func(t *testing.T) {
			if of.bucket && testing.Short() {
				t.Skip("the other two are short")
			}
			t.Parallel()
			s := theServer(t)
			conn := s.connect(t)
			schema := s.schema(t, conn)
			exec1(t, conn, "CREATE TABLE "+schema+".dim (k int PRIMARY KEY, name text, version int); INSERT INTO "+schema+".dim SELECT i, 'name ' || i, 0 FROM generate_series(0, 40) i")
			c := newCluster(t, drivers, of.bucket)
			c.begin("w1")
			c.begin("w2")
			s.changing(t, schema)
			c.submit(s.clusterScript(schema))
			r := rng.New(rng.NewPCG(uint64(os.Getpid()), uint64(drivers)))
			rows := -1
			for i := range rounds() {
				rows = c.progressed(conn, schema, rows)
				moment(r)
				switch {
				case i%2 == 0:
					c.kill(fmt.Sprintf("w%d", 1+i/2%2))
				case i%4 == 3 && drivers > 1:
					c.depose(c.leads(""))
				default:
					c.kill(c.leads(""))
				}
			}
			proctest.Until(t, "all rows are there", func() (bool, string) {
				got := rowsOf(t, conn, "SELECT sum(n) FROM "+schema+".counts")[0] + " of " + rowsOf(t, conn, "SELECT count(*) FROM "+schema+".copies")[0]
				return got == fmt.Sprintf("%d of %d", inputRows, inputRows), got + c.status()
			})
			c.compare(conn, schema)
		})
	}
}

// status is what the drivers say of the query, which must not have failed.
func (c *cluster) status() string {
	c.t.Helper()
	said, _ := c.ask(http.MethodGet, "/api/queries", "")
	var list []struct{ Status, Error string }
	if err := json.Unmarshal([]byte(said), &list); err != nil || len(list) == 0 {
		return ""
	}
	if list[0].Status == "failed" {
		c.t.Fatalf("the query has failed: %s", list[0].Error)
	}
	return ", and the query is " + list[0].Status
}

// clusterScript has rows with what they were told, and counts by it.
func (s *server) clusterScript(schema string) string {
	return "SET 'checkpoint.interval' = '400ms';\nSET 'parallelism' = '4';\n" +
		fmt.Sprintf("CREATE TABLE src (id BIGINT, k BIGINT, p AS PROCTIME()) WITH ('connector'='datagen', 'number-of-rows'='%d', 'rows-per-second'='1000', 'max-rows-per-trigger'='100', 'split-rows'='20', "+
			"'fields.id.kind'='sequence', 'fields.id.start'='0', 'fields.k.min'='0', 'fields.k.max'='60');\n", inputRows) +
		"CREATE TABLE dim (k INT, name STRING, version INT) " + s.with(schema+".dim", ", 'lookup.cache-ttl'='20ms'") + ";\n" +
		"CREATE TABLE copies (id BIGINT, k BIGINT, name STRING, version INT) " + s.with(schema+".copies", ", 'create-table'='true'") + ";\n" +
		"CREATE TABLE counts (version INT, n BIGINT, PRIMARY KEY (version) NOT ENFORCED) " + s.with(schema+".counts", ", 'create-table'='true'") + ";\n" +
		"CREATE STREAMING QUERY q OUTPUT MODE update AS BEGIN\n" +
		"INSERT INTO copies SELECT s.id, s.k, d.name, d.version FROM src s LEFT JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k = d.k;\n" +
		"INSERT INTO counts SELECT coalesce(d.version, -1) AS version, count(*) AS n FROM src s LEFT JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k = d.k GROUP BY coalesce(d.version, -1);\nEND;\n"
}

// progressed waits until there are more rows, or all.
func (c *cluster) progressed(conn *pgx.Conn, schema string, than int) (rows int) {
	c.t.Helper()
	proctest.Until(c.t, "there are more rows", func() (bool, string) {
		if rowsOf(c.t, conn, "SELECT to_regclass('"+schema+".copies') IS NULL")[0] == "t" {
			return false, "none" + c.status()
		}
		if _, err := fmt.Sscan(rowsOf(c.t, conn, "SELECT count(*) FROM "+schema+".copies")[0], &rows); err != nil {
			c.t.Fatal(err)
		}
		return rows > than || rows == inputRows, fmt.Sprint(rows) + c.status()
	})
	return rows
}

// compare holds the output against the batch answer, of what does not change, and against itself.
func (c *cluster) compare(conn *pgx.Conn, schema string) {
	c.t.Helper()
	got := rowsOf(c.t, conn, "SELECT count(*), count(DISTINCT id), min(id), max(id), count(*) FILTER (WHERE o.name IS DISTINCT FROM d.name OR (d.k IS NULL) <> (o.version IS NULL)) "+
		"FROM "+schema+".copies o LEFT JOIN "+schema+".dim d USING (k)")
	if want := fmt.Sprintf("%d|%d|0|%d|0", inputRows, inputRows, inputRows-1); got[0] != want {
		c.t.Errorf("rows, different ones, first, last and wrong ones are %s, want %s", got[0], want)
	}
	nobody := rowsOf(c.t, conn, "SELECT count(*) FROM "+schema+".copies WHERE k > 40")[0]
	if got := rowsOf(c.t, conn, "SELECT sum(n), count(*) > 3, sum(n) FILTER (WHERE version = -1) FROM "+schema+".counts"); got[0] != fmt.Sprintf("%d|t|%s", inputRows, nobody) {
		c.t.Errorf("the counts are %s, and %s rows met nobody", got[0], nobody)
	}
}
