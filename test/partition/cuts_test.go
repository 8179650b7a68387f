//go:build linux

package partition

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// ear is a socket in a node's network.
type ear struct{ *net.UDPConn }

func (p *place) listen(t *testing.T) (e ear) {
	t.Helper()
	if err := p.within(func() (err error) {
		e.UDPConn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(p.address), Port: 9})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// hears reports whether what one node says comes to another.
func hears(t *testing.T, from, to ear) bool {
	t.Helper()
	word := []byte(t.Name())
	for range 3 { // what was lost was lost by a cut, not by chance
		if _, err := from.WriteTo(word, to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if err := to.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, who, err := to.ReadFrom(make([]byte, 100))
		if err == nil {
			if n != len(word) || who.String() != from.LocalAddr().String() {
				t.Fatalf("%d bytes of %s came", n, who)
			}
			return true
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	return false
}

// TestCuts holds the tools of this package to what they promise.
func TestCuts(t *testing.T) {
	n := newNetwork(t, "a", "b")
	a, b := n.nodes[0], n.nodes[1]
	ea, eb := a.listen(t), b.listen(t)
	check := func(when string, ab, ba bool) {
		t.Helper()
		if got := hears(t, ea, eb); got != ab {
			t.Errorf("%s: b hears a: %v", when, got)
		}
		if got := hears(t, eb, ea); got != ba {
			t.Errorf("%s: a hears b: %v", when, got)
		}
	}
	check("at first", true, true)
	n.cut([]*place{a}, []*place{b})
	check("cut one way", false, true)
	n.cut([]*place{b}, []*place{a})
	check("cut", false, false)
	n.join([]*place{a}, []*place{b})
	check("joined one way", true, false)
	n.join([]*place{b}, []*place{a})
	check("joined", true, true)
	n.plug(b, false)
	check("unplugged", false, false)
	n.plug(b, true)
	check("plugged in", true, true)
}
