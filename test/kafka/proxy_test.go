package kafka

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy is the way to a broker that tests break: it cuts connections, swallows what
// comes, or holds back requests of one kind and delivers them later, when nobody
// expects them any more.
type proxy struct {
	l      net.Listener
	target string
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		conns  map[net.Conn]bool // true: to a client
		refuse bool
		gate   chan struct{} // closed while bytes may pass
		key    int16         // of requests that are held back
		held   chan struct{} // closed when they may go on; nil: none are held back
		seen   chan struct{} // closed when one was
	}
}

// Keys of requests that tests hold back.
const (
	keyNone   = -1
	keyEndTxn = 26
)

func startProxy(listen, target string) (*proxy, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	p := &proxy{l: l, target: target}
	p.mu.conns, p.mu.gate, p.mu.key = map[net.Conn]bool{}, closed(), keyNone
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	return p, nil
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// own notes a connection, to be closed with all the others; it reports false, and
// closes it, if there are to be none.
func (p *proxy) own(c net.Conn, client bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.refuse {
		_ = c.Close()
		return false
	}
	p.mu.conns[c] = client
	return true
}

func (p *proxy) disown(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.conns, c)
}

// serve joins a client with the broker. When the client goes, what it has sent is
// delivered all the same, as on a real network.
func (p *proxy) serve(client net.Conn) {
	if !p.own(client, true) {
		return
	}
	defer p.disown(client)
	broker, err := net.Dial("tcp", p.target)
	if err != nil || !p.own(broker, false) {
		return
	}
	defer p.disown(broker)
	var back sync.WaitGroup
	back.Go(func() {
		p.answers(client, broker)
		_ = client.Close() // the broker has ended it
	})
	p.requests(client, broker)
	_ = broker.Close()
	back.Wait()
}

// pass waits until bytes may pass.
func (p *proxy) pass() {
	p.mu.Lock()
	gate := p.mu.gate
	p.mu.Unlock()
	<-gate
}

// requests passes on what a client sends, request by request: each begins with its
// length and its key.
func (p *proxy) requests(client, broker net.Conn) {
	head := make([]byte, 6)
	for {
		if _, err := io.ReadFull(client, head); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(head))
		if n < 2 || n > 64<<20 {
			return
		}
		frame := make([]byte, 4+n)
		copy(frame, head)
		if _, err := io.ReadFull(client, frame[6:]); err != nil {
			return
		}
		p.pass()
		p.holdBack(int16(binary.BigEndian.Uint16(head[4:])))
		if _, err := broker.Write(frame); err != nil {
			return
		}
	}
}

func (p *proxy) holdBack(key int16) {
	p.mu.Lock()
	held := p.mu.held
	if held == nil || key != p.mu.key {
		p.mu.Unlock()
		return
	}
	if p.mu.seen != nil {
		close(p.mu.seen)
		p.mu.seen = nil
	}
	p.mu.Unlock()
	<-held
}

func (p *proxy) answers(client, broker net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := broker.Read(buf)
		p.pass()
		if n > 0 {
			if _, werr := client.Write(buf[:n]); werr != nil {
				// The client has gone: what the broker says is for nobody.
				_, _ = io.Copy(io.Discard, broker)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// cut breaks all connections and lets none be made until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.refuse = true
	for c := range p.mu.conns {
		_ = c.Close()
	}
}

// swallow keeps all bytes back, in both directions, until mend: nobody is told.
func (p *proxy) swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.mu.gate:
		p.mu.gate = make(chan struct{})
	default: // they are already
	}
}

// hold keeps requests of one kind back until mend; seen is closed when one has come.
func (p *proxy) hold(key int16) (seen <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.key, p.mu.held, p.mu.seen = key, make(chan struct{}), make(chan struct{})
	return p.mu.seen
}

// lose delivers what was held back, and breaks the connections of clients at the same
// time: they never hear the answers.
func (p *proxy) lose() {
	p.mu.Lock()
	for c := range p.mu.conns {
		if p.mu.conns[c] { // a client's
			_ = c.Close()
		}
	}
	p.mu.Unlock()
	p.mend()
}

// mend ends every fault.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.refuse = false
	if p.mu.held != nil {
		close(p.mu.held)
	}
	p.mu.key, p.mu.held, p.mu.seen = keyNone, nil, nil
	select {
	case <-p.mu.gate:
	default:
		close(p.mu.gate)
	}
}

// close ends everything and waits.
func (p *proxy) close() {
	_ = p.l.Close()
	p.mend()
	p.cut()
	p.wg.Wait()
}

// TestProxy: what was held back is delivered, also when its sender has gone; a cut
// breaks what there is, and mended it takes connections again.
func TestProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := startProxy("127.0.0.1:0", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	dial := func() (client, broker net.Conn) {
		if client, err = net.Dial("tcp", p.l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if broker, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return client, broker
	}
	request := func(c net.Conn, key byte) {
		if _, err := c.Write([]byte{0, 0, 0, 3, 0, key, 7}); err != nil {
			t.Fatal(err)
		}
	}
	arrives := func(c net.Conn, key byte) {
		got := make([]byte, 7)
		if _, err := io.ReadFull(c, got); err != nil || got[5] != key {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	client, broker := dial()
	seen := p.hold(keyEndTxn)
	request(client, 1)
	arrives(broker, 1)
	request(client, keyEndTxn)
	<-seen
	_ = client.Close()
	p.mend()
	arrives(broker, keyEndTxn)
	_ = broker.Close()

	client, broker = dial()
	p.cut()
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("a cut connection reads")
	}
	_, _ = client.Close(), broker.Close()
	p.mend()
	client, broker = dial()
	request(client, 3)
	arrives(broker, 3)
	_, _ = client.Close(), broker.Close()
}
