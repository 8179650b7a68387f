package clock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestManualRunsDueFunctionsInOrderAtTheirOwnTime(t *testing.T) {
	c := NewManual(start)
	var got []string
	note := func(name string) func() {
		return func() { got = append(got, fmt.Sprintf("%s@%s", name, c.Now().Sub(start))) }
	}
	c.AfterFunc(3*time.Second, note("c"))
	c.AfterFunc(time.Second, note("a"))
	c.AfterFunc(time.Second, note("b"))
	c.AfterFunc(2*time.Second, func() {
		note("chain")()
		c.AfterFunc(500*time.Millisecond, note("link"))
		c.AfterFunc(time.Hour, note("late"))
	})
	stop := c.AfterFunc(time.Second, note("stopped"))
	if !stop() || stop() {
		t.Fatal("stop must report true once")
	}
	if at, ok := c.Next(); !ok || !at.Equal(start.Add(time.Second)) {
		t.Fatalf("next is %v %v", at, ok)
	}
	c.Advance(10 * time.Second)
	want := []string{"a@1s", "b@1s", "chain@2s", "link@2.5s", "c@3s"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
	if now := c.Now(); !now.Equal(start.Add(10 * time.Second)) {
		t.Fatalf("the clock stands at %v", now)
	}
	if c.Pending() != 1 {
		t.Fatalf("%d pending, want the late one", c.Pending())
	}
	c.AdvanceTo(start)
	if now := c.Now(); now.Before(start.Add(10 * time.Second)) {
		t.Fatalf("K1: the clock fell to %v", now)
	}
}

func TestManualZeroDelayWaitsForTheNextAdvance(t *testing.T) {
	c := NewManual(start)
	ran := false
	stop := c.AfterFunc(-time.Second, func() { ran = true })
	if ran {
		t.Fatal("ran inside AfterFunc")
	}
	c.Advance(0)
	if !ran {
		t.Fatal("did not run at the next advance")
	}
	if stop() {
		t.Fatal("stopped something that had run")
	}
}

func TestWaitOnManualAndCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewManual(start)
		var done atomic.Bool
		errs := make(chan error, 1)
		go func() {
			err := Wait(t.Context(), c, time.Minute)
			done.Store(true)
			errs <- err
		}()
		synctest.Wait()
		if done.Load() || c.Pending() != 1 {
			t.Error("returned before the time")
		}
		c.Advance(time.Minute)
		if err := <-errs; err != nil {
			t.Error(err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		go func() { errs <- Wait(ctx, c, time.Minute) }()
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if c.Pending() != 0 {
			t.Error("a cancelled wait left its timer behind")
		}
		if err := Wait(ctx, c, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("a done context must be seen even with nothing to wait for: %v", err)
		}
	})
}

func TestSystemFollowsTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := System()
		before := c.Now()
		if err := Wait(t.Context(), c, time.Hour); err != nil {
			t.Fatal(err)
		}
		if d := c.Now().Sub(before); d != time.Hour {
			t.Fatalf("an hour took %v", d)
		}
		stop := c.AfterFunc(time.Hour, func() { t.Error("ran after stop") })
		if !stop() {
			t.Fatal("stop reported false")
		}
		if err := Wait(t.Context(), c, 2*time.Hour); err != nil {
			t.Fatal(err)
		}
	})
}
