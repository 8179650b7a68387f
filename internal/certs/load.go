package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// TLS makes the configurations of a node's connections from the files of its folder.
// It may be used by several goroutines.
type TLS struct {
	dir string
	log *slog.Logger
	now func() time.Time
	// bare: a client without a certificate of its own, known by its token alone.
	bare bool

	read struct {
		sync.Mutex
		stamps [3]os.FileInfo // of ca.crt, tls.crt, tls.key when they were read
		m      *material
		failed string // the last error that was logged, so that it is logged once
	}
}

// Load reads dir, which must hold ca.crt, tls.crt and tls.key. The logger is told of
// refused connections and of files that were read again; nil is slog.Default.
func Load(dir string, log *slog.Logger) (*TLS, error) { return load(dir, log, time.Now, false) }

// LoadClient is Load for programs that may have no certificate: a folder with ca.crt
// alone will do where the server asks for a token.
func LoadClient(dir string, log *slog.Logger) (*TLS, error) {
	_, err := os.Lstat(filepath.Join(dir, certFile))
	return load(dir, log, time.Now, errors.Is(err, fs.ErrNotExist))
}

func load(dir string, log *slog.Logger, now func() time.Time, bare bool) (*TLS, error) {
	if log == nil {
		log = slog.Default()
	}
	t := &TLS{dir: dir, log: log, now: now, bare: bare}
	t.read.Lock()
	defer t.read.Unlock()
	if err := t.readLocked(); err != nil {
		return nil, fmt.Errorf("certificates of %s: %w", dir, err)
	}
	if m := t.read.m; m.leaf != nil {
		if err := inTime(m.leaf, now()); err != nil {
			return nil, fmt.Errorf("certificates of %s: %w", dir, err)
		}
	}
	return t, nil
}

// Self is who this node is by its certificate; of a client without one, nobody.
func (t *TLS) Self() Identity { return t.current().self }

// Server is the configuration of a listener to which only nodes of these roles may connect.
func (t *TLS) Server(from ...Role) *tls.Config { return t.server(tls.RequireAnyClientCert, from) }

// ServerForTokens is the configuration of a listener whose clients are known by a token
// in each request: they need no certificate, but one that they show must be good, of any role.
func (t *TLS) ServerForTokens() *tls.Config { return t.server(tls.RequestClientCert, Roles) }

func (t *TLS) server(auth tls.ClientAuthType, from []Role) *tls.Config {
	c := t.base()
	c.ClientAuth = auth
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.own() }
	// A configuration for each connection, so that a refusal can say whose it was.
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		one := c.Clone()
		one.GetConfigForClient = nil
		remote := hello.Conn.RemoteAddr().String()
		one.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 && auth == tls.RequestClientCert {
				return nil
			}
			return t.judge(s, demand{roles: from, usage: x509.ExtKeyUsageClientAuth}, remote)
		}
		return one, nil
	}
	// Whoever takes the configuration apart still gets one that refuses.
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 && auth == tls.RequestClientCert {
			return nil
		}
		return t.judge(s, demand{roles: from, usage: x509.ExtKeyUsageClientAuth}, "a client")
	}
	return c
}

// Client is the configuration of connections to addr (HOST:PORT), where a node of one of
// these roles must answer, with a certificate for that host. Make one for each address.
func (t *TLS) Client(addr string, to ...Role) *tls.Config {
	host := addr
	if h, _, err := net.SplitHostPort(addr); err == nil {
		host = h
	}
	c := t.base()
	c.ServerName = host
	// The chain is checked in VerifyConnection, by the authorities that the file names at
	// that moment: RootCAs would be those of the moment when this was made.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		return t.judge(s, demand{roles: to, usage: x509.ExtKeyUsageServerAuth, host: host}, addr)
	}
	return c
}

// ClientOfNow is Client for dialers that set the name of the host themselves, as gRPC
// and net/http do. It trusts the authorities of the moment when it is made, so one that
// lives on asks for a new one at each handshake.
func (t *TLS) ClientOfNow(to ...Role) *tls.Config {
	c := t.base()
	c.RootCAs = t.current().pool
	c.VerifyConnection = func(s tls.ConnectionState) error {
		return t.judge(s, demand{roles: to, usage: x509.ExtKeyUsageServerAuth}, "the server")
	}
	return c
}

// base is common to both ends: either shows its certificate when it is asked.
func (t *TLS) base() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, Time: t.now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if t.bare {
				return &tls.Certificate{}, nil
			}
			return t.own()
		},
	}
}

// judge checks the other end, and tells the log of a refusal: what the other end itself
// learns is a number of TLS.
func (t *TLS) judge(s tls.ConnectionState, d demand, remote string) error {
	m := t.current()
	if err := m.verify(s.PeerCertificates, d, t.now()); err != nil {
		t.log.Warn("connection refused", "remote", remote, "error", err)
		return fmt.Errorf("%s is refused: %w", remote, err)
	}
	return nil
}

// own is the node's certificate, unless its time is over.
func (t *TLS) own() (*tls.Certificate, error) {
	m := t.current()
	if err := inTime(m.leaf, t.now()); err != nil {
		t.log.Error("this node's own certificate is not valid", "error", err)
		return nil, fmt.Errorf("this node's own certificate: %w", err)
	}
	return m.pair, nil
}

// current is what the files hold, read again if they have changed. Files that cannot
// be read or do not fit together, as in the middle of being replaced, leave the last ones standing.
func (t *TLS) current() *material {
	t.read.Lock()
	defer t.read.Unlock()
	if t.unchangedLocked() {
		return t.read.m
	}
	if err := t.readLocked(); err != nil {
		if text := err.Error(); text != t.read.failed {
			t.read.failed = text
			t.log.Error("new certificates cannot be used, the last ones stay", "dir", t.dir, "error", err)
		}
		return t.read.m
	}
	t.read.failed = ""
	if m := t.read.m; m.leaf != nil {
		t.log.Info("certificates were read again", "dir", t.dir, "until", m.leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return t.read.m
}

// files are the names that are read, in the order of the stamps.
func (t *TLS) files() []string {
	if t.bare {
		return []string{caFile}
	}
	return []string{caFile, certFile, keyFile}
}

func (t *TLS) unchangedLocked() bool {
	for i, name := range t.files() {
		info, err := os.Stat(filepath.Join(t.dir, name))
		old := t.read.stamps[i]
		if err != nil || old == nil || !os.SameFile(info, old) || !info.ModTime().Equal(old.ModTime()) || info.Size() != old.Size() {
			return false
		}
	}
	return true
}

// readLocked reads the files. The stamps are taken before, so that a change while they
// are read is seen at the next look.
func (t *TLS) readLocked() error {
	var stamps [3]os.FileInfo
	var text [3][]byte
	for i, name := range t.files() {
		full := filepath.Join(t.dir, name)
		info, err := os.Stat(full)
		if err != nil {
			return err
		}
		if name == keyFile {
			if err := private(full, info); err != nil {
				return err
			}
		}
		stamps[i] = info
		if text[i], err = os.ReadFile(full); err != nil {
			return err
		}
	}
	m, err := newMaterial(text[0], text[1], text[2])
	if err != nil {
		return err
	}
	t.read.stamps, t.read.m = stamps, m
	return nil
}

// private refuses a key that any user of the machine may read. A group may: a volume of
// Kubernetes that is not root's is read through its group.
func private(name string, info os.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return fmt.Errorf("%s has mode %04o, so that every user can read or change it: chmod 0600", name, mode)
	}
	return nil
}
