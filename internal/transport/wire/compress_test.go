package wire

import (
	"context"
	"net"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/peer"

	"github.com/sluice-stream/sluice/internal/transport/transporttest"
)

func TestPackedRowsAreShorter(t *testing.T) {
	rec := transporttest.Wide(memory.DefaultAllocator, 1<<12)
	defer rec.Release()
	size := func(pack Compression) (sum int) {
		for _, b := range record(t, pack, rec) {
			sum += len(b)
		}
		return sum
	}
	plain := size(None)
	for _, pack := range []Compression{LZ4, ZSTD} {
		if n := size(pack); n > plain*2/3 {
			t.Errorf("%s makes %d bytes of %d", pack, n, plain)
		}
	}
	if size("") != plain {
		t.Error("rows are packed where nothing says so")
	}
}

// On one machine packing costs more than it gives.
func TestRowsAreNotPackedForLoopback(t *testing.T) {
	ip := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 7080} }
	for _, c := range []struct {
		to    net.Addr
		local bool
		want  Compression
	}{
		{ip("127.0.0.1"), false, None}, {ip("::1"), false, None}, {ip("127.0.0.1"), true, ZSTD}, {ip("10.0.0.1"), false, ZSTD}, {ip("fe80::1"), false, ZSTD},
	} {
		o := Options{Compression: ZSTD, PackLocal: c.local}
		if got := o.packing(peer.NewContext(context.Background(), &peer.Peer{Addr: c.to})); got != c.want {
			t.Errorf("to %s rows are packed by %q, want %q", c.to, got, c.want)
		}
	}
	if err := (Options{ID: "w", Listen: "127.0.0.1:0", Compression: "gzip"}).Validate(); err == nil {
		t.Error("a way of packing that there is not was taken")
	}
}
