package raftlog

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// certificate makes a configuration of TLS that trusts itself alone.
func certificate(t *testing.T) func() (*tls.Config, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "drivers"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	must(t, err)
	parsed, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return func() (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
	}
}

// Three drivers over real connections: found, agree, and go on without the leader.
func TestDriversOverTLS(t *testing.T) {
	conf := certificate(t)
	peers, listeners := map[string]string{}, map[string]net.Listener{}
	for _, id := range all {
		l, err := net.Listen("tcp", "127.0.0.1:0") // to have a free port
		must(t, err)
		peers[id], listeners[id] = l.Addr().String(), l
	}
	nodes := map[string]*Node{}
	leads := make(chan *Node, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{}, 3)
	for _, id := range all {
		must(t, listeners[id].Close())
		n, err := Open(Options{ID: id, Dir: "node", FS: vfsx.NewMem(), Listen: peers[id], Client: "c-" + id, Peers: peers, ServerTLS: conf, ClientTLS: conf,
			HeartbeatTimeout: 400 * time.Millisecond})
		must(t, err)
		nodes[id] = n
		go func() {
			_ = n.Lead(ctx, func(ctx context.Context, _ Leadership) error {
				leads <- n
				<-ctx.Done()
				return nil
			})
			ended <- struct{}{}
		}()
	}
	// On a loaded machine leadership may change by itself: whoever leads next is asked.
	n := <-leads
	q, err := n.Create(t.Context(), Query{ID: "q-1", Name: "hot"})
	for ; errors.Is(err, ErrNotLeader); q, err = n.Create(t.Context(), Query{ID: "q-1", Name: "hot"}) {
		n = <-leads
	}
	must(t, err)
	must(t, n.Close(t.Context()))
	now := <-leads
	qs, err := now.Catalog(t.Context())
	for ; errors.Is(err, ErrNotLeader) || errors.Is(err, ErrClosed); qs, err = now.Catalog(t.Context()) {
		now = <-leads
	}
	if err != nil || len(qs) != 1 || qs[0].Name != q.Name {
		t.Errorf("catalog %v, %v", qs, err)
	}
	p, err := now.net.ask(peers[now.opt.ID], time.Second)
	if err != nil || p.ID != now.opt.ID || p.Disk != now.who.disk || !p.Member {
		t.Errorf("it says of itself %+v, %v", p, err)
	}
	dial := now.net.(*tcpNetwork).stream
	if c, err := dial.Dial(joinAddress(peers[now.opt.ID], "another-disk"), time.Second); !errors.Is(err, ErrForeignDisk) {
		t.Errorf("called by another disk's name: %v, %v", c, err)
	}
	plain, err := net.Dial("tcp", peers[now.opt.ID])
	must(t, err)
	must(t, writeHello(plain, func(e *encoder) { e.u(wantIdentity); e.s(""); e.s("") }))
	must(t, plain.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := readHello(plain); err == nil {
		t.Error("a plain connection is answered")
	}
	_ = plain.Close()
	cancel()
	for _, n := range nodes {
		must(t, n.Close(context.Background()))
	}
	for range 3 {
		<-ended
	}
}

func TestPlainBeyondLoopbackIsRefused(t *testing.T) {
	_, err := Open(Options{ID: "d1", Dir: "node", FS: vfsx.NewMem(), Listen: "0.0.0.0:0"})
	if err == nil {
		t.Fatal("it listens")
	}
	s, err := listen(Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}, func() Peer { return Peer{Driver: Driver{ID: "d1", Disk: "u"}} })
	must(t, err)
	if _, err := s.Dial(raft.ServerAddress("192.0.2.1:9/u"), time.Second); err == nil {
		t.Error("it calls")
	}
	c, err := net.Dial("tcp", s.listener.Addr().String()) // who says nothing holds nobody up, and ends with the node
	must(t, err)
	if p, err := s.ask(s.listener.Addr().String(), 10*time.Second); err != nil || p.ID != "d1" {
		t.Errorf("%+v, %v", p, err)
	}
	must(t, s.Close())
	must(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Errorf("the caller is left alone: %v", err)
	}
	_ = c.Close()
}

// Raft's pipeline can hang, and with it replication and the end of the node (test/bubble has
// found it: seed 66 at c757fc2).
func TestNoPipeline(t *testing.T) {
	n, err := openNetwork(Options{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}, func() Peer { return Peer{Driver: Driver{ID: "d1", Disk: "u"}} })
	must(t, err)
	defer n.cut()
	if _, err := n.AppendEntriesPipeline("d1", n.LocalAddr()); !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("a pipeline: %v", err)
	}
}

func FuzzHello(f *testing.F) {
	var b writer
	must(f, writeHello(&b, Peer{Driver: Driver{ID: "d1"}}.encode))
	f.Add([]byte(b))
	f.Fuzz(func(_ *testing.T, data []byte) {
		r := writer(data)
		if d, err := readHello(&r); err == nil {
			decodeDriver(d)
		}
	})
}

// writer is a buffer that is read from its front.
type writer []byte

func (w *writer) Write(b []byte) (int, error) { *w = append(*w, b...); return len(b), nil }

func (w *writer) Read(b []byte) (int, error) {
	if len(*w) == 0 {
		return 0, io.EOF
	}
	n := copy(b, *w)
	*w = (*w)[n:]
	return n, nil
}
