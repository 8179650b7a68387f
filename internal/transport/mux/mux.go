package mux

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Limits of connections of which it is not known yet what they speak.
const (
	GreetingsMax    = 256
	GreetingsOfHost = 64 // of one address
)

// Protocol is what may be spoken.
type Protocol struct {
	// ALPN is how TLS names it; needed.
	ALPN string
	// Head are its first bytes, by which it is known without TLS; as long for all.
	Head string
	// Admit, if not nil, is asked when the handshake is done; its error ends the connection.
	Admit func(tls.ConnectionState) error
}

// Options say how a port is shared.
type Options struct {
	// TLS makes the configuration of each connection; nil: the port is plain.
	TLS       func() (*tls.Config, error)
	Protocols []Protocol
	// Wait is how long a client may take until it is known what it speaks; default 5 s.
	Wait time.Duration
	// Refused, if not nil, is told who was not let through the handshake, and why.
	Refused func(remote net.Addr, why error)
	// Logger is told of refused connections; nil is silent.
	Logger *slog.Logger
}

// Mux is a shared port.
type Mux struct {
	opt     Options
	l       net.Listener
	ends    map[string]*end
	done    chan struct{}
	closing sync.Once
	work    sync.WaitGroup
	mu      struct {
		sync.Mutex
		greeted map[net.Conn]string // address of those that are being greeted
		of      map[string]int
	}
}

// Serve shares a listener, which becomes the Mux's.
func Serve(l net.Listener, opt Options) *Mux {
	if opt.Wait <= 0 {
		opt.Wait = 5 * time.Second
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mux{opt: opt, l: l, ends: map[string]*end{}, done: make(chan struct{})}
	m.mu.greeted, m.mu.of = map[net.Conn]string{}, map[string]int{}
	for _, p := range opt.Protocols {
		m.ends[p.ALPN] = &end{m: m, conns: make(chan net.Conn), done: make(chan struct{})}
	}
	m.work.Go(m.accept)
	return m
}

// Listener takes in those who speak a protocol, by its ALPN. Its Close leaves the others.
func (m *Mux) Listener(alpn string) net.Listener {
	if e := m.ends[alpn]; e != nil {
		return e
	}
	return nil
}

// Addr is the port's.
func (m *Mux) Addr() net.Addr { return m.l.Addr() }

// acceptPause is waited after a failed accept, such as of too many open files.
const acceptPause = 50 * time.Millisecond

func (m *Mux) accept() {
	for {
		c, err := m.l.Accept()
		if err != nil {
			timer := time.NewTimer(acceptPause)
			select {
			case <-m.done:
				timer.Stop()
				return
			case <-timer.C:
				continue
			}
		}
		if !m.enter(c) {
			_ = c.Close() // it is refused; what becomes of it is its own matter
			continue
		}
		m.work.Go(func() {
			defer m.leave(c)
			to, greeted, err := m.greet(c)
			if err == nil {
				err = to.hand(greeted, m.opt.Wait)
			} else if m.opt.Refused != nil {
				m.opt.Refused(c.RemoteAddr(), err)
			}
			if err != nil {
				_ = c.Close()
				m.opt.Logger.Debug("a connection was refused", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

func (m *Mux) enter(c net.Conn) bool {
	host := hostOf(c.RemoteAddr())
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.greeted == nil || len(m.mu.greeted) >= GreetingsMax || m.mu.of[host] >= GreetingsOfHost {
		return false
	}
	m.mu.greeted[c] = host
	m.mu.of[host]++
	return true
}

func (m *Mux) leave(c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	host, ok := m.mu.greeted[c]
	if !ok {
		return
	}
	delete(m.mu.greeted, c)
	if m.mu.of[host]--; m.mu.of[host] == 0 {
		delete(m.mu.of, host)
	}
}

// greet finds out what a client speaks.
func (m *Mux) greet(c net.Conn) (*end, net.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(m.opt.Wait)); err != nil {
		return nil, nil, err
	}
	var e *end
	var err error
	if m.opt.TLS != nil {
		e, c, err = m.shake(c)
	} else {
		e, c, err = m.peek(c)
	}
	if err != nil {
		return nil, nil, err
	}
	return e, c, c.SetDeadline(time.Time{})
}

// shake does the handshake.
func (m *Mux) shake(c net.Conn) (*end, net.Conn, error) {
	conf, err := m.opt.TLS()
	if err != nil {
		return nil, nil, fmt.Errorf("certificates: %w", err)
	}
	t := tls.Server(c, m.offering(conf))
	if err := t.Handshake(); err != nil {
		return nil, nil, err
	}
	state := t.ConnectionState()
	i := slices.IndexFunc(m.opt.Protocols, func(p Protocol) bool { return p.ALPN == state.NegotiatedProtocol })
	if i < 0 {
		return nil, nil, fmt.Errorf("it does not say by ALPN what it speaks, but %q", state.NegotiatedProtocol)
	}
	if admit := m.opt.Protocols[i].Admit; admit != nil {
		if err := admit(state); err != nil {
			return nil, nil, err
		}
	}
	return m.ends[state.NegotiatedProtocol], t, nil
}

// offering is a configuration that offers what is spoken here, also where it makes
// another one for each client.
func (m *Mux) offering(conf *tls.Config) *tls.Config {
	set := func(c *tls.Config) *tls.Config {
		c = c.Clone()
		c.MinVersion, c.NextProtos = tls.VersionTLS13, nil
		for _, p := range m.opt.Protocols {
			c.NextProtos = append(c.NextProtos, p.ALPN)
		}
		return c
	}
	conf = set(conf)
	if each := conf.GetConfigForClient; each != nil {
		conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			one, err := each(hello)
			if one == nil || err != nil {
				return nil, err
			}
			return set(one), nil
		}
	}
	return conf
}

// peek reads the first bytes and puts them back.
func (m *Mux) peek(c net.Conn) (*end, net.Conn, error) {
	head := make([]byte, len(m.opt.Protocols[0].Head))
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, nil, err
	}
	for _, p := range m.opt.Protocols {
		if p.Head == string(head) {
			return m.ends[p.ALPN], &begun{Conn: c, head: head}, nil
		}
	}
	return nil, nil, errors.New("it does not begin as anything that is spoken here")
}

// begun is a connection whose first bytes have been read.
type begun struct {
	net.Conn
	head []byte // what of them is left; of the one reader's
}

// Read implements net.Conn.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.head) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.head)
	b.head = b.head[n:]
	return n, nil
}

// Close ends the port and waits for what is being greeted. Connections that were handed
// on are their takers'.
func (m *Mux) Close() error {
	var err error
	m.closing.Do(func() {
		close(m.done)
		err = m.l.Close()
		m.mu.Lock()
		greeted := m.mu.greeted
		m.mu.greeted = nil
		m.mu.Unlock()
		for c := range greeted {
			_ = c.Close() // whoever reads it is told
		}
		m.work.Wait()
	})
	return err
}

// end is the listener of one protocol.
type end struct {
	m     *Mux
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

var _ net.Listener = (*end)(nil)

// hand gives a connection to who accepts, unless nobody does.
func (e *end) hand(c net.Conn, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case e.conns <- c:
		return nil
	case <-e.done:
	case <-e.m.done:
	case <-timer.C:
	}
	return net.ErrClosed
}

// Accept returns the next connection.
func (e *end) Accept() (net.Conn, error) {
	select {
	case c := <-e.conns:
		return c, nil
	case <-e.done:
	case <-e.m.done:
	}
	return nil, net.ErrClosed
}

// Close takes in nobody any more.
func (e *end) Close() error {
	e.once.Do(func() { close(e.done) })
	return nil
}

// Addr is the port's.
func (e *end) Addr() net.Addr { return e.m.Addr() }
