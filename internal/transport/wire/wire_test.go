package wire

import (
	"context"
	"errors"
	"io"
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
func bed(t *testing.T, pack Compression) transporttest.Bed {
	n := newNetwork()
	h := n.hub(t, "d:1")
	first := n.node(t, "first", "f:1")
	second := n.node(t, "second", "s:1", func(o *Options) { o.Compression, o.PackLocal = pack, true })
	await(h, 2)
	attached(first)
	attached(second)
	synctest.Wait() // each knows where the other is
	return transporttest.Bed{Driver: endpoint(t, h, "driver"), First: first, Second: second, Close: func() { closeAll(t, first, second, h) }}
}

func TestConformance(t *testing.T) {
	transporttest.Run(t, func(t *testing.T) transporttest.Bed { return bed(t, None) })
}

func TestPackedRows(t *testing.T) {
	for _, pack := range []Compression{LZ4, ZSTD} {
		t.Run(string(pack), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bed(t, pack)
				defer b.Close()
				transporttest.Rows(t, b)
			})
		})
	}
}

type (
	ctxType = context.Context
	reader  = sources.Reader
)

var bidi = grpc.StreamDesc{ServerStreams: true, ClientStreams: true}

// A worker reads from the driver's nodes, too, as long as it is joined; one that is not
// there is gone.
func TestRowsOfTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bed(t, None)
		defer b.Close()
		want := transport.StreamRef{Key: "k", Ask: transport.Settle{Source: "s", Batch: 3}}
		b.Driver.Serve(func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
			if ref != want {
				t.Errorf("asked for %+v", ref)
			}
			return transporttest.NewReader(nil), nil
		})
		read := func(from string) error {
			r, err := b.First.Fetch(t.Context(), nodeID(from), want, nil)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = r.Next(t.Context())
			return err
		}
		if err := read("driver"); err != io.EOF {
			t.Errorf("from the driver's node: %v", err)
		}
		if err := read("driver/other"); !errors.Is(err, transport.ErrGone) {
			t.Errorf("from a node that is not there: %v", err)
		}
	})
}
