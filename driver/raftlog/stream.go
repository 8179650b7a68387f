package raftlog

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	helloMagic   = Greeting + "\x01"
	helloMax     = 4 << 10
	helloTimeout = 5 * time.Second
	callersMax   = 64 // connections that are being greeted at a time
)

// What a caller wants.
const (
	wantRaft     = 'r' // to speak raft with a certain disk
	wantIdentity = 'i' // to know who is there
)

// Peer is what a driver says of itself when it is asked.
type Peer struct {
	Driver
	Cluster string // empty: it is in none yet
	Member  bool   // its log holds something
}

// stream is raft's network: TCP, within TLS beyond loopback, where each connection
// begins with who calls whom.
type stream struct {
	listener  net.Listener
	advertise string
	client    func() (*tls.Config, error) // nil: plain, on loopback only
	server    func() (*tls.Config, error) // nil: plain, or secured by the listener
	dial      func(ctx context.Context, network, address string) (net.Conn, error)
	self      func() Peer
	log       *slog.Logger

	open struct {
		sync.Mutex
		conns map[net.Conn]struct{} // nil: closed
	}
	raft    chan net.Conn // greeted
	done    chan struct{}
	closing sync.Once
	work    sync.WaitGroup
}

var _ raft.StreamLayer = (*stream)(nil)

func loopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// listen starts to accept; Close ends it.
func listen(opt Options, self func() Peer) (*stream, error) {
	l := opt.Listener
	if l != nil {
		opt.Listen = l.Addr().String()
	}
	if (opt.ServerTLS == nil || opt.ClientTLS == nil) && !loopback(opt.Listen) {
		return nil, refuse(fmt.Errorf("listen on %s for other drivers: beyond loopback that needs TLS; give the driver a certificate", opt.Listen))
	}
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", opt.Listen); err != nil {
			return nil, fmt.Errorf("listen for other drivers: %w", err)
		}
	}
	s := &stream{listener: l, advertise: opt.Advertise, client: opt.ClientTLS, server: opt.ServerTLS, dial: opt.Dial, self: self, log: opt.Logger,
		raft: make(chan net.Conn), done: make(chan struct{})}
	if opt.Secured {
		s.server = nil
	}
	if s.dial == nil {
		s.dial = new(net.Dialer).DialContext
	}
	if s.advertise == "" {
		s.advertise = l.Addr().String()
	}
	s.open.conns = map[net.Conn]struct{}{}
	s.work.Go(s.run)
	return s, nil
}

// run greets callers, each on its own: one who says nothing must not hold up the others.
func (s *stream) run() {
	slots := make(chan struct{}, callersMax)
	for {
		c, err := s.listener.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(50 * time.Millisecond): // such as too many open files
				continue
			}
		}
		select {
		case slots <- struct{}{}:
		case <-s.done:
			_ = c.Close()
			return
		}
		if c, err = s.track(c); err != nil {
			return
		}
		s.work.Go(func() {
			defer func() { <-slots }()
			if err := s.greet(c); err != nil {
				_ = c.Close()
				s.log.Debug("another driver's call was refused", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// tracked is a connection that Close closes: raft's transport would leave it open,
// and who is cut off has to be silent.
type tracked struct {
	net.Conn
	s *stream
}

func (c *tracked) Close() error {
	c.s.open.Lock()
	delete(c.s.open.conns, c.Conn)
	c.s.open.Unlock()
	return c.Conn.Close()
}

func (s *stream) track(c net.Conn) (net.Conn, error) {
	s.open.Lock()
	defer s.open.Unlock()
	if s.open.conns == nil {
		return nil, errors.Join(ErrClosed, c.Close())
	}
	s.open.conns[c] = struct{}{}
	return &tracked{c, s}, nil
}

// greet answers a hello and hands the connection on if it is raft's. The caller
// closes it after an error.
func (s *stream) greet(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	if s.server != nil {
		conf, err := s.server()
		if err != nil {
			return err
		}
		t := tls.Server(c, conf)
		if err := t.Handshake(); err != nil {
			return err
		}
		c = t
	}
	d, err := readHello(c)
	if err != nil {
		return err
	}
	want, cluster, disk := d.u(), d.s(), d.s()
	if err := d.end(); err != nil {
		return err
	}
	me := s.self()
	me.Address = s.advertise
	if err := writeHello(c, me.encode); err != nil {
		return err
	}
	switch {
	case want == wantIdentity:
		return c.Close()
	case want != wantRaft || disk != me.Disk || cluster != "" && me.Cluster != "" && cluster != me.Cluster:
		return fmt.Errorf("%w: called as disk %s of cluster %s", ErrForeignDisk, disk, cluster)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	select {
	case s.raft <- c:
		return nil
	case <-s.done:
		return ErrClosed
	}
}

func (p Peer) encode(e *encoder) {
	p.Driver.encode(e)
	e.s(p.Cluster)
	member := uint64(0)
	if p.Member {
		member = 1
	}
	e.u(member)
}

func writeHello(w io.Writer, fill func(*encoder)) error {
	e := encoder{b: append([]byte(helloMagic), 0, 0, 0, 0, 0, 0, 0, 0)}
	n := len(e.b)
	fill(&e)
	binary.LittleEndian.PutUint32(e.b[n-8:], uint32(len(e.b)-n))
	binary.LittleEndian.PutUint32(e.b[n-4:], crc32.Checksum(e.b[n:], castagnoli))
	_, err := w.Write(e.b)
	return err
}

func readHello(r io.Reader) (*decoder, error) {
	head := make([]byte, len(helloMagic)+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[len(helloMagic):])
	if string(head[:len(helloMagic)]) != helloMagic || n > helloMax {
		return nil, errors.New("it does not begin as a driver does")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[len(helloMagic)+4:]) {
		return nil, errors.New("the checksum of its greeting is wrong")
	}
	return &decoder{b: body}, nil
}

// Dial calls the disk that the address names.
func (s *stream) Dial(a raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	hostPort, disk := splitAddress(a)
	c, p, err := s.call(hostPort, wantRaft, disk, timeout)
	if err != nil {
		return nil, err
	}
	if p.Disk != disk {
		return nil, errors.Join(fmt.Errorf("driver %s at %s: %w: it is disk %s, the cluster knows disk %s", p.ID, hostPort, ErrForeignDisk, p.Disk, disk), c.Close())
	}
	return c, nil
}

// ask returns who is at an address.
func (s *stream) ask(hostPort string, timeout time.Duration) (Peer, error) {
	c, p, err := s.call(hostPort, wantIdentity, "", timeout)
	if err != nil {
		return Peer{}, err
	}
	_ = c.Close() // all was said
	return p, nil
}

func (s *stream) call(hostPort string, want uint64, disk string, timeout time.Duration) (c net.Conn, p Peer, err error) {
	if s.client == nil && !loopback(hostPort) {
		return nil, p, fmt.Errorf("call driver at %s: beyond loopback that needs TLS", hostPort)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if c, err = s.dial(ctx, "tcp", hostPort); err != nil {
		return nil, p, err
	}
	if c, err = s.track(c); err != nil {
		return nil, p, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("call driver at %s: %w", hostPort, err), c.Close())
		}
	}()
	if err = c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, p, err
	}
	if s.client != nil {
		conf, err := s.client()
		if err != nil {
			return c, p, err
		}
		if conf = conf.Clone(); conf.ServerName == "" {
			conf.ServerName, _, _ = net.SplitHostPort(hostPort)
		}
		conf.NextProtos = []string{ALPN}
		c = tls.Client(c, conf)
	}
	me := s.self()
	if err = writeHello(c, func(e *encoder) { e.u(want); e.s(me.Cluster); e.s(disk) }); err != nil {
		return c, p, err
	}
	d, err := readHello(c)
	if err != nil {
		return c, p, err
	}
	p = Peer{Driver: decodeDriver(d), Cluster: d.s(), Member: d.u() == 1}
	if err = d.end(); err != nil {
		return c, p, err
	}
	return c, p, c.SetDeadline(time.Time{})
}

// Accept returns the next connection of raft's.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.raft:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends accepting and waits for what is being greeted.
func (s *stream) Close() error {
	var err error
	s.closing.Do(func() {
		close(s.done)
		err = s.listener.Close()
		s.open.Lock()
		conns := s.open.conns
		s.open.conns = nil
		s.open.Unlock()
		for c := range conns {
			_ = c.Close() // whoever uses it is told
		}
		s.work.Wait()
	})
	return err
}

// Addr is the member's address within raft.
func (s *stream) Addr() net.Addr { return addr(joinAddress(s.advertise, s.self().Disk)) }

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// network is how a node speaks with the others.
type network interface {
	raft.Transport
	// address is where this node is found.
	address() string
	// ask returns who is at an address.
	ask(hostPort string, timeout time.Duration) (Peer, error)
	// cut ends all connections, for good.
	cut()
}

// tcpNetwork is raft's transport over a stream.
type tcpNetwork struct {
	*raft.NetworkTransport
	stream *stream
}

const (
	connsKept  = 3
	rpcTimeout = 5 * time.Second
	// oneInFlight is how many entries' messages are under way to a follower, without
	// raft's pipeline (1.8.0): when its reader stops, for an answer that is a no or of a newer
	// term, while its writer waits for a place, both wait for ever. The follower is sent
	// nothing more while the leader leads, and the leader's Shutdown never ends. What
	// waits meanwhile goes together in the next message; nothing was measured to be slower.
	oneInFlight = 1
)

func openNetwork(opt Options, self func() Peer) (network, error) {
	s, err := listen(opt, self)
	if err != nil {
		return nil, err
	}
	return &tcpNetwork{stream: s, NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: s, MaxPool: connsKept, MaxRPCsInFlight: oneInFlight, Timeout: rpcTimeout, Logger: raftLogger(opt.Logger)})}, nil
}

func (t *tcpNetwork) address() string { return t.stream.advertise }

func (t *tcpNetwork) ask(hostPort string, timeout time.Duration) (Peer, error) {
	return t.stream.ask(hostPort, timeout)
}

func (t *tcpNetwork) cut() {
	_ = t.Close() // it returns nil
	t.CloseStreams()
}
