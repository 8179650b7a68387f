package kafka

import (
	"testing"
	"time"
)

// Brokers are left alone for the first half of the time between two batches, but never
// while batches are rare, or so frequent that it is not worth it.
func TestPacer(t *testing.T) {
	now := time.Unix(1000, 0)
	var p pacer
	if d := p.wait(now); d != 0 {
		t.Errorf("it waits %s before any batch", d)
	}
	batches := func(n int, every time.Duration) {
		for range n {
			now = now.Add(every)
			p.planned(now)
		}
	}
	batches(100, 8*time.Millisecond)
	if d := p.wait(now); d < 3*time.Millisecond || d > 4*time.Millisecond {
		t.Errorf("with a batch each 8 ms it waits %s", d)
	}
	if d := p.wait(now.Add(4 * time.Millisecond)); d != 0 {
		t.Errorf("in the second half it waits %s", d)
	}
	batches(1, 2*paceMax)
	if d := p.wait(now); d != 0 {
		t.Errorf("after a pause it waits %s", d)
	}
	batches(100, time.Millisecond)
	if d := p.wait(now); d != 0 {
		t.Errorf("with a batch each ms it waits %s", d)
	}
}
