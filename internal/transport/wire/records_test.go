package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"google.golang.org/grpc/credentials"
)

// written tells of each write before it is done.
type written struct {
	net.Conn
	sizes chan int
}

func (w written) Write(b []byte) (int, error) {
	select {
	case w.sizes <- len(b):
	default:
	}
	return w.Conn.Write(b)
}

// securedPair is the two ends of a connection as nodes have it, and what the first end writes.
func securedPair(t *testing.T) (a, b net.Conn, sizes chan int) {
	t.Helper()
	h := newAuthority(t).holder(t, "127.0.0.1")
	x, y := net.Pipe()
	sizes = make(chan int, 1000)
	type end struct {
		conn net.Conn
		err  error
	}
	served := make(chan end, 1)
	go func() {
		c, _, err := (&rotating{config: h.config}).ServerHandshake(y)
		served <- end{c, err}
	}()
	var info credentials.AuthInfo
	var err error
	a, info, err = (&rotating{config: h.config}).ClientHandshake(t.Context(), "127.0.0.1", written{x, sizes})
	if err != nil {
		t.Fatal(err)
	}
	if s := info.(credentials.TLSInfo).State; s.Version != tls.VersionTLS13 {
		t.Fatalf("TLS of version %x", s.Version)
	}
	e := <-served
	if e.err != nil {
		t.Fatal(e.err)
	}
	t.Cleanup(func() {
		_ = x.Close()
		_ = y.Close()
	})
	return a, e.conn, sizes
}

func drained(sizes chan int) (n, bytes int) {
	for {
		select {
		case s := <-sizes:
			n, bytes = n+1, bytes+s
		default:
			return n, bytes
		}
	}
}

func TestRecordsOfOneWriteAreWrittenTogether(t *testing.T) {
	a, b, sizes := securedPair(t)
	r := rand.NewChaCha8([32]byte{})
	for _, size := range []int{1, recordBytes, recordBytes + 1, 300_000, 7, 1 << 20} {
		drained(sizes)
		want, got := make([]byte, size), make([]byte, size)
		_, _ = r.Read(want)
		read := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(b, got)
			read <- err
		}()
		if n, err := a.Write(want); n != size || err != nil {
			t.Fatalf("%d bytes of %d are written: %v", n, size, err)
		}
		if err := <-read; err != nil || !bytes.Equal(want, got) {
			t.Fatalf("%d bytes are not those that were written: %v", size, err)
		}
		// TLS begins a connection with records that fit a packet, a first small write among them.
		if n, sum := drained(sizes); size > recordBytes && n != 1 || sum < size {
			t.Errorf("%d bytes went by %d writes of %d bytes", size, n, sum)
		}
	}
}

func TestCloseEndsAWriteThatIsStuck(t *testing.T) {
	a, _, sizes := securedPair(t)
	drained(sizes)
	done := make(chan error, 1)
	go func() {
		_, err := a.Write(make([]byte, 300_000)) // nobody reads
		done <- err
	}()
	<-sizes
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("the write ends with %v", err)
	}
	if _, err := a.Write([]byte("behind the gap")); err == nil {
		t.Fatal("there is a write behind one that has failed")
	}
	if _, err := a.Write(make([]byte, 300_000)); err == nil {
		t.Fatal("there is a large write behind one that has failed")
	}
}
