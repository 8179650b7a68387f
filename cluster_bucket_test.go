package sluice

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// states are those in buckets that a worker has open, by the key of their deployment.
func (p *plans) states() map[string]*lodger {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.mu.lodgers)
}

// objects lists the files of state that a bucket holds.
func objects(t *testing.T, b *s3mem.Backend, prefix string) (names []string) {
	t.Helper()
	list, err := b.ListBucket("lake", &gofakes3.Prefix{HasPrefix: true, Prefix: prefix}, gofakes3.ListBucketPage{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Contents {
		names = append(names, o.Key)
	}
	return names
}

// forgotten waits until something is deleted of the state that is there when it is called,
// while there is more of it.
func forgotten(t *testing.T, until func(string, func() bool), b *s3mem.Backend, more func()) {
	t.Helper()
	var was []string
	until("there is state", func() bool {
		was = objects(t, b, "ck/counting/state/")
		return len(was) > 0
	})
	until("files that nobody needs are deleted", func() bool {
		more()
		now := objects(t, b, "ck/counting/state/")
		return slices.ContainsFunc(was, func(name string) bool { return !slices.Contains(now, name) })
	})
}

// A cluster shares nothing but a bucket: state goes there and comes from there while
// workers come and go and the driver is started again, and the rows of a sink that
// prepares in memory come to the driver by the network. What is not needed any more is
// deleted by the driver.
func TestClusterBucket(t *testing.T) {
	backend := bucketServer(t, nil)
	out := &logged{}
	f := newFleetWith(t, func(o *DriverOptions) {
		o.CheckpointDir, o.Stdout = "s3://lake/ck", out
		o.Settings["checkpoint.cache-dir"] = filepath.Join(t.TempDir(), "gone", "driver")
		o.Settings["spill.dir"] = t.TempDir() // workers have their own
		o.Settings["checkpoint.retain"], o.Settings["checkpoint.interval"] = "1", "20ms"
	})
	f.add(0, 100)
	script := f.script() + `
CREATE TABLE shown (digit BIGINT, n BIGINT) WITH ('connector' = 'console');
CREATE STREAMING QUERY showing TRIGGER EVERY '10 ms' AS INSERT INTO shown SELECT digit, n FROM numbers WHERE n % 100 = 7;`
	if _, err := f.d.Submit(t.Context(), "numbers", script); err != nil {
		t.Fatal(err)
	}
	f.join("w1")
	f.check(100)
	f.join("w2")
	f.until("both work", func() bool { return f.workers["w2"].worker.Plans() == 2 })
	f.add(100, 1000)
	f.check(1000)
	f.leave("w1")
	f.add(1000, 1500)
	f.check(1500)
	f.stop()
	f.start()
	f.leave("w2")
	f.join("w3")
	f.add(1500, 1600)
	f.check(1600)
	f.join("w4") // what w3 has is kept for the plan with both
	f.until("both work", func() bool { return f.workers["w4"].worker.Plans() == 2 })
	f.add(1600, 1700)
	f.check(1700)
	f.until("the last lines are shown", func() bool { return strings.Contains(out.String(), "1607") })
	for n := 7; n < 1700; n += 100 {
		if got := strings.Count(out.String(), fmt.Sprintf("| %d ", n)) + strings.Count(out.String(), fmt.Sprintf(" %d |", n)); got == 0 {
			t.Errorf("%d was not shown", n)
		}
	}
	for key, l := range f.workers["w3"].plans.states() { // whoever leads goes on with the plan as it is
		d := transport.Deploy{Key: key + " of another leader", Query: l.query, StateDir: "s3://lake/ck/counting/state"}
		plans := f.workers["w3"].plans
		if !plans.Inherit(key, d) || plans.states()[d.Key] != l {
			t.Errorf("the state of plan %s does not go on under the same plan of another leader", key)
		}
		if !plans.Inherit(d.Key, transport.Deploy{Key: key, Query: l.query, StateDir: d.StateDir}) || plans.states()[key] != l {
			t.Errorf("the state of plan %s is lost", key)
		}
	}
	f.leave("w4") // and now for one with w3 alone
	f.add(1700, 1800)
	f.check(1800)
	end := 1800
	forgotten(t, f.until, backend, func() {
		f.add(end, end+10)
		end += 10
		f.check(end)
	})
	for _, name := range objects(t, backend, "ck/") {
		if !strings.Contains(name, "/state/") && !strings.Contains(name, "/journal/") {
			t.Errorf("%s is neither of the state nor of the journal", name)
		}
	}
	if err := f.d.Remove(t.Context(), "numbers"); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(f.dir, "d1", "checkpoints")); err == nil && len(left) > 0 {
		t.Errorf("in the driver's folder are %v", left)
	}
}

// Drivers that share nothing but a bucket take over from each other: who leads holds what is
// written down there, so that state which nobody needs goes, and the one before changes
// nothing any more.
func TestDriversBucket(t *testing.T) {
	backend := bucketServer(t, nil)
	cache := t.TempDir()
	c := newCrowdWith(t, nil, func(o *DriverOptions) {
		o.CheckpointDir = "s3://lake/ck"
		o.Settings["checkpoint.cache-dir"] = filepath.Join(cache, o.ID)
		o.Settings["checkpoint.retain"], o.Settings["checkpoint.interval"] = "1", "20ms"
	})
	c.joinAll("w1")
	c.joinAll("w2")
	c.add(0, 100)
	c.submit("numbers")
	c.complete(100)
	id, end := c.running().ID(), 100
	tidy := func() {
		t.Helper()
		forgotten(t, c.until, backend, func() {
			c.add(end, end+10)
			end += 10
			c.complete(end)
		})
	}
	for range 2 {
		c.ask("another driver is to lead", func(d *Driver) error { return d.ChangeDrivers(t.Context(), DriversChange{Action: "handover"}) })
		c.add(end, end+100)
		end += 100
		c.complete(end)
		tidy()
	}
	first := c.leader()
	c.end(first)
	c.add(end, end+100)
	end += 100
	c.complete(end)
	c.begin(first, nil)
	tidy()
	if now := c.running().ID(); now != id {
		t.Errorf("query %s became %s", id, now)
	}
	c.ask("the pipeline is removed", func(d *Driver) error {
		if err := d.Remove(t.Context(), "numbers"); err != nil && !errors.Is(err, raftlog.ErrNotFound) && !errors.Is(err, errNoPipeline) {
			return err
		}
		return nil
	})
	s, err := NewSession(Options{CheckpointDir: "s3://lake/ck", Pipeline: true, Once: true, Settings: map[string]string{"checkpoint.cache-dir": filepath.Join(cache, "alone")}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Exec(t.Context(), c.script()), s.AwaitAll(t.Context()), s.Close()); !errors.Is(err, filelog.ErrClaimed) {
		t.Errorf("the query in a process of its own: %v", err)
	}
	c.ask("the query is forgotten", func(d *Driver) error {
		err := d.ChangeDrivers(t.Context(), DriversChange{Action: "forget", Query: "counting"})
		if err != nil && strings.Contains(err.Error(), "know no query") {
			return nil // it was, and the answer got lost
		}
		return err
	})
	if err := os.RemoveAll(filepath.Join(c.dir, "out")); err != nil {
		t.Fatal(err)
	}
	c.submit("numbers") // it begins as if it were new
	c.complete(end)
	if now := c.running().ID(); now == id {
		t.Error("a query that was forgotten has its ID again")
	}
}

// Places stay open between the plans of a worker, up to a number, and are closed with it.
func TestPlacesOfAWorker(t *testing.T) {
	bucketServer(t, nil)
	set, err := newSettings(map[string]string{"checkpoint.cache-dir": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	all := &places{}
	b := &buckets{set: set, shared: all}
	first := b.folder("s3://lake/ck/a")
	if err := b.failure(first); err != nil || !vfsx.Mounted(first) {
		t.Fatal(first, err)
	}
	two := &buckets{set: set, shared: all}
	if again := two.folder("s3://lake/ck/a/"); again != first {
		t.Errorf("the second plan has %s, the first %s", again, first)
	}
	if err := b.close(); err != nil || len(all.by) != 1 || all.by[0].users != 1 {
		t.Errorf("%d places, %v", len(all.by), err)
	}
	var dirs []string
	for i := range 2 * idlePlacesMax {
		one := &buckets{set: set, shared: all}
		dirs = append(dirs, one.folder(fmt.Sprintf("s3://lake/ck/%d", i)))
		if err := one.close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(all.by) != idlePlacesMax+1 || vfsx.Mounted(dirs[0]) || !vfsx.Mounted(dirs[len(dirs)-1]) || !vfsx.Mounted(first) {
		t.Errorf("%d places are open", len(all.by))
	}
	if err := all.close(); err != nil || len(all.by) != 1 {
		t.Errorf("%d places are open after the end, %v", len(all.by), err)
	}
	if err := two.close(); err != nil || len(all.by) != 0 || slices.ContainsFunc(append(dirs, first), vfsx.Mounted) {
		t.Errorf("%d places are open after the last plan, %v", len(all.by), err)
	}
	if dir := two.folder("s3://lake/ck/a"); two.failure(dir) == nil {
		t.Error("a worker that is closed opens a checkpoint")
	}
}
