package postgres

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/sinks/postgres"
	"github.com/sluice-stream/sluice/sinks/sinktest"
)

// authority is one that signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// sign makes a certificate, of an authority of its own if there is none, and writes it
// with its key to dir/name.crt and dir/name.key.
func (a *authority) sign(t testing.TB, dir, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := c, key
	if a != nil {
		parent, signer = a.cert, a.key
	} else {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	made := &authority{c, key, filepath.Join(dir, name+".crt")}
	write(t, made.file, 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, filepath.Join(dir, name+".key"), 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	return made
}

// write writes a file that the user of the server can read, who is another than root.
func write(t testing.TB, file string, mode os.FileMode, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, mode); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err == nil {
		err = os.Chown(file, uid, -1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// secured makes the server one that takes nothing but TLS, and of the role certified
// nothing but a certificate.
func (s *server) secured(t testing.TB) (ca *authority) {
	t.Helper()
	ca = (*authority)(nil).sign(t, s.dir, "ca")
	ca.sign(t, s.dir, "server")
	hba := "hostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
	write(t, filepath.Join(s.dir, "hba.conf"), 0o644, []byte(hba))
	at := func(name string) string { return filepath.Join(s.dir, name) }
	s.settings = append(s.settings, "ssl=on", "ssl_cert_file="+at("server.crt"), "ssl_key_file="+at("server.key"), "ssl_ca_file="+at("ca.crt"), "hba_file="+at("hba.conf"))
	return ca
}

// TestTLS holds that the database is reached over TLS, that it is known by the authority
// and the name on its certificate, and that nothing else goes when that was asked for.
func TestTLS(t *testing.T) {
	var ca *authority
	s := ownServer(t, func(s *server) { ca = s.secured(t) })
	conn := s.connect(t)
	schema := s.schema(t, conn)
	dir := t.TempDir()
	ca.sign(t, dir, "certified")
	stranger := (*authority)(nil).sign(t, dir, "stranger")
	stranger.sign(t, dir, "forged")
	exec1(t, conn, "CREATE ROLE certified LOGIN SUPERUSER")
	at := func(role, host string, params ...string) string {
		q := url.Values{}
		for i := 0; i < len(params); i += 2 {
			q.Set(params[i], params[i+1])
		}
		return "postgres://" + role + "@" + net.JoinHostPort(host, strconv.Itoa(s.port)) + "/postgres?" + q.Encode()
	}
	full := []string{"sslmode", "verify-full", "sslrootcert", ca.file}
	mine := func(name string) []string {
		return append(full[:4:4], "sslcert", filepath.Join(dir, name+".crt"), "sslkey", filepath.Join(dir, name+".key"))
	}
	for _, c := range []struct{ name, url, want string }{
		{"verified", at("sluice", "127.0.0.1", full...), ""},
		{"a certificate for a password", at("certified", "127.0.0.1", mine("certified")...), ""},
		{"another authority", at("sluice", "127.0.0.1", "sslmode", "verify-full", "sslrootcert", stranger.file), "certificate signed by unknown authority"},
		{"another authority and any name", at("sluice", "127.0.0.1", "sslmode", "verify-ca", "sslrootcert", stranger.file), "certificate signed by unknown authority"},
		{"another name", at("sluice", "localhost", full...), "localhost"},
		{"no TLS", at("sluice", "127.0.0.1", "sslmode", "disable"), "no encryption"},
		{"no certificate", at("certified", "127.0.0.1", full...), "certificate"},
		{"another's certificate", at("certified", "127.0.0.1", mine("forged")...), "certif"},
		{"no file of an authority", at("sluice", "127.0.0.1", "sslmode", "verify-full", "sslrootcert", dir+"/none"), "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := sinktest.Spec()
			spec.Options = s.options(schema+".t", "url", c.url, "create-table", "true")
			spec.Schema = kv()
			if strings.Contains(c.url, "certified@") {
				delete(spec.Options, "password")
			}
			if c.want != "" {
				refused(t, spec.Options, func() error {
					_, _, err := postgres.Connector().New(t.Context(), spec)
					return err
				}, c.want)
				return
			}
			spec.Query = batch.QueryID(c.name)
			f := openSink(t, spec)
			f.commit(0, 1, nil, `[{"k": "a", "V": 1}]`)
			over := rowsOf(t, conn, "SELECT DISTINCT l.ssl FROM pg_stat_ssl l JOIN pg_stat_activity a USING (pid) WHERE a.application_name LIKE 'sluice%'")
			if len(over) != 1 || over[0] != "t" {
				t.Errorf("sessions are over TLS: %q", over)
			}
		})
	}
	t.Run("a server without TLS", func(t *testing.T) {
		plain := theServer(t)
		o := plain.options("t", "url", plain.url()+"?sslmode=verify-full&sslrootcert="+ca.file)
		config, err := pgclient.Parse("table", "t", o)
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := config.Connect(t.Context(), "test", nil); err == nil {
			pgclient.Close(conn)
			t.Error("it is not refused")
		} else if !strings.Contains(err.Error(), "server refused TLS") {
			t.Error(err)
		}
	})
	if got := rowsOf(t, conn, "SELECT count(*) FROM "+schema+".t"); got[0] != "2" {
		t.Errorf("there are %s rows", got[0])
	}
}

// refused holds that what fails does so at once, by name, as something that somebody
// has to mend, and without the password.
func refused(t testing.TB, o options.Map, do func() error, want string) {
	t.Helper()
	err := do()
	if err == nil {
		t.Fatal("it is not refused")
	}
	kind, again := batch.KindOf(err)
	if kind != batch.User || again || !strings.Contains(err.Error(), want) {
		t.Errorf("want %q and nothing to try again, have %v, again %v: %v", want, kind, again, err)
	}
	silent(t, o, err)
}

// silent holds that an error does not say the password.
func silent(t testing.TB, o options.Map, err error) {
	t.Helper()
	file := strings.TrimSuffix(strings.TrimPrefix(o["password"], "${file:"), "}")
	if file == "" {
		return
	}
	secret, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if strings.Contains(err.Error(), strings.TrimSpace(string(secret))) {
		t.Errorf("the error tells the password: %v", err)
	}
}
