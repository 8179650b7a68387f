package kafka

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificates are files: a server's and a client's, each its own authority.
type certificates struct{ dir string }

func (c certificates) file(name string) string { return filepath.Join(c.dir, name) }

func makeCertificates(t testing.TB, dir string) certificates {
	t.Helper()
	c := certificates{dir}
	for _, name := range []string{"server", "client"} {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sluice-" + name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(240 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
		if err != nil {
			t.Fatal(err)
		}
		key, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
		for file, text := range map[string][]byte{name + ".cert": cert, name + ".key": private, name + ".both": append(private, cert...)} {
			if err := os.WriteFile(c.file(file), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

// The name and the password that a real broker knows.
const (
	saslUser     = "me"
	saslPassword = "pa55"
)

// properties are those of a broker with the server's certificate, which on its
// listener TLS wants the client's, and on SASL the name and the password.
func (c certificates) properties() []string {
	const security = "org.apache.kafka.common.security."
	p := []string{"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"}
	for _, listener := range []string{"tls", "sasl"} {
		at := "listener.name." + listener + "."
		p = append(p, at+"ssl.keystore.type=PEM", at+"ssl.keystore.location="+c.file("server.both"),
			at+"ssl.truststore.type=PEM", at+"ssl.truststore.location="+c.file("client.cert"))
	}
	p = append(p, "listener.name.tls.ssl.client.auth=required")
	for mechanism, login := range map[string]string{
		"plain":         fmt.Sprintf(`plain.PlainLoginModule required user_%s="%s";`, saslUser, saslPassword),
		"scram-sha-256": "scram.ScramLoginModule required;",
		"scram-sha-512": "scram.ScramLoginModule required;",
		"oauthbearer":   `oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
	} {
		p = append(p, "listener.name.sasl."+mechanism+".sasl.jaas.config="+security+login)
	}
	return p
}

// token is one that a broker takes which was told to trust everybody.
func token() string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	now := time.Now().Unix()
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"sub":"%s","iat":%d,"exp":%d}`, saslUser, now-60, now+3600)) + "."
}
