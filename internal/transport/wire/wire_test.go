package wire

import (
	"context"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/transporttest"
	"github.com/sluice-stream/sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func nodeID(s string) transport.NodeID { return transport.NodeID(s) }

// await waits until as many have joined.
func await(h *Hub, n int) []Member {
	for {
		changed := h.Changed()
		if m := h.Members(); len(m) == n {
			return m
		}
		<-changed
	}
}

// attached waits until a worker has joined.
func attached(n *Node) Link {
	for {
		changed := n.Changed()
		if l := n.Link(); l.Attached || l.Refused != nil {
			return l
		}
		<-changed
	}
}

func endpoint(t *testing.T, h *Hub, id string) *Endpoint {
	t.Helper()
	e, err := h.Join(nodeID(id))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// bed is a driver and two workers; the second one sends its rows as told.
func bed(t *testing.T, lz4 bool) transporttest.Bed {
	n := newNetwork()
	h := n.hub(t, "d:1")
	first := n.node(t, "first", "f:1")
	second := n.node(t, "second", "s:1", func(o *Options) { o.LZ4 = lz4 })
	await(h, 2)
	attached(first)
	attached(second)
	synctest.Wait() // each knows where the other is
	return transporttest.Bed{Driver: endpoint(t, h, "driver"), First: first, Second: second, Close: func() { closeAll(t, first, second, h) }}
}

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transporttest.Bed { return bed(t, false) })
}

func TestCompressedRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bed(t, true)
		defer b.Close()
		transporttest.Rows(t, b)
	})
}

type (
	ctxType = context.Context
	reader  = sources.Reader
)

var bidi = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
