package auth

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// Exposure is what protects a listener.
type Exposure struct {
	TLS  bool
	Auth bool // tokens, or certificates that are asked of everybody
}

// Limits of a listener's connections. What is above them is closed at once and never
// waits, so that one who opens many cannot keep others out for longer than a moment.
const (
	ConnectionsMax    = 1024
	ConnectionsOfHost = 128 // of one address
	// Nodes of a cluster keep connections open to one another: two or three for each pair.
	NodeConnectionsMax    = 8192
	NodeConnectionsOfHost = 512
)

// CheckListen says whether a listener may be open at addr: HOST:PORT, beyond loopback only
// with TLS and authentication. flag names the option in errors, and how says by which
// options it is protected.
func CheckListen(flag, addr string, e Exposure, how string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %s: want HOST:PORT: %w", flag, addr, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%s %s: the port is a number up to 65535; 0 takes a free one", flag, addr)
	}
	if Loopback(host) || e.TLS && e.Auth {
		return nil
	}
	missing := "TLS and authentication"
	switch {
	case e.TLS:
		missing = "authentication"
	case e.Auth:
		missing = "TLS"
	}
	return fmt.Errorf("%s %s: without %s only a loopback address such as 127.0.0.1 is served: %s", flag, addr, missing, how)
}

// Loopback reports whether only this machine reaches a host. A name other than localhost
// is not looked up: what it means can change.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Limit bounds the connections of a listener for clients, in all and of one address.
func Limit(l net.Listener) net.Listener { return limit(l, ConnectionsMax, ConnectionsOfHost) }

// LimitNodes is Limit of a listener for the nodes of a cluster.
func LimitNodes(l net.Listener) net.Listener {
	return limit(l, NodeConnectionsMax, NodeConnectionsOfHost)
}

func limit(l net.Listener, all, ofHost int) net.Listener {
	limited := &limiter{Listener: l, all: all, ofHost: ofHost}
	limited.open.of = map[string]int{}
	return limited
}

type limiter struct {
	net.Listener
	all, ofHost int // the limits
	open        struct {
		sync.Mutex
		all int
		of  map[string]int
	}
}

// Accept returns the next connection within the limits.
func (l *limiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if host := hostOf(c.RemoteAddr()); l.enter(host) {
			return &limitedConn{Conn: c, leave: func() { l.leave(host) }}, nil
		}
		_ = c.Close() // it is refused; what becomes of it is its own matter
	}
}

func (l *limiter) enter(host string) bool {
	l.open.Lock()
	defer l.open.Unlock()
	if l.open.all >= l.all || l.open.of[host] >= l.ofHost {
		return false
	}
	l.open.all++
	l.open.of[host]++
	return true
}

func (l *limiter) leave(host string) {
	l.open.Lock()
	defer l.open.Unlock()
	l.open.all--
	if l.open.of[host]--; l.open.of[host] == 0 {
		delete(l.open.of, host)
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// limitedConn gives its place back once.
type limitedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
