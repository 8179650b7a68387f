package raftlog

import (
	"testing"
	"testing/synctest"
)

func TestThreeDriversAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		w.start("d1", "d2", "d3")
		n := w.leader("d1", "d2", "d3")
		q := create(t, n, "hot")
		l := life(t, n, q.ID)
		batches(t, l, 0, 10)
		w.stopAll()
	})
}
