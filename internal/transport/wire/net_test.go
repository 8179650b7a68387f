package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc/test/bufconn"
)

// network is one in memory, which can be cut. Times in a bubble are virtual.
type network struct {
	mu struct {
		sync.Mutex
		at    map[string]*bufconn.Listener
		conns map[string]map[*line]bool // by the address that was dialled
		cut   map[string]bool           // nothing gets there or back, and nobody is told
	}
}

func newNetwork() *network {
	n := &network{}
	n.mu.at, n.mu.conns, n.mu.cut = map[string]*bufconn.Listener{}, map[string]map[*line]bool{}, map[string]bool{}
	return n
}

// place is a listener with an address.
type place struct {
	*bufconn.Listener
	n    *network
	name string
}

type placeAddr string

func (placeAddr) Network() string  { return "memory" }
func (a placeAddr) String() string { return string(a) }

func (p *place) Addr() net.Addr { return placeAddr(p.name) }

func (p *place) Close() error {
	p.n.mu.Lock()
	if p.n.mu.at[p.name] == p.Listener {
		delete(p.n.mu.at, p.name)
	}
	p.n.mu.Unlock()
	return p.Listener.Close()
}

func (n *network) listen(name string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := bufconn.Listen(256 << 10)
	n.mu.at[name] = l
	return &place{l, n, name}
}

func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	n.mu.Lock()
	l, cut := n.mu.at[addr], n.mu.cut[addr]
	n.mu.Unlock()
	if cut {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	}
	if l == nil {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	c, err := l.DialContext(ctx)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Err: errors.Join(err, syscall.ECONNREFUSED)}
	}
	w := &line{Conn: c, n: n, addr: addr, closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.conns[addr] == nil {
		n.mu.conns[addr] = map[*line]bool{}
	}
	n.mu.conns[addr][w] = true
	return w, nil
}

// sever breaks all connections that were made to addr, as a reset does.
func (n *network) sever(addr string) {
	n.mu.Lock()
	var all []*line
	for c := range n.mu.conns[addr] {
		all = append(all, c)
	}
	n.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// cut makes addr unreachable without a word, or heals that.
func (n *network) cut(addr string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.cut[addr] = on
}

func (n *network) isCut(addr string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.cut[addr]
}

// line is a connection. What is written while it is cut is lost, and what comes is kept
// back until it is closed: after a cut it is of no use.
type line struct {
	net.Conn
	n      *network
	addr   string
	once   sync.Once
	closed chan struct{}
	dead   bool
}

func (c *line) Write(b []byte) (int, error) {
	if c.n.isCut(c.addr) || c.dead {
		c.dead = true
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *line) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.n.isCut(c.addr) {
		<-c.closed
		return 0, io.ErrClosedPipe
	}
	return n, err
}

func (c *line) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.n.mu.Lock()
	delete(c.n.mu.conns[c.addr], c)
	c.n.mu.Unlock()
	return c.Conn.Close()
}

// hub opens a driver at an address of the network.
func (n *network) hub(t *testing.T, at string, change ...func(*Options)) *Hub {
	t.Helper()
	o := Options{ID: "d", Listener: n.listen(at), Dial: n.dial, InboxMax: 8, WindowMax: 32}
	for _, f := range change {
		f(&o)
	}
	h, err := Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// node opens a worker at an address of the network.
func (n *network) node(t *testing.T, id string, at string, change ...func(*Options)) *Node {
	t.Helper()
	o := Options{ID: nodeID(id), Listener: n.listen(at), Join: []string{"d:1"}, Dial: n.dial, InboxMax: 8, WindowMax: 32, Resources: Resources{Slots: 2, Memory: 3, Version: "v"}}
	for _, f := range change {
		f(&o)
	}
	w, err := Join(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func closeAll(t *testing.T, cs ...io.Closer) {
	t.Helper()
	for _, c := range cs {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
