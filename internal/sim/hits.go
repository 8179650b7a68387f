package sim

import (
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/microbatch"
)

// Hits counts how often each crash point of the failure model was reached.
type Hits [24]int

// At counts one hit of point Cn.
func (h *Hits) At(n int) {
	if h != nil {
		h[n]++
	}
}

// Add adds another count.
func (h *Hits) Add(o *Hits) {
	for i := range h {
		h[i] += o[i]
	}
}

// String prints every point and its count.
func (h *Hits) String() string {
	var b strings.Builder
	for i := 1; i < len(h); i++ {
		fmt.Fprintf(&b, "C%d=%d ", i, h[i])
	}
	return strings.TrimSpace(b.String())
}

// crash counts the points at which a driver dies, by what it had under way.
func (h *Hits) crash(n *node) {
	if h == nil {
		return
	}
	for _, a := range n.appends {
		for _, r := range a.recs {
			switch r.(type) {
			case microbatch.Planned:
				h.At(1)
			case microbatch.Committed:
				h.At(6)
			case microbatch.Started, microbatch.Checkpointed, microbatch.Adopted:
			}
		}
	}
	c := n.w.check
	if len(c.plans) > len(c.commits) && n.run == nil {
		h.At(2)
	}
	if r := n.run; r != nil && r.collect != nil && r.ask.Mode == microbatch.Live {
		h.At(4)
		if r.collect.Left() < len(r.parts) {
			h.At(5) // results that are durable and unreported are lost with the message
		}
	}
	if n.showing != nil {
		switch {
		case n.shown == 0:
			h.At(10)
		case n.shown == len(n.showing.Sinks):
			h.At(8)
		default:
			h.At(9)
		}
	}
	if n.uploading {
		h.At(11)
		h.At(12)
	}
	if n.truncating {
		h.At(13)
	}
	if n.restoring || n.run != nil && n.run.ask.Mode != microbatch.Live {
		h.At(14)
	}
}
