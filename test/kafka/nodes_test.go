package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/fault"
)

// nodeVar makes this test binary a node of a cluster: `driver ID DATA CHECKPOINTS HTTP
// PEERS` or `worker ID DRIVERS`.
const nodeVar = "SLUICE_TEST_KAFKA_NODE"

// runNode runs a node until its process is killed.
func runNode(ctx context.Context, role []string) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if role[0] == "worker" {
		if _, err := sluice.JoinCluster(ctx, sluice.WorkerOptions{ID: role[1], Join: strings.Split(role[2], ","), Slots: 2, Logger: log}); err != nil {
			return err
		}
		select {}
	}
	peers := map[string]string{}
	for _, p := range strings.Split(role[5], ",") {
		id, address, _ := strings.Cut(p, "=")
		peers[id] = address
	}
	d, err := sluice.StartDriver(ctx, sluice.DriverOptions{ID: role[1], Data: role[2], CheckpointDir: role[3], Listen: peers[role[1]], Peers: peers, Lease: 1500 * time.Millisecond, Logger: log,
		Settings: map[string]string{"checkpoint.interval": "300ms"}})
	if err != nil {
		return err
	}
	if _, err := d.ServeHTTP(role[4], sluice.HTTPOptions{}); err != nil {
		return err
	}
	select {}
}

// cast is three drivers and workers, as processes of their own.
type cast struct {
	t       testing.TB
	dir     string
	listen  []string
	http    []string
	drivers []*engine
	workers []*engine
	again   int // how often a driver was killed for a query that gave up
}

func startCast(t testing.TB, workers int) *cast {
	t.Helper()
	const drivers = 3
	port := freePorts(t, 2*drivers)
	c := &cast{t: t, dir: t.TempDir(), drivers: make([]*engine, drivers), workers: make([]*engine, workers)}
	for i := range drivers {
		c.listen = append(c.listen, fmt.Sprintf("127.0.0.1:%d", port+i))
		c.http = append(c.http, fmt.Sprintf("127.0.0.1:%d", port+drivers+i))
	}
	for i := range c.drivers {
		c.startDriver(i)
	}
	for i := range c.workers {
		c.startWorker(i)
	}
	return c
}

func (c *cast) startDriver(i int) {
	var peers []string
	for i, l := range c.listen {
		peers = append(peers, fmt.Sprintf("d%d=%s", i+1, l))
	}
	id := fmt.Sprintf("d%d", i+1)
	c.drivers[i] = startEngine(c.t, "", c.point(), nodeVar+"=driver "+strings.Join([]string{id, filepath.Join(c.dir, id), filepath.Join(c.dir, "checkpoints"), c.http[i], strings.Join(peers, ",")}, " "))
}

func (c *cast) startWorker(i int) {
	c.workers[i] = startEngine(c.t, "", c.point(), nodeVar+"=worker w"+strconv.Itoa(i+1)+" "+strings.Join(c.listen, ","))
}

// point is the variable of the environment by which nodes die at a crash point.
func (c *cast) point() string { return fault.Variable + "=" + filepath.Join(c.dir, "fault") }

// arm lets the first node die that comes to a crash point.
func (c *cast) arm(point string) {
	c.t.Helper()
	file := filepath.Join(c.dir, "fault")
	if err := errors.Join(os.WriteFile(file+".new", []byte(point), 0o600), os.Rename(file+".new", file)); err != nil {
		c.t.Fatal(err)
	}
}

// disarm reports whether a node has died since arm, and lets none die from now on.
func (c *cast) disarm() bool {
	c.t.Helper()
	c.alive()
	err := os.Remove(filepath.Join(c.dir, "fault"))
	if errors.Is(err, os.ErrNotExist) {
		for c.bury() { // it may have come to the point just now, and not be dead yet
			<-time.After(time.Millisecond)
		}
		return true
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return false
}

// bury starts a node again that has died at a crash point. It reports whether one is
// still to die.
func (c *cast) bury() bool {
	c.t.Helper()
	taken := filepath.Join(c.dir, "fault"+fault.Taken)
	if _, err := os.Stat(taken); err != nil {
		return false
	}
	again := func(nodes []*engine, start func(int)) bool {
		for i, e := range nodes {
			select {
			case <-e.ended:
				if err := os.Remove(taken); err != nil {
					c.t.Fatal(err)
				}
				start(i)
				return true
			default:
			}
		}
		return false
	}
	return !again(c.drivers, c.startDriver) && !again(c.workers, c.startWorker)
}

// alive fails the test if a node has ended by itself, but at a crash point.
func (c *cast) alive() {
	c.t.Helper()
	c.bury()
	for _, e := range slices.Concat(c.drivers, c.workers) {
		e.alive()
	}
}

// leader is the driver that leads, -1 while nobody knows.
func (c *cast) leader() int {
	for i, h := range c.http {
		var g struct{ Self, Leader string }
		if ask("http://"+h+"/api/drivers", &g) == nil && g.Leader == g.Self && g.Self != "" {
			return i
		}
	}
	return -1
}

// quick is a client for drivers that may have ended.
var quick = http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func ask(url string, into any) error {
	resp, err := quick.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// submit waits until a driver takes the pipeline.
func (c *cast) submit(name, text string) {
	c.t.Helper()
	said := ""
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		c.alive()
		i := c.leader()
		if i < 0 {
			continue
		}
		resp, err := http.Post("http://"+c.http[i]+"/api/pipelines/"+name, "text/plain", strings.NewReader(text))
		if err != nil {
			said = err.Error()
			continue
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusCreated {
			return
		}
		said = fmt.Sprintf("%s %s %v", resp.Status, b, err)
		if resp.StatusCode == http.StatusBadRequest {
			break
		}
	}
	c.t.Fatalf("no driver takes the pipeline: %s", said)
}

// goesOn does what a probe of a driver's health does: it starts the leader again when a
// query has given up. One that is paused its driver starts by itself.
func (c *cast) goesOn() {
	c.t.Helper()
	c.alive()
	i := c.leader()
	if i < 0 {
		return
	}
	var list []struct{ Name, Status, Error string }
	if ask("http://"+c.http[i]+"/api/queries", &list) != nil {
		return
	}
	for _, q := range list {
		gaveUp := q.Status == "failed" && !strings.Contains(q.Error, "fenced") // that its driver sees to
		if !gaveUp {
			continue
		}
		if c.again++; c.again > restartsMax {
			c.t.Fatalf("query %s gives up again and again: %s", q.Name, q.Error)
		}
		c.t.Logf("query %s gave up, and its driver is started again: %s", q.Name, q.Error)
		c.drivers[i].kill()
		c.startDriver(i)
		return
	}
}

// database is a real PostgreSQL server of a test's own.
type database struct {
	t    testing.TB
	dir  string
	port int
}

const postgresTool = "../../tools/postgres/server"

// startDatabase returns nil where there is none.
func startDatabase(t testing.TB) *database {
	t.Helper()
	if os.Getenv("SLUICE_POSTGRES") == "" {
		t.Log("SLUICE_POSTGRES is not set: there is no table of a database among the sinks")
		return nil
	}
	dir, err := os.MkdirTemp("", "sluice-kafka-postgres-*")
	if err != nil {
		t.Fatal(err)
	}
	d := &database{t: t, dir: dir, port: freePorts(t, 1)}
	t.Cleanup(func() {
		_ = exec.Command(postgresTool, "down", dir).Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.up()
	return d
}

func (d *database) up() {
	d.t.Helper()
	// The disk is trusted: what is killed here is processes.
	if out, err := exec.Command(postgresTool, "up", d.dir, strconv.Itoa(d.port), "fsync=off").CombinedOutput(); err != nil {
		d.t.Fatalf("server up: %v\n%s", err, out)
	}
}

// kill ends the server without any warning.
func (d *database) kill() {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "pid"))
	if err != nil {
		d.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	late := time.After(patience)
	for runs(pid) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			d.t.Fatal("the database was killed and does not go")
		}
	}
}

// table declares a table of the database.
func (d *database) table(name, columns, more string) string {
	return fmt.Sprintf("CREATE TABLE %s (%s) WITH ('connector'='postgres', 'url'='postgres://sluice@127.0.0.1:%d/postgres', 'password'='${file:%s}', 'table'='public.%s', 'create-table'='true', 'connect-timeout'='5s'%s);\n",
		name, columns, d.port, filepath.Join(d.dir, "password"), name, more)
}

// row asks for one row, as a text.
func (d *database) row(query string) string {
	d.t.Helper()
	pass, err := os.ReadFile(filepath.Join(d.dir, "password"))
	if err != nil {
		d.t.Fatal(err)
	}
	cc, err := pgx.ParseConfig(fmt.Sprintf("postgres://sluice@127.0.0.1:%d/postgres", d.port))
	if err != nil {
		d.t.Fatal(err)
	}
	cc.Password = strings.TrimSpace(string(pass))
	conn, err := pgx.ConnectConfig(d.t.Context(), cc)
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	results, err := conn.PgConn().Exec(d.t.Context(), query).ReadAll()
	if err != nil {
		return err.Error()
	}
	var rows []string
	for _, r := range results[0].Rows {
		var cells []string
		for _, v := range r {
			cells = append(cells, string(v))
		}
		rows = append(rows, strings.Join(cells, " "))
	}
	return strings.Join(rows, "\n")
}
