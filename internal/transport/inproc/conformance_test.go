package inproc

import (
	"testing"

	"github.com/sluice-stream/sluice/internal/transport/transporttest"
)

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transporttest.Bed {
		net := New(Options{InboxMax: 8})
		b := transporttest.Bed{Driver: join(t, net, "driver"), First: join(t, net, "first"), Second: join(t, net, "second")}
		b.Close = func() {
			for _, n := range []*Node{b.Driver.(*Node), b.First.(*Node), b.Second.(*Node)} {
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		return b
	})
}
