//go:build synctests

package bubble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// fabric is a network in memory. Bytes on a line that is cut wait, as TCP would send them
// again, and arrive when it is mended; so do calls.
type fabric struct {
	mu        sync.Mutex
	rng       *rand.Rand
	delayMax  time.Duration
	listeners map[string]*listener
	cuts      map[[2]string]int // times, from host to host
	asleep    map[string]int    // hosts that take nothing in and give nothing out
	ends      map[*end]struct{}
	moved     chan struct{} // closed when lines change
}

func newFabric(rng *rand.Rand, delayMax time.Duration) *fabric {
	return &fabric{rng: rng, delayMax: delayMax, listeners: map[string]*listener{}, cuts: map[[2]string]int{}, asleep: map[string]int{},
		ends: map[*end]struct{}{}, moved: make(chan struct{})}
}

// cut cuts the line one way, or mends it. It counts: two cuts need two mendings.
func (f *fabric) cut(on bool, from, to string) {
	f.change(func() { f.cuts[[2]string{from, to}] += sign(on) })
}

// sleep takes a host off the network, or wakes it.
func (f *fabric) sleep(on bool, host string) { f.change(func() { f.asleep[host] += sign(on) }) }

func sign(on bool) int {
	if on {
		return 1
	}
	return -1
}

func (f *fabric) change(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
	close(f.moved)
	f.moved = make(chan struct{})
	for e := range f.ends {
		e.ring()
	}
}

func (f *fabric) heldLocked(from, to string) bool {
	return f.cuts[[2]string{from, to}] > 0 || f.asleep[from] > 0 || f.asleep[to] > 0
}

// delayLocked is how long something is under way.
func (f *fabric) delayLocked() time.Duration {
	if f.delayMax <= 0 {
		return 0
	}
	return time.Duration(f.rng.Int64N(int64(f.delayMax)))
}

// break resets the connections between two hosts.
func (f *fabric) breakLines(a, b string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := range f.ends {
		if e.host.name == a && e.peer.host.name == b {
			e.dropLocked(syscall.ECONNRESET)
			e.peer.dropLocked(syscall.ECONNRESET)
		}
	}
}

// vanish ends all that a process has open: the others are told as soon as a line allows.
func (f *fabric) vanish(h *host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := range f.ends {
		if e.host == h {
			e.dropLocked(net.ErrClosed)
			e.peer.putLocked(packet{err: syscall.ECONNRESET})
		}
	}
	for _, l := range f.listeners {
		if l.host == h {
			l.closeLocked()
		}
	}
}

type listener struct {
	host  *host
	addr  string
	calls chan *end
	done  chan struct{}
}

// callsMax bounds who waits to be accepted.
const callsMax = 256

func (f *fabric) listen(h *host, addr string) (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if h.dead.Load() {
		return nil, net.ErrClosed
	}
	if f.listeners[addr] != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, syscall.EADDRINUSE)
	}
	l := &listener{host: h, addr: addr, calls: make(chan *end, callsMax), done: make(chan struct{})}
	f.listeners[addr] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case e := <-l.calls:
		return e, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	f := l.host.net
	f.mu.Lock()
	defer f.mu.Unlock()
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	if l.host.net.listeners[l.addr] != l {
		return
	}
	delete(l.host.net.listeners, l.addr)
	close(l.done)
	for {
		select {
		case e := <-l.calls:
			e.dropLocked(net.ErrClosed)
			e.peer.putLocked(packet{err: syscall.ECONNRESET})
		default:
			return
		}
	}
}

func (l *listener) Addr() net.Addr { return addr(l.addr) }

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// dialTimeout is the system's, for callers that have none.
const dialTimeout = 10 * time.Second

// dial calls from a host.
func (f *fabric) dial(ctx context.Context, h *host, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	name, _, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	name = hostOf(name)
	for {
		f.mu.Lock()
		held, moved := f.heldLocked(h.name, name) || f.heldLocked(name, h.name), f.moved
		if !held {
			e, err := f.connectLocked(h, to)
			f.mu.Unlock()
			return e, err
		}
		f.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %s: %w", to, os.ErrDeadlineExceeded)
		}
	}
}

func (f *fabric) connectLocked(h *host, to string) (net.Conn, error) {
	l := f.listeners[to]
	if h.dead.Load() || l == nil {
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	h.ports++
	here := &end{host: h, local: addr(fmt.Sprintf("%s:%d", h.ip, 40000+h.ports)), remote: addr(to), bell: make(chan struct{}, 1)}
	there := &end{host: l.host, local: addr(to), remote: here.local, bell: make(chan struct{}, 1), peer: here}
	here.peer = there
	select {
	case l.calls <- there:
	default:
		return nil, fmt.Errorf("dial %s: %w", to, syscall.ECONNREFUSED)
	}
	f.ends[here], f.ends[there] = struct{}{}, struct{}{}
	return here, nil
}

// packet is something under way. One with an error is the last.
type packet struct {
	due  time.Time
	data []byte
	err  error
}

// end is one end of a connection.
type end struct {
	host          *host
	peer          *end
	local, remote addr
	bell          chan struct{} // rings when there may be something new for who reads

	// Guarded by the fabric's mutex.
	in   []packet
	size int
	last time.Time // the newest packet's due
	err  error     // set: this end is closed
	rdl  time.Time
}

// queueMax bounds what is under way one way: who sends more to somebody who does not read is
// cut off.
const queueMax = 64 << 20

func (e *end) ring() {
	select {
	case e.bell <- struct{}{}:
	default:
	}
}

// putLocked sends something to this end.
func (e *end) putLocked(p packet) {
	if e.err != nil {
		return
	}
	if e.size += len(p.data); e.size > queueMax {
		e.dropLocked(syscall.ECONNRESET)
		return
	}
	p.due = time.Now().Add(e.host.net.delayLocked())
	if p.due.Before(e.last) {
		p.due = e.last
	}
	e.last = p.due
	e.in = append(e.in, p)
	e.ring()
}

// dropLocked closes this end.
func (e *end) dropLocked(err error) {
	if e.err != nil {
		return
	}
	e.err, e.in, e.size = err, nil, 0
	delete(e.host.net.ends, e)
	e.ring()
}

func (e *end) Read(b []byte) (int, error) {
	f := e.host.net
	for {
		f.mu.Lock()
		n, err, wait := e.readLocked(b)
		f.mu.Unlock()
		if n > 0 || err != nil {
			return n, err
		}
		if wait <= 0 {
			<-e.bell
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-e.bell:
		case <-t.C:
		}
		t.Stop()
	}
}

func (e *end) readLocked(b []byte) (n int, err error, wait time.Duration) {
	if e.err != nil {
		return 0, &net.OpError{Op: "read", Net: "tcp", Err: e.err}, 0
	}
	now := time.Now()
	if !e.rdl.IsZero() {
		if wait = e.rdl.Sub(now); wait <= 0 {
			return 0, os.ErrDeadlineExceeded, 0
		}
	}
	if len(e.in) == 0 || e.host.net.heldLocked(e.peer.host.name, e.host.name) {
		return 0, nil, wait
	}
	if left := e.in[0].due.Sub(now); left > 0 {
		if wait == 0 || left < wait {
			wait = left
		}
		return 0, nil, wait
	}
	for len(e.in) > 0 && n < len(b) && !e.in[0].due.After(now) {
		p := &e.in[0]
		if p.err != nil {
			if n > 0 {
				return n, nil, 0
			}
			if errors.Is(p.err, io.EOF) {
				return 0, io.EOF, 0 // and again at each call
			}
			err := p.err
			e.dropLocked(err)
			return 0, &net.OpError{Op: "read", Net: "tcp", Err: err}, 0
		}
		c := copy(b[n:], p.data)
		n, p.data, e.size = n+c, p.data[c:], e.size-c
		if len(p.data) == 0 {
			e.in = e.in[1:]
		}
	}
	return n, nil, 0
}

// Write never waits: what has no room on the line is under way.
func (e *end) Write(b []byte) (int, error) {
	f := e.host.net
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.err == nil && e.peer.err != nil && !f.heldLocked(e.host.name, e.peer.host.name) {
		e.dropLocked(syscall.EPIPE)
	}
	if e.err != nil {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: e.err}
	}
	e.peer.putLocked(packet{data: append([]byte(nil), b...)})
	return len(b), nil
}

func (e *end) Close() error {
	f := e.host.net
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.err != nil {
		return net.ErrClosed
	}
	e.dropLocked(net.ErrClosed)
	e.peer.putLocked(packet{err: io.EOF})
	return nil
}

func (e *end) LocalAddr() net.Addr  { return e.local }
func (e *end) RemoteAddr() net.Addr { return e.remote }

func (e *end) SetDeadline(t time.Time) error { return e.SetReadDeadline(t) }

func (e *end) SetReadDeadline(t time.Time) error {
	f := e.host.net
	f.mu.Lock()
	defer f.mu.Unlock()
	e.rdl = t
	e.ring()
	return nil
}

// SetWriteDeadline has nothing to do: no Write waits.
func (e *end) SetWriteDeadline(time.Time) error { return nil }
