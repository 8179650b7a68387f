package kafkaclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask opens a client and asks something that every client may.
func ask(t *testing.T, c *kfake.Cluster, o options.Map) error {
	t.Helper()
	m := options.Map{"bootstrap.servers": strings.Join(c.ListenAddrs(), ","), "request-timeout": "1s"}
	for k, v := range o {
		m[k] = v
	}
	config, err := Parse("table \"t\"", m)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := config.Open()
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), cl)
	return err
}

func cluster(t *testing.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSASL(t *testing.T) {
	t.Setenv("KAFKA_TEST_PASSWORD", "pa55")
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		c := cluster(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "me", "pa55"))
		o := options.Map{"security.protocol": "sasl_plaintext", "sasl.mechanism": strings.ToLower(mechanism), "sasl.username": "me"}
		o["sasl.password"] = "${env:KAFKA_TEST_PASSWORD}"
		if err := ask(t, c, o); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
		o["sasl.password"] = "${file:" + file(t, "password", "pa55\n") + "}"
		if err := ask(t, c, o); err != nil {
			t.Errorf("%s, from a file: %v", mechanism, err)
		}
		o["sasl.password"] = "${file:" + file(t, "password", "wr0ng") + "}"
		if err := ask(t, c, o); err == nil || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%s with another password: %v", mechanism, err)
		}
		o["sasl.password"] = "${env:KAFKA_TEST_NOTHING}"
		if err := ask(t, c, o); err == nil || !strings.Contains(err.Error(), "the environment has no KAFKA_TEST_NOTHING") {
			t.Errorf("%s without a password: %v", mechanism, err)
		}
	}
}

// certificate makes a certificate for 127.0.0.1 that is its own authority.
func certificate(t *testing.T) (pair tls.Certificate, cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return pair, file(t, "cert.pem", string(certPEM)), file(t, "key.pem", string(keyPEM))
}

func TestTLS(t *testing.T) {
	server, ca, _ := certificate(t)
	client, cert, key := certificate(t)
	known := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(client.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	known.AddCert(leaf)
	c := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known}))
	o := options.Map{"security.protocol": "ssl", "ssl.ca-file": ca, "ssl.certificate-file": cert, "ssl.key-file": key}
	if err := ask(t, c, o); err != nil {
		t.Errorf("mutual TLS: %v", err)
	}
	delete(o, "ssl.ca-file")
	if err := ask(t, c, o); err == nil {
		t.Error("a broker that nobody vouches for was believed")
	}
	if err := ask(t, c, options.Map{"security.protocol": "ssl", "ssl.ca-file": ca}); err == nil {
		t.Error("a client without a certificate was let in")
	}
	o["ssl.ca-file"] = key
	if err := ask(t, c, o); err == nil || !strings.Contains(err.Error(), "holds no certificate in PEM") {
		t.Errorf("a key for an authority gave %v", err)
	}
}

func TestRefused(t *testing.T) {
	for _, f := range []struct {
		o    options.Map
		want string
	}{
		{options.Map{"bootstrap.servers": " , "}, "'bootstrap.servers' is empty"},
		{options.Map{"security.protocol": "sasl_ssl"}, "needs 'sasl.mechanism'"},
		{options.Map{"security.protocol": "sasl_ssl", "sasl.mechanism": "plain"}, "needs 'sasl.username' and 'sasl.password'"},
		{options.Map{"security.protocol": "sasl_ssl", "sasl.mechanism": "oauthbearer"}, "needs 'sasl.token'"},
		{options.Map{"sasl.username": "x"}, "need 'security.protocol' = 'sasl_ssl'"},
		{options.Map{"ssl.ca-file": "x"}, "need 'security.protocol' = 'ssl'"},
		{options.Map{"security.protocol": "ssl", "ssl.key-file": "x"}, "need each other"},
		{options.Map{"sasl.password": "env:hunter2"}, "option 'sasl.password' does not hold the secret but says where it is"},
		{options.Map{"sasl.password": "hunter2"}, "option 'sasl.password' does not hold the secret but says where it is"},
	} {
		m := options.Map{"bootstrap.servers": "a:1"}
		for k, v := range f.o {
			m[k] = v
		}
		_, err := Parse("table \"t\"", m)
		if err == nil || !strings.Contains(err.Error(), f.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v gave %v", f.o, err)
		} else if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("%v is of kind %v", err, k)
		}
	}
}

func TestLinkLocalIsRefused(t *testing.T) {
	for address, ok := range map[string]bool{"127.0.0.1:9092": true, "10.0.0.1:9092": true, "169.254.169.254:80": false, "[fe80::1]:9092": false, "[::ffff:169.254.1.1]:1": false} {
		if err := refuseLinkLocal("tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}
