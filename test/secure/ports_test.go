//go:build linux

package secure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/proctest"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/wire"
)

// patience is how long a refusal may take on a loaded machine; none is waited for in vain.
const patience = 30 * time.Second

// preface begins a connection of HTTP/2, with its first frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// dial connects for as long as anything may take.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plain sends bytes and returns all that comes back.
func plain(t *testing.T, addr, text string) (answer []byte, from string) {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return nil, c.LocalAddr().String() // it is closed already
	}
	answer, err := io.ReadAll(io.LimitReader(c, 1<<16))
	if errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("%s holds a connection of plain text: %v", addr, err)
	}
	return answer, c.LocalAddr().String()
}

// secured makes a handshake, then speaks. err is the refusal, wherever it came.
func secured(t *testing.T, addr string, conf *tls.Config, text string) (answer []byte, from string, err error) {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	conf = conf.Clone()
	conf.InsecureSkipVerify, conf.VerifyConnection = true, nil // an attacker trusts everybody
	s := tls.Client(c, conf)
	if err := s.Handshake(); err != nil {
		return nil, c.LocalAddr().String(), err
	}
	if _, err := io.WriteString(s, text); err != nil {
		return nil, c.LocalAddr().String(), err
	}
	answer = make([]byte, 1<<16)
	n, err := s.Read(answer) // with TLS 1.3 the server's refusal comes behind the handshake
	return answer[:n], c.LocalAddr().String(), err
}

// shown is a configuration that shows the certificate of a folder, or none.
func (s *scene) shown(name string) *tls.Config {
	s.t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "127.0.0.1"}
	if name == "" {
		return c
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.path(name), "tls.crt"), filepath.Join(s.path(name), "tls.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	// It is shown whatever authorities the server asks for.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return c
}

// protocols are what a port might speak behind TLS.
var protocols = [][]string{nil, {"h2"}, {"http/1.1"}, {raftlog.ALPN}, {"h2", raftlog.ALPN}}

func TestPorts(t *testing.T) {
	s := newScene(t)
	for port, at := range s.opened() {
		addr := at.String()
		refused := func(name, from string, answer []byte, err error) {
			t.Helper()
			if err == nil || len(answer) > 0 {
				t.Errorf("%s: %s is let in, and told %q", port, name, answer)
			}
			if err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("%s: %s: %v", port, name, err)
			}
			s.audited(port, name, from)
		}
		for name, text := range map[string]string{"garbage": strings.Repeat("\x00\xff", 400), "HTTP": "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/2": preface, "a driver's greeting": raftlog.Greeting + strings.Repeat("\x00", 8)} {
			answer, from := plain(t, addr, text)
			// All that may be said is an alert of TLS, or that TLS is spoken here.
			known := len(answer) == 0 || answer[0] == 21 && len(answer) == 7 ||
				string(answer) == "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
			if !known {
				t.Errorf("%s: %s in plain text is told %q", port, name, answer)
			}
			s.audited(port, name+" in plain text", from)
		}
		for _, alpn := range protocols {
			old := s.shown("w1")
			old.MinVersion, old.MaxVersion, old.NextProtos = tls.VersionTLS10, tls.VersionTLS12, alpn
			answer, from, err := secured(t, addr, old, preface)
			refused("TLS 1.2", from, answer, err)
			names := []string{"expired", "early", "stranger"}
			if port != "http" { // whose clients need a token and no certificate
				names = append(names, "", "ann")
			}
			if port == "join" && len(alpn) == 1 && alpn[0] == raftlog.ALPN { // drivers alone speak that
				names = append(names, "w1")
			}
			for _, name := range names {
				conf := s.shown(name)
				conf.NextProtos = alpn
				answer, from, err := secured(t, addr, conf, preface)
				refused(fmt.Sprintf("the certificate %q with %v", name, alpn), from, answer, err)
			}
		}
	}
	s.identities()
	// Nothing of this has done any harm.
	stop(t, s.worker)
	stop(t, s.driver)
	s.noSecrets()
}

// audited waits until a refused connection has its line.
func (s *scene) audited(port, what, from string) {
	s.t.Helper()
	proctest.Until(s.t, "the audit log of "+port+" has a line of "+what, func() (bool, string) {
		log := s.audit(port)
		return strings.Contains(log, fmt.Sprintf("%q", from)), from + " in " + log
	})
}

// identities: a good certificate opens nothing that is another node's.
func (s *scene) identities() {
	for _, c := range []struct{ id, dir, want string }{
		{"w2", "w1", `not of worker "w2"`}, {"d2", "d1", "a driver joins as a worker"}, {"w1", "d1", "a driver joins as a worker"}, {"d1", "w1", `not of worker "d1"`},
	} {
		mine, err := certs.Load(s.path(c.dir), quiet)
		if err != nil {
			s.t.Fatal(err)
		}
		node, err := wire.Join(s.t.Context(), wire.Options{
			ID: transport.NodeID(c.id), Listen: "127.0.0.1:0", Join: []string{s.join},
			ServerTLS: func() (*tls.Config, error) { return mine.Server(certs.Driver, certs.Worker), nil },
			ClientTLS: func() (*tls.Config, error) { return mine.ClientOfNow(certs.Driver, certs.Worker), nil },
		})
		if err != nil {
			s.t.Fatal(err)
		}
		for node.Link().Refused == nil {
			changed := node.Changed()
			if node.Link().Refused != nil {
				break
			}
			select {
			case <-changed:
			case <-time.After(patience):
				s.t.Fatalf("%+v is not refused: %+v", c, node.Link())
			}
		}
		if l := node.Link(); l.Session != 0 || !strings.Contains(l.Refused.Error(), c.want) {
			s.t.Errorf("%+v: %+v", c, l)
		}
		if err := node.Close(); err != nil {
			s.t.Error(err)
		}
		if !strings.Contains(s.audit("join"), strings.ReplaceAll(c.want, `"`, `\"`)) {
			s.t.Errorf("the audit log has no line of %+v", c)
		}
	}
	s.impostors()
}

// impostors answer for the driver with another certificate: a worker says nothing to them.
func (s *scene) impostors() {
	for _, name := range []string{"w1", "ann", "expired", "othersdriver"} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, ClientAuth: tls.RequestClientCert,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return s.shown(name).GetClientCertificate(nil)
			}})
		if err != nil {
			s.t.Fatal(err)
		}
		w := start(s.t, "worker", "--id", "w2", "--data", s.path("w2data"), "--join", l.Addr().String(), "--tls-dir", s.path("w2"), "--log", "info")
		for range 2 { // it comes again
			c, err := l.Accept()
			if err != nil {
				s.t.Fatal(err)
			}
			if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
				s.t.Fatal(err)
			}
			b, _ := io.ReadAll(c) // that it breaks is what is wanted
			if len(b) > 0 {
				s.t.Errorf("%q as a driver is told %q", name, b)
			}
			_ = c.Close()
		}
		w.Kill()
		if err := l.Close(); err != nil {
			s.t.Error(err)
		}
	}
}
