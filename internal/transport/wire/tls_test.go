package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/transporttest"
	"github.com/sluice-stream/sluice/sources"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert, a.key = issue(t, nil, "authority")
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate, signed by itself if by is nil.
func issue(t *testing.T, by *authority, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	parent, signer := c, key
	if by == nil {
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// holder gives out a certificate that can be changed.
type holder struct {
	pool *x509.CertPool
	mu   struct {
		sync.Mutex
		cert tls.Certificate
	}
}

func (a *authority) holder(t *testing.T, name string) *holder {
	h := &holder{pool: a.pool}
	h.renew(t, a, name)
	return h
}

func (h *holder) renew(t *testing.T, a *authority, name string) {
	cert, key := issue(t, a, name)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.cert = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (h *holder) config() (*tls.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &tls.Config{
		Certificates: []tls.Certificate{h.mu.cert}, RootCAs: h.pool, ClientCAs: h.pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// A query's node answers with the driver's certificate, and not as a worker of that name.
func TestTLSOfTheDriversNodes(t *testing.T) {
	ours := newAuthority(t)
	d, w := ours.holder(t, "driver"), ours.holder(t, "worker")
	h, err := Listen(t.Context(), Options{ID: "d", Listen: "127.0.0.1:0", ServerTLS: d.config, ClientTLS: d.config})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, h)
	expect := func(id transport.NodeID, s tls.ConnectionState) error {
		if who := s.PeerCertificates[0].Subject.CommonName; id != "" || who != "driver" {
			return fmt.Errorf("%s answers for %q", who, id)
		}
		return nil
	}
	n, err := Join(t.Context(), Options{ID: "w", Listen: "127.0.0.1:0", Join: []string{h.Addr()}, ServerTLS: w.config, ClientTLS: w.config, Expect: expect})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, n)
	attached(n)
	endpoint(t, h, "driver/q").Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) {
		return transporttest.NewReader(nil), nil
	})
	r, err := n.Fetch(t.Context(), "driver/q", transport.StreamRef{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); err != io.EOF {
		t.Errorf("no rows of the driver are %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestTLSBetweenAllNodes(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	d, w, stranger := ours.holder(t, "driver"), ours.holder(t, "worker"), others.holder(t, "worker")
	names := make(chan string, 16)
	authorize := func(c Caller) error {
		if c.TLS == nil || c.TLS.Version != tls.VersionTLS13 {
			return errors.New("who are you")
		}
		names <- c.TLS.PeerCertificates[0].Subject.CommonName
		return nil
	}
	h, err := Listen(t.Context(), Options{ID: "d", Listen: "127.0.0.1:0", ServerTLS: d.config, ClientTLS: d.config, Authorize: authorize})
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, h)
	join := func(o *holder) *Node {
		n, err := Join(t.Context(), Options{ID: "w", Listen: "127.0.0.1:0", Join: []string{h.Addr()}, ServerTLS: o.config, ClientTLS: o.config, Authorize: authorize})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	bad := join(stranger)
	n := join(w)
	defer closeAll(t, bad, n)
	if m := await(h, 1)[0]; m.TLS == nil || m.Addr != n.Addr() {
		t.Fatalf("got %+v", m)
	}
	attached(n)
	if bad.Link().Session != 0 {
		t.Fatal("a worker with a foreign certificate joined")
	}
	if got := <-names; got != "worker" {
		t.Fatalf("%q has joined", got)
	}
	// A certificate that is renewed is used from the next connection on.
	d.renew(t, ours, "renewed")
	rec := transporttest.Wide(memory.DefaultAllocator, 10)
	defer rec.Release()
	n.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) {
		return transporttest.NewReader(nil, rec), nil
	})
	r, err := endpoint(t, h, "q").Fetch(t.Context(), "w", transport.StreamRef{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(t, r)
	got, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Release()
	if name := <-names; name != "renewed" || got.NumRows() != 10 {
		t.Fatalf("%q has read %d rows", name, got.NumRows())
	}
}
