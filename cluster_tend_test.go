package sluice

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// A disk that is full pauses a pipeline's query; when there is room it goes on by itself.
func TestClusterQueryIsPausedWhileTheDiskIsFull(t *testing.T) {
	f := newFleet(t)
	disk := &stopping{err: syscall.ENOSPC}
	dir, err := filepath.EvalSymlinks(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	unmount, err := vfsx.Mount(filepath.Join(dir, "d1", "checkpoints"), vfsx.Wrap(vfsx.Machine, vfsx.InjectorFunc(disk.fault)))
	if err != nil {
		t.Fatal(err)
	}
	defer unmount()
	f.join("w1")
	f.add(0, 3)
	if _, err := f.d.Submit(t.Context(), "p", f.script()); err != nil {
		t.Fatal(err)
	}
	f.check(3)
	disk.begin()
	f.add(3, 6)
	f.until("the query is paused", func() bool { return f.query().Status() == "paused" })
	if err := f.query().ended(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("it is paused for %v", err)
	}
	disk.on.Store(false)
	f.until("the query goes on by itself", func() bool { return f.query().ended() == nil })
	f.check(6)
}

// A driver whose disk is slow joins its group after nobody has tended queries: there are
// none yet, nor is there anybody to ask who leads.
func TestQueriesAreTendedOnceTheGroupIsJoined(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var slow sync.Once
	unmount, err := vfsx.Mount(filepath.Join(dir, replicaDir), vfsx.Wrap(vfsx.Machine, vfsx.InjectorFunc(func(vfsx.Op) error {
		slow.Do(func() { <-time.After(3 * tendEvery) })
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer unmount()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d, err := StartDriver(t.Context(), DriverOptions{ID: "d1", Data: dir, Listen: l.Addr().String(), listener: l, Peers: map[string]string{"d1": l.Addr().String()},
		CheckpointDir: filepath.Join(dir, "ck"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestPausesGrow(t *testing.T) {
	all, now := pauses{}, time.Now()
	began, starts := now, 0
	for range 1000 {
		now = now.Add(tendEvery)
		if all.due("q", true, now) {
			starts++
		}
	}
	if took := now.Sub(began); starts < int(took/pauseMax) || starts > int(took/pauseMax)+6 {
		t.Errorf("%d starts in %s", starts, took)
	}
	for range 1000 {
		now = now.Add(tendEvery)
		if all.due("q", false, now) {
			t.Fatal("a query that runs is started")
		}
	}
	if all.forget(now); len(all) != 0 {
		t.Errorf("it is remembered for ever: %v", all["q"])
	}
}

// A pipeline that could not be started and then goes on is forgotten, and so is one that
// is removed while it stands still: what is called so later begins with the first pause.
func TestPausesOfPipelinesAreForgotten(t *testing.T) {
	s, err := NewSession(Options{CheckpointDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	broken := &pipeline{stored: stored{Name: "p"}, err: batch.ExternalError(errors.New("it does not answer"), true)}
	for what, then := range map[string][]*pipeline{"goes on": {{stored: broken.stored, s: s}}, "was removed": nil} {
		all, now := pauses{}, time.Now()
		d := &Driver{}
		d.tendPipelines(t.Context(), []*pipeline{broken}, all, now)
		if len(all) != 1 {
			t.Fatalf("%d pauses", len(all))
		}
		d.tendPipelines(t.Context(), then, all, now.Add(pauseFirst+2*pauseForget))
		if len(all) != 0 {
			t.Errorf("a pipeline %s, and is remembered: %+v", what, *all["pipeline p"])
		}
	}
}

func TestWhatPasses(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("a bug"), false},
		{batch.UserErrorf("a wrong text"), false},
		{batch.ExternalError(errors.New("the table was dropped"), false), false},
		{batch.ExternalError(errors.New("it does not answer"), true), true},
		{fmt.Errorf("query q: %w", batch.ExternalError(fmt.Errorf("the disk is full: %w", syscall.ENOSPC), false)), true},
		{fmt.Errorf("query q: %w: %w", batch.ErrFenced, syscall.EDQUOT), false},
	} {
		if got := passes(c.err); got != c.want {
			t.Errorf("%v passes: %v", c.err, got)
		}
	}
}
