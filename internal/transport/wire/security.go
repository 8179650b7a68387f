package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"github.com/sluice-stream/sluice/internal/transport"
)

// ErrPlain is wrapped where a connection beyond the loopback interface would not be secured (X4).
var ErrPlain = errors.New("without TLS only the loopback interface is used: give certificates, or an address such as 127.0.0.1")

// listen opens the listener of an end and returns where others reach it.
func (o *Options) listen(ctx context.Context) (net.Listener, string, error) {
	l := o.Listener
	if l == nil {
		var err error
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", o.Listen); err != nil {
			return nil, "", fmt.Errorf("listen on %s: %w", o.Listen, err)
		}
	}
	at, err := o.reachable(l.Addr())
	if err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	if o.Limit != nil {
		l = o.Limit(l)
	}
	return l, at, nil
}

func (o *Options) reachable(a net.Addr) (string, error) {
	if o.ServerTLS == nil && !local(a) {
		return "", fmt.Errorf("listen on %s: %w", a, ErrPlain)
	}
	if o.Advertise != "" {
		return o.Advertise, nil
	}
	if t, ok := a.(*net.TCPAddr); ok && t.IP.IsUnspecified() {
		return "", fmt.Errorf("listen on %s: an address by which others reach it is missing", a)
	}
	return a.String(), nil
}

// local reports whether nobody else can listen in. What is not TCP is a socket or a pipe
// of this machine.
func local(a net.Addr) bool {
	switch a := a.(type) {
	case nil:
		return false
	case *net.TCPAddr:
		ip, ok := netip.AddrFromSlice(a.IP)
		return ok && ip.Unmap().IsLoopback()
	case *net.UDPAddr, *net.IPAddr:
		return false
	default:
		return true
	}
}

// dial opens a connection to be secured by the caller.
func (o *Options) dial(ctx context.Context, address string) (net.Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: o.Handshake}).DialContext(ctx, "tcp", address)
		}
	}
	c, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	if o.ClientTLS == nil && !local(c.RemoteAddr()) {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", address, ErrPlain), c.Close())
	}
	return c, nil
}

// serverCredentials secure what is accepted.
func (o *Options) serverCredentials() credentials.TransportCredentials {
	if o.ServerTLS == nil {
		return insecure.NewCredentials()
	}
	return &rotating{config: o.ServerTLS, refused: o.Refused}
}

// clientCredentials secure what is dialled.
func (o *Options) clientCredentials(id transport.NodeID) credentials.TransportCredentials {
	if o.ClientTLS == nil {
		return insecure.NewCredentials()
	}
	r := &rotating{config: o.ClientTLS}
	if o.Expect != nil {
		r.expect = func(s tls.ConnectionState) error { return o.Expect(id, s) }
	}
	return r
}

// readAhead is how many bytes gRPC reads ahead of what it wants: with TLS none, since that
// has a record there already, which would be copied twice.
func readAhead(secure func() (*tls.Config, error)) int {
	if secure != nil {
		return 0
	}
	return ioBytes
}

// rotating asks for certificates at each handshake.
type rotating struct {
	config  func() (*tls.Config, error)
	expect  func(tls.ConnectionState) error // of what is dialled
	refused func(net.Addr, error)
}

func (r *rotating) now() (credentials.TransportCredentials, error) {
	c, err := r.config()
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	c = c.Clone()
	c.MinVersion = tls.VersionTLS13
	return credentials.NewTLS(c), nil
}

func (r *rotating) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	creds, err := r.now()
	if err != nil {
		return nil, nil, err
	}
	j := &recordJoiner{Conn: c}
	t, info, err := creds.ClientHandshake(ctx, authority, j)
	if err != nil {
		return nil, nil, err
	}
	conn := &secured{Conn: t, records: j}
	if r.expect == nil {
		return conn, info, nil
	}
	if is, ok := info.(credentials.TLSInfo); ok {
		err = r.expect(is.State)
	} else {
		err = fmt.Errorf("a connection with %s in place of TLS", info.AuthType())
	}
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return conn, info, nil
}

// ServerHandshake takes a connection whose handshake is done as it is: its listener
// shares the port with others and had to know what is spoken (package mux).
func (r *rotating) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if t, ok := c.(*tls.Conn); ok && t.ConnectionState().HandshakeComplete {
		return t, credentials.TLSInfo{State: t.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
	}
	creds, err := r.now()
	if err != nil {
		return nil, nil, err
	}
	j := &recordJoiner{Conn: c}
	conn, info, err := creds.ServerHandshake(j)
	if err == nil {
		return &secured{Conn: conn, records: j}, info, nil
	}
	if r.refused != nil {
		r.refused(c.RemoteAddr(), err)
	}
	return nil, nil, err
}

func (r *rotating) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (r *rotating) Clone() credentials.TransportCredentials {
	return &rotating{config: r.config, expect: r.expect, refused: r.refused}
}

// OverrideServerName does nothing: the name is the configuration's to say.
func (r *rotating) OverrideServerName(string) error { return nil }

// caller says who opened the stream of ctx.
func caller(ctx context.Context, rows bool) Caller {
	c := Caller{Rows: rows}
	if p, ok := peer.FromContext(ctx); ok {
		c.Addr = p.Addr
		if t, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			c.TLS = &t.State
		}
	}
	return c
}
