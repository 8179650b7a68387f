package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var quiet = slog.New(slog.DiscardHandler)

// newAuthority is a folder with an authority for a cluster.
func newAuthority(t *testing.T, cluster string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Init(dir, cluster, at); err != nil {
		t.Fatal(err)
	}
	return dir
}

// node is a folder with a certificate.
func node(t *testing.T, ca string, role Role, issued time.Time, hosts string, ids ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := Issue(ca, dir, Request{Role: role, IDs: ids, Hosts: strings.Fields(hosts)}, issued); err != nil {
		t.Fatal(err)
	}
	return dir
}

func loaded(t *testing.T, dir string, now func() time.Time) *TLS {
	t.Helper()
	l, err := load(dir, quiet, now, false)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// meet lets a client and a server shake hands and exchange a byte, as only then the
// client learns of a refusal. It returns both ends' errors and states.
func meet(t *testing.T, client, server *tls.Config) (c, s tls.ConnectionState, cerr, serr error) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error)
	srv := tls.Server(b, server)
	go func() {
		_, err := io.ReadFull(srv, make([]byte, 1))
		if err == nil {
			_, err = srv.Write([]byte{1})
		}
		_ = b.Close()
		done <- err
	}()
	cl := tls.Client(a, client)
	if cerr = cl.Handshake(); cerr == nil {
		// Nothing is buffered between them: a server that refuses writes, and wants to be read.
		wrote := make(chan error)
		go func() { _, err := cl.Write([]byte{1}); wrote <- err }()
		_, cerr = io.ReadFull(cl, make([]byte, 1))
		_ = a.Close()
		<-wrote
	}
	_ = a.Close()
	serr = <-done
	return cl.ConnectionState(), srv.ConnectionState(), cerr, serr
}

func TestWhoMayMeetWhom(t *testing.T) {
	ca, other := newAuthority(t, "prod"), newAuthority(t, "prod")
	later := func(d time.Duration) func() time.Time { return func() time.Time { return at.Add(d) } }
	now := later(time.Hour)
	driver := loaded(t, node(t, ca, Driver, at, "d1.example 127.0.0.1", "d1"), now)
	worker := loaded(t, node(t, ca, Worker, at, "w1.example", "w1", "w2"), now)
	client := loaded(t, node(t, ca, Client, at, "", "ann"), now)
	stranger := loaded(t, node(t, other, Worker, at, "w1.example", "w1"), now)
	if err := os.WriteFile(filepath.Join(stranger.dir, caFile), pemOf(t, ca), 0o644); err != nil { // trusts us; we do not trust it
		t.Fatal(err)
	}
	tls12 := worker.Client("d1.example:7070", Driver)
	tls12.MinVersion, tls12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	naked := worker.Client("d1.example:7070", Driver)
	naked.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return new(tls.Certificate), nil }
	for _, c := range []struct {
		name           string
		client, server *tls.Config
		cerr, serr     string // "" of both: they meet
	}{
		{"worker to driver", worker.Client("d1.example:7070", Driver), driver.Server(Worker, Driver), "", ""},
		{"by address", worker.Client("127.0.0.1:7070", Driver), driver.Server(Worker), "", ""},
		{"driver to worker", driver.Client("w1.example:7071", Worker), worker.Server(Driver, Worker), "", ""},
		{"client to driver", client.Client("d1.example:7070", Driver), driver.Server(Client), "", ""},
		{"of now", named(worker.ClientOfNow(Driver), "d1.example"), driver.Server(Worker), "", ""},
		{"of now by address", named(worker.ClientOfNow(Driver), "127.0.0.1"), driver.Server(Worker), "", ""},
		{"of now, another host", named(worker.ClientOfNow(Driver), "d2.example"), driver.Server(Worker), "not d2.example", "bad certificate"},
		{"of now, another address", named(worker.ClientOfNow(Driver), "127.0.0.2"), driver.Server(Worker), "127.0.0.2", "bad certificate"},
		{"of now, wrong role", named(worker.ClientOfNow(Driver), "w1.example"), worker.Server(Worker), "only a driver may be here", "bad certificate"},
		{"of now, wrong authority", named(driver.ClientOfNow(Worker), "w1.example"), stranger.Server(Driver), "unknown authority", "bad certificate"},
		{"client as a worker", client.Client("d1.example:7070", Driver), driver.Server(Worker, Driver), "bad certificate", "only a worker or a driver"},
		{"worker as a replica", worker.Client("d1.example:7070", Driver), driver.Server(Driver), "bad certificate", "only a driver may be here"},
		{"a worker answers for the driver", worker.Client("w1.example:7070", Driver), worker.Server(Worker), "only a driver may be here", "bad certificate"},
		{"another host", worker.Client("d2.example:7070", Driver), driver.Server(Worker), "not d2.example", "bad certificate"},
		{"another address", worker.Client("127.0.0.2:7070", Driver), driver.Server(Worker), "127.0.0.2", "bad certificate"},
		{"wrong authority", stranger.Client("d1.example:7070", Driver), driver.Server(Worker), "bad certificate", "not in ca.crt"},
		{"wrong authority serves", driver.Client("w1.example:7071", Worker), stranger.Server(Driver), "not in ca.crt", "bad certificate"},
		{"the server's own is over", worker.Client("d1.example:7070", Driver), at2(driver, later(NodeLife+time.Hour)).Server(Worker),
			"internal error", "this node's own certificate: the certificate of sluice://prod/driver/d1 expired 2027-03-01"},
		{"TLS 1.2", tls12, driver.Server(Worker), "protocol version", "unsupported versions"},
		{"no certificate", naked, driver.Server(Worker), "certificate required", "didn't provide a certificate"},
		{"no certificate, but a token may follow", naked, driver.ServerForTokens(), "", ""},
		{"a wrong one where none is needed", stranger.Client("d1.example:7070", Driver), driver.ServerForTokens(), "bad certificate", "not in ca.crt"},
	} {
		_, state, cerr, serr := meet(t, c.client, c.server)
		if !tells(cerr, c.cerr) || !tells(serr, c.serr) {
			t.Errorf("%s: client %v, want %q; server %v, want %q", c.name, cerr, c.cerr, serr, c.serr)
		}
		if c.serr == "" && len(state.PeerCertificates) > 0 {
			if who, err := Peer(state); err != nil || who.Cluster != "prod" || who.Check(who.IDs[0]) != nil || who.Check("other") == nil {
				t.Errorf("%s: %v %v", c.name, who, err)
			}
		}
	}
}

// named is a configuration as gRPC completes it.
func named(c *tls.Config, host string) *tls.Config {
	c.ServerName = host
	return c
}

// at2 is a node with another clock.
func at2(l *TLS, now func() time.Time) *TLS {
	one := &TLS{dir: l.dir, log: l.log, now: now}
	one.read.m, one.read.stamps = l.read.m, l.read.stamps
	return one
}

// tells reports whether an error is as wanted; "" wants none.
func tells(err error, want string) bool {
	if want == "" {
		return err == nil
	}
	return err != nil && strings.Contains(err.Error(), want)
}

func pemOf(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPeersCertificateIsOver: each end's time decides about the other's certificate.
func TestPeersCertificateIsOver(t *testing.T) {
	ca := newAuthority(t, "c")
	now := at
	clock := func() time.Time { return now }
	short := t.TempDir()
	if err := Issue(ca, short, Request{Role: Worker, IDs: []string{"w1"}, Hosts: []string{"w1"}, Life: time.Hour}, at); err != nil {
		t.Fatal(err)
	}
	worker, driver := loaded(t, short, func() time.Time { return at }), loaded(t, node(t, ca, Driver, at, "d1", "d1"), clock)
	if _, _, cerr, serr := meet(t, worker.Client("d1:1", Driver), driver.Server(Worker)); cerr != nil || serr != nil {
		t.Fatal(cerr, serr)
	}
	now = at.Add(2 * time.Hour) // the worker's clock stands still
	if _, _, cerr, serr := meet(t, worker.Client("d1:1", Driver), driver.Server(Worker)); !tells(cerr, "bad certificate") || !tells(serr, "sluice://c/worker/w1 expired 2026-03-01T13:00:00Z") {
		t.Error(cerr, serr)
	}
	if _, _, cerr, serr := meet(t, driver.Client("w1:1", Worker), worker.Server(Driver)); !tells(cerr, "expired 2026-03-01T13:00:00Z") || serr == nil {
		t.Error(cerr, serr)
	}
	now = at.Add(-time.Hour)
	if _, _, _, serr := meet(t, worker.Client("d1:1", Driver), driver.Server(Worker)); !tells(serr, "do the clocks differ") {
		t.Error(serr)
	}
	if _, err := load(short, quiet, func() time.Time { return at.Add(2 * time.Hour) }, false); !tells(err, "expired") {
		t.Errorf("a node starts with a certificate that is over: %v", err)
	}
}

// TestRotation: new files count from the next handshake on, half-written ones never.
func TestRotation(t *testing.T) {
	ca, next := newAuthority(t, "c"), newAuthority(t, "c")
	var logged bytes.Buffer
	dir := node(t, ca, Driver, at, "d1", "d1")
	now := func() time.Time { return at }
	driver, err := load(dir, slog.New(slog.NewTextHandler(&logged, nil)), now, false)
	if err != nil {
		t.Fatal(err)
	}
	server := driver.Server(Worker) // one configuration for all of the listener's life
	w := node(t, ca, Worker, at, "w1", "w1")
	worker := loaded(t, w, now)
	config := worker.Client("d1:1", Driver)
	serial := func() string {
		t.Helper()
		c, _, cerr, serr := meet(t, config, server)
		if cerr != nil || serr != nil {
			t.Fatal(cerr, serr)
		}
		return c.PeerCertificates[0].SerialNumber.String()
	}
	replace := func(to, from string, names ...string) {
		t.Helper()
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name+".new"), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(to, name+".new"), filepath.Join(to, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := serial()
	// Both authorities are trusted everywhere, then certificates change, then the old one goes.
	both := append(pemOf(t, next), pemOf(t, ca)...)
	for _, d := range []string{dir, w} {
		if err := os.WriteFile(filepath.Join(d, caFile), both, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	renewed := node(t, next, Driver, at, "d1", "d1")
	replace(dir, renewed, certFile) // the key does not fit yet
	if got := serial(); got != first || !strings.Contains(logged.String(), "new certificates cannot be used") {
		t.Errorf("a half-made change: %s after %s, log %s", got, first, &logged)
	}
	replace(dir, renewed, keyFile)
	if got := serial(); got == first {
		t.Error("the new certificate is not shown")
	}
	replace(dir, renewed, caFile) // the old authority is gone here
	if _, _, _, serr := meet(t, config, server); !tells(serr, "not in ca.crt") {
		t.Errorf("a certificate of the old authority: %v", serr)
	}
	replace(w, node(t, next, Worker, at, "w1", "w1"), caFile, certFile, keyFile)
	if got := serial(); got == first {
		t.Error("after the change of authority")
	}
	if strings.Contains(logged.String(), "PRIVATE") {
		t.Error("the log has a key")
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	ca := newAuthority(t, "c")
	now := func() time.Time { return at }
	good := node(t, ca, Worker, at, "w1", "w1")
	for name, c := range map[string]struct {
		harm func(dir string) error
		want string
	}{
		"no authority":     {func(d string) error { return os.Remove(filepath.Join(d, caFile)) }, "no such file"},
		"no key":           {func(d string) error { return os.Remove(filepath.Join(d, keyFile)) }, "no such file"},
		"open key":         {func(d string) error { return os.Chmod(filepath.Join(d, keyFile), 0o644) }, "chmod 0600"},
		"empty authority":  {func(d string) error { return os.WriteFile(filepath.Join(d, caFile), nil, 0o644) }, "holds no certificate"},
		"key as authority": {func(d string) error { return copyFile(d, keyFile, d, caFile) }, "holds a private key"},
		"leaf as authority": {func(d string) error { return copyFile(d, certFile, d, caFile) },
			"not one of an authority"},
		"another's key":    {func(d string) error { return copyFile(node(t, ca, Worker, at, "w2", "w2"), keyFile, d, keyFile) }, "does not match"},
		"says no identity": {func(d string) error { return plainCertificate(d) }, "which is not sluice://CLUSTER/ROLE/ID"},
	} {
		dir := t.TempDir()
		for _, f := range []string{caFile, certFile, keyFile} {
			if err := copyFile(good, f, dir, f); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, keyFile), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.harm(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := load(dir, quiet, now, false); !tells(err, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// plainCertificate replaces a node's certificate by the authority's own kind: signed, but of nobody.
func plainCertificate(dir string) error {
	ca := filepath.Join(dir, "other")
	if err := Init(ca, "c", at); err != nil {
		return err
	}
	for from, to := range map[string]string{caFile: certFile, caKey: keyFile} {
		if err := os.Remove(filepath.Join(dir, to)); err != nil {
			return err
		}
		if err := copyFile(ca, from, dir, to); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(fromDir, from, toDir, to string) error {
	b, err := os.ReadFile(filepath.Join(fromDir, from))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(toDir, to), b, 0o600)
}

func TestIssue(t *testing.T) {
	ca := newAuthority(t, "c")
	for name, c := range map[string]struct {
		r    Request
		want string
	}{
		"no host":       {Request{Role: Worker, IDs: []string{"w"}}, "by which host names"},
		"role":          {Request{Role: "root", IDs: []string{"w"}, Hosts: []string{"h"}}, "want driver, worker or client"},
		"no ID":         {Request{Role: Client}, "no ID"},
		"slash":         {Request{Role: Client, IDs: []string{"../../etc"}}, "ID \"../../etc\""},
		"host":          {Request{Role: Worker, IDs: []string{"w"}, Hosts: []string{"a b"}}, "neither a DNS name nor an address"},
		"URL":           {Request{Role: Worker, IDs: []string{"w"}, Hosts: []string{"https://a"}}, "neither a DNS name nor an address"},
		"too long":      {Request{Role: Client, IDs: []string{"w"}, Life: 2 * AuthorityLife}, "outlive its authority"},
		"already over":  {Request{Role: Client, IDs: []string{"w"}, Life: -time.Hour}, "cannot last"},
		"newline in ID": {Request{Role: Client, IDs: []string{"w\n"}}, "letters, digits"},
	} {
		dir := t.TempDir()
		if err := Issue(ca, dir, c.r, at); !tells(err, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: leaves %v", name, left)
		}
	}
	if err := Init(ca, "c", at); !tells(err, "there already") {
		t.Errorf("an authority is written over: %v", err)
	}
	dir := node(t, ca, Worker, at, "w1 *.workers.example 10.0.0.1 ::1", "w1")
	if err := Issue(ca, dir, Request{Role: Client, IDs: []string{"x"}}, at); !tells(err, "there already") {
		t.Errorf("a certificate is written over: %v", err)
	}
	for file, mode := range map[string]os.FileMode{filepath.Join(dir, keyFile): 0o600, filepath.Join(ca, caKey): 0o600} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, caKey)); err == nil {
		t.Error("a node has the authority's key")
	}
	all, err := Show(dir, at)
	if err != nil || len(all) != 2 || !all[0].Authority || all[0].Problem+all[1].Problem != "" ||
		strings.Join(all[1].Hosts, " ") != "w1 *.workers.example 10.0.0.1 ::1" || all[1].Identity[0] != "sluice://c/worker/w1" {
		t.Errorf("%+v %v", all, err)
	}
	if all, err = Show(dir, at.Add(NodeLife+time.Hour)); err != nil || !strings.Contains(all[1].Problem, "expired") {
		t.Errorf("%+v %v", all, err)
	}
}

// TestNobodyElse: what is not ours is refused, though its authority is trusted.
func TestNobodyElse(t *testing.T) {
	for _, uri := range []string{"sluice://c/worker", "sluice://c/root/x", "sluice://c/worker/a/b", "sluice:///worker/a", "https://c/worker/a"} {
		if who, err := identify(withURIs(t, uri)); err == nil {
			t.Errorf("%s is %s", uri, who)
		}
	}
	if who, err := identify(withURIs(t, "sluice://c/worker/a", "sluice://c/driver/a")); err == nil {
		t.Errorf("two roles: %s", who)
	}
	if who, err := identify(withURIs(t, "sluice://c/worker/a", "sluice://d/worker/a")); err == nil {
		t.Errorf("two clusters: %s", who)
	}
}

func withURIs(t *testing.T, uris ...string) *x509.Certificate {
	t.Helper()
	c := new(x509.Certificate)
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		c.URIs = append(c.URIs, parsed)
	}
	return c
}

// TestLoadClient: a program may have the authority alone.
func TestLoadClient(t *testing.T) {
	ca := newAuthority(t, "c")
	dir := t.TempDir()
	if err := copyFile(ca, caFile, dir, caFile); err != nil {
		t.Fatal(err)
	}
	client, err := LoadClient(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	client.now = func() time.Time { return at }
	driver := loaded(t, node(t, ca, Driver, at, "d1", "d1"), func() time.Time { return at })
	if _, _, cerr, serr := meet(t, client.Client("d1:1", Driver), driver.ServerForTokens()); cerr != nil || serr != nil {
		t.Error(cerr, serr)
	}
	if _, _, _, serr := meet(t, client.Client("d1:1", Driver), driver.Server(Client)); !tells(serr, "didn't provide") {
		t.Error(serr)
	}
	if _, err := Load(dir, quiet); err == nil {
		t.Error("a node without a certificate")
	}
}
