package sluice

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/transport/wire"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// crowd is three drivers with workers in one process. On a loaded machine another one may
// lead at any moment, so that whatever is asked is asked again of who leads.
type crowd struct {
	*fleet
	peers map[string]string
	up    map[string]*Driver
	tls   func(role certs.Role, id string) string // the folder of a node's certificate; nil: plain
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	return newCrowdWith(t, nil)
}

func newCrowdWith(t *testing.T, issue func(role certs.Role, id string) string, change ...func(*DriverOptions)) *crowd {
	t.Helper()
	c := &crowd{fleet: &fleet{t: t, dir: t.TempDir(), workers: map[string]*Worker{}}, peers: map[string]string{}, up: map[string]*Driver{}, tls: issue}
	for _, f := range change {
		c.change = f
	}
	listeners := map[string]net.Listener{}
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("d%d", i+1)
		listeners[id], c.peers[id] = l, l.Addr().String()
	}
	t.Cleanup(func() {
		for id := range c.workers {
			c.leave(id)
		}
		for id := range c.up {
			c.end(id)
		}
	})
	for id, l := range listeners {
		c.begin(id, l)
	}
	return c
}

// begin starts a driver, at its own address if l is nil.
func (c *crowd) begin(id string, l net.Listener) {
	c.t.Helper()
	opts := DriverOptions{ID: id, TLSDir: c.certificate(certs.Driver, id), Data: filepath.Join(c.dir, id), Listen: c.peers[id], Peers: c.peers, listener: l,
		CheckpointDir: c.checkpoints(), Lease: 2 * time.Second, Settings: map[string]string{"checkpoint.interval": "100ms"}, Logger: slog.New(slog.DiscardHandler)}
	if c.change != nil {
		c.change(&opts)
	}
	d, err := StartDriver(c.t.Context(), opts)
	if err != nil {
		c.t.Fatal(err)
	}
	c.up[id] = d
}

func (c *crowd) certificate(role certs.Role, id string) string {
	if c.tls == nil {
		return ""
	}
	return c.tls(role, id)
}

func (c *crowd) checkpoints() string { return filepath.Join(c.dir, "ck") }

func (c *crowd) end(id string) {
	c.t.Helper()
	if err := c.up[id].Close(); err != nil {
		c.t.Error(err)
	}
	delete(c.up, id)
}

func (c *crowd) joinAll(id string) {
	c.t.Helper()
	var join []string
	for _, addr := range c.peers {
		join = append(join, addr)
	}
	slices.Sort(join)
	w, err := JoinCluster(c.t.Context(), WorkerOptions{ID: id, Join: join, TLSDir: c.certificate(certs.Worker, id), Slots: 2,
		Settings: map[string]string{"checkpoint.cache-dir": filepath.Join(c.dir, "cache-"+id)}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		c.t.Fatal(err)
	}
	c.workers[id] = w
}

// leader waits for who leads.
func (c *crowd) leader() (id string) {
	c.t.Helper()
	c.until("somebody leads", func() bool {
		for name, d := range c.up {
			if d.Leads() {
				id = name
				return true
			}
		}
		return false
	})
	return id
}

// ask asks who leads, and if that is another one by then, that one.
func (c *crowd) ask(what string, f func(d *Driver) error) {
	c.t.Helper()
	var last error
	c.until(what, func() bool {
		last = f(c.up[c.leader()])
		if last != nil && !errors.Is(last, raftlog.ErrNotLeader) && !errors.Is(last, context.Canceled) {
			c.t.Fatalf("%s: %v", what, last)
		}
		return last == nil
	})
}

func (c *crowd) submit(name string) {
	c.t.Helper()
	c.ask("the pipeline is taken", func(d *Driver) error {
		_, err := d.Submit(c.t.Context(), name, c.script())
		return err
	})
}

// complete waits until all numbers below end are counted, once.
func (c *crowd) complete(end int) {
	c.t.Helper()
	want := c.counted(end)
	c.until(fmt.Sprintf("%d numbers are counted", end), func() bool {
		got, err := c.shown() // of a folder that is not there yet, or of files that go meanwhile
		return err == nil && slices.Equal(got, want)
	})
}

// running is the query where it runs.
func (c *crowd) running() (q *Query) {
	c.t.Helper()
	c.until("the query runs", func() bool {
		for _, d := range c.up {
			if list := d.Queries(); len(list) == 1 {
				q = list[0]
				return true
			}
		}
		return false
	})
	return q
}

// Drivers take over from each other in good order and after all were away, and the output
// is what one driver would have made. Only who leads is asked for anything.
func TestDriversTakeOver(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.joinAll("w1")
	c.joinAll("w2")
	c.add(0, 100)
	c.submit("numbers")
	c.submit("numbers") // again: somebody did not hear the answer
	c.complete(100)
	id := c.running().ID()

	first := c.leader()
	for name, d := range c.up {
		if name == first || d.Leads() {
			continue
		}
		if _, err := d.Submit(t.Context(), "other", c.script()); !errors.Is(err, raftlog.ErrNotLeader) {
			t.Errorf("driver %s does not lead, and answers %v", name, err)
		}
	}
	c.add(100, 300)
	c.end(first)
	c.add(300, 400)
	c.complete(400)
	if now := c.running().ID(); now != id {
		t.Errorf("query %s became %s", id, now)
	}
	c.begin(first, nil)
	c.ask("another driver is to lead", func(d *Driver) error { return d.ChangeDrivers(t.Context(), DriversChange{Action: "handover"}) })
	c.add(400, 500)
	c.complete(500)
	for name := range c.up {
		c.end(name)
	}
	c.add(500, 600)
	for name := range c.peers {
		c.begin(name, nil)
	}
	c.complete(600)
	c.ask("the pipeline is removed", func(d *Driver) error {
		err := d.Remove(t.Context(), "numbers")
		if errors.Is(err, raftlog.ErrNotFound) || errors.Is(err, errNoPipeline) { // it was, and the answer got lost
			return nil
		}
		return err
	})
	c.submit("numbers") // it goes on
	c.add(600, 700)
	c.complete(700)
	if now := c.running().ID(); now != id {
		t.Errorf("query %s became %s", id, now)
	}
}

// What several drivers keep cannot be taken for a log of files, and a savepoint goes
// where its state goes.
func TestDriversCheckpointFromOutside(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	c.joinAll("w1")
	c.add(0, 100)
	c.submit("numbers")
	c.complete(100)
	dir := filepath.Join(c.checkpoints(), "counting")
	if _, err := SaveCheckpoint(dir, "s"); !errors.Is(err, filelog.ErrClaimed) {
		t.Errorf("a savepoint from outside: %v", err)
	}
	c.until("a savepoint is made", func() bool {
		_, err := c.running().Save(t.Context(), "s")
		return err == nil || strings.Contains(err.Error(), "exists already")
	})
	log := slog.New(slog.DiscardHandler)
	run := func(query string) error {
		s, err := NewSession(Options{CheckpointDir: c.checkpoints(), Pipeline: true, Once: true, Logger: log})
		if err != nil {
			return err
		}
		err = s.Exec(t.Context(), strings.Replace(c.script(), "CREATE STREAMING QUERY counting", "CREATE STREAMING QUERY "+query, 1))
		if err == nil {
			err = s.AwaitAll(t.Context())
		}
		return errors.Join(err, s.Close())
	}
	if err := run("counting"); !errors.Is(err, filelog.ErrClaimed) {
		t.Errorf("the query in a process of its own: %v", err)
	}
	c.ask("the pipeline is removed", func(d *Driver) error {
		if err := d.Remove(t.Context(), "numbers"); err != nil && !errors.Is(err, raftlog.ErrNotFound) && !errors.Is(err, errNoPipeline) {
			return err
		}
		return nil
	})
	c.add(100, 200)
	if err := run("alone CHECKPOINT '" + filepath.Join(c.dir, "alone") + "' FROM CHECKPOINT '" + dir + "' SAVEPOINT 's'"); err != nil {
		t.Fatal(err)
	}
	c.complete(200)
	c.ask("the query is forgotten", func(d *Driver) error {
		err := d.ChangeDrivers(t.Context(), DriversChange{Action: "forget", Query: "counting"})
		if err != nil && strings.Contains(err.Error(), "know no query") {
			return nil // it was, and the answer got lost
		}
		return err
	})
	if claim, err := filelog.ReadClaim(vfsx.Default, dir); claim != nil || err != nil {
		t.Errorf("the folder is still taken: %+v, %v", claim, err)
	}
	if list, err := Savepoints(dir); err != nil || len(list) != 1 {
		t.Errorf("savepoints of the forgotten query: %v, %v", list, err)
	}
	if err := os.RemoveAll(filepath.Join(c.dir, "out")); err != nil {
		t.Fatal(err)
	}
	c.submit("numbers") // it begins as if it were new
	c.complete(200)
}

// A query that ran on one driver goes on with several, under its ID.
func TestDriversTakeOverALogOfFiles(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	d, err := StartDriver(t.Context(), DriverOptions{ID: "d0", Data: filepath.Join(c.dir, "d0"), Listen: "127.0.0.1:0", CheckpointDir: c.checkpoints(),
		Settings: map[string]string{"checkpoint.interval": "100ms"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	c.d = d
	c.add(0, 100)
	if _, err := d.Submit(t.Context(), "numbers", c.script()); err != nil {
		t.Fatal(err)
	}
	c.join("w0")
	c.check(100)
	id := c.query().ID()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	c.leave("w0")
	c.joinAll("w1")
	c.submit("numbers")
	c.add(100, 200)
	c.complete(200)
	if now := c.running().ID(); now != id {
		t.Errorf("query %s became %s", id, now)
	}
	if d, err := StartDriver(t.Context(), DriverOptions{ID: "d0", Data: filepath.Join(c.dir, "d0"), Listen: "127.0.0.1:0", CheckpointDir: c.checkpoints(),
		Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Error(err)
	} else {
		if p := d.Pipelines(); len(p) != 1 || !strings.Contains(p[0].Error, "kept by the drivers") {
			t.Errorf("the driver that is alone runs %+v", p)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Drivers and workers share a port by what their certificates let them be: a driver's
// alone speaks with drivers, and takes over from one.
func TestDriversTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	if err := certs.Init(ca, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	c := newCrowdWith(t, func(role certs.Role, id string) string {
		out := filepath.Join(dir, id)
		if !made[id] {
			if err := certs.Issue(ca, out, certs.Request{Role: role, IDs: []string{id}, Hosts: []string{"127.0.0.1"}}, time.Now()); err != nil {
				t.Fatal(err)
			}
			made[id] = true
		}
		return out
	})
	c.joinAll("w1")
	c.add(0, 100)
	c.submit("numbers")
	c.complete(100)
	c.end(c.leader())
	c.add(100, 200)
	c.complete(200)
	mine, err := certs.Load(c.certificate(certs.Worker, "w2"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	at := c.peers[c.leader()]
	for alpn, taken := range map[string]bool{wire.ALPN: true, raftlog.ALPN: false} {
		conf := mine.Client(at, certs.Driver)
		conf.NextProtos = []string{alpn}
		conn, err := tls.Dial("tcp", at, conf)
		if err != nil {
			t.Fatalf("%s: %v", alpn, err)
		}
		patience := time.Minute // who is refused is told so
		if taken {
			patience = 100 * time.Millisecond
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		var late net.Error
		if _, err := conn.Read(make([]byte, 1)); taken != (err == nil || errors.As(err, &late) && late.Timeout()) {
			t.Errorf("a worker that speaks %s is told %v", alpn, err)
		}
		_ = conn.Close()
	}
}

// Any driver may be asked over HTTP: who does not lead sends to who does.
func TestDriversHTTP(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	urls := map[string]string{}
	for id, d := range c.up {
		srv, err := d.ServeHTTP("127.0.0.1:0", HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		urls[id] = srv.URL()
	}
	c.add(0, 100)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ask := func(url, method, body string) (int, string, string) {
		t.Helper()
		code, b, header := submit(t, client, method, url, body)
		return code, header.Get("Location"), b
	}
	for id, url := range urls {
		c.until("driver "+id+" leads or sends to who does", func() bool {
			code, to, body := ask(url+"/api/pipelines/numbers", "POST", c.script())
			switch code {
			case http.StatusCreated, http.StatusServiceUnavailable:
				return code == http.StatusCreated
			case http.StatusTemporaryRedirect:
				if !strings.HasSuffix(to, "/api/pipelines/numbers") || strings.HasPrefix(to, url) {
					t.Errorf("driver %s at %s sends to %s", id, url, to)
				}
				code, _, _ = ask(to, "POST", c.script())
				return code == http.StatusCreated
			default:
				t.Fatalf("driver %s answers %d %s", id, code, body)
				return false
			}
		})
		c.until("driver "+id+" knows the three", func() bool {
			code, _, body := ask(url+"/api/drivers", "GET", "")
			return code == http.StatusOK && strings.Count(body, `"address"`) == 3 && strings.Contains(body, `"leads": true`)
		})
		if code, _, body := ask(url+"/healthz", "GET", ""); code != http.StatusOK || !strings.Contains(body, `"role"`) {
			t.Errorf("driver %s is %d %s", id, code, body)
		}
		if code, _, body := ask(url+"/metrics", "GET", ""); code != http.StatusOK || !strings.Contains(body, "sluice_driver_members 3") {
			t.Errorf("metrics of driver %s: %d %s", id, code, body)
		}
		if code, _, _ := ask(url+"/api/drivers", "POST", `{"action": "dance"}`); code != http.StatusBadRequest && code != http.StatusTemporaryRedirect && code != http.StatusServiceUnavailable {
			t.Errorf("driver %s dances: %d", id, code)
		}
	}
}
