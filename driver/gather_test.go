package driver

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/internal/transport"
)

// Workers that are known to come are waited for, but not for long.
func TestWorkersGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMembers(nil)
		join := func(id string) { m.Join(Member{ID: transport.NodeID(id), Run: "1"}) }
		is := func(what string, n int) {
			t.Helper()
			if got := len(m.usable()); got != n {
				t.Errorf("%s: %d workers are given tasks, want %d", what, got, n)
			}
		}
		moved, stop := m.watch()
		defer stop()
		join("w1")
		<-moved
		m.Gather([]transport.NodeID{"w1", "w2", "w3"}, 200*time.Millisecond)
		is("one is there", 0)
		join("w2")
		<-moved
		is("two are there", 0)
		join("w3")
		<-moved
		is("all are there", 3)

		m.Gather([]transport.NodeID{"w4", "w5"}, 200*time.Millisecond)
		is("w1 to w3 came before", 0)
		begun := time.Now()
		<-moved
		is("the others do not come", 3)
		if took := time.Since(begun); took != 200*time.Millisecond {
			t.Errorf("they were waited for %s", took)
		}
		for _, id := range []string{"w1", "w2", "w3"} {
			m.Lose(transport.NodeID(id), "1")
			<-moved
		}
		m.Gather([]transport.NodeID{"w1", "w2"}, 200*time.Millisecond)
		<-time.After(time.Hour)
		begun = time.Now()
		join("w9")
		<-moved
		is("a stranger is there", 0)
		<-moved
		is("nobody else comes", 1)
		if took := time.Since(begun); took != 200*time.Millisecond {
			t.Errorf("they were waited for %s", took)
		}
		m.Gather([]transport.NodeID{"w1"}, time.Minute)
		m.Gather(nil, 0)
		is("nobody is waited for any more", 1)
	})
}
