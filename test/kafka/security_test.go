package kafka

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-stream/sluice"
)

// TestSecurity runs a query from topic to topic over each way to be known to a broker,
// and is refused with another password, and without a certificate.
func TestSecurity(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) {
		for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
			up := kadm.UpsertSCRAM{User: saslUser, Mechanism: mechanism, Iterations: 4096, Password: saslPassword}
			if _, err := c.adm.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{up}); err != nil {
				t.Fatal(err)
			}
		}
		b := c.real
		t.Setenv("SLUICE_TEST_PASSWORD", saslPassword)
		t.Setenv("SLUICE_TEST_OTHER", "another")
		secret := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(secret, []byte(token()), 0o600); err != nil {
			t.Fatal(err)
		}
		tls := fmt.Sprintf(", 'security.protocol'='ssl', 'ssl.ca-file'='%s'", b.certs.file("server.cert"))
		mutual := fmt.Sprintf("%s, 'ssl.certificate-file'='%s', 'ssl.key-file'='%s'", tls, b.certs.file("client.cert"), b.certs.file("client.key"))
		sasl := func(mechanism, env string) string {
			return fmt.Sprintf(", 'security.protocol'='sasl_ssl', 'ssl.ca-file'='%s', 'sasl.mechanism'='%s', 'sasl.username'='%s', 'sasl.password'='${env:%s}'",
				b.certs.file("server.cert"), mechanism, saslUser, env)
		}
		oauth := fmt.Sprintf(", 'security.protocol'='sasl_ssl', 'ssl.ca-file'='%s', 'sasl.mechanism'='oauthbearer', 'sasl.token'='${file:%s}'", b.certs.file("server.cert"), secret)
		for _, f := range []struct {
			what, options string
			port          int
			refused       string // "": it works
		}{
			{"mutual TLS", mutual, portTLS, ""},
			{"no certificate", tls, portTLS, "tls"},
			{"nobody vouches for the broker", ", 'security.protocol'='ssl'", portTLS, "certificate"},
			{"PLAIN", sasl("plain", "SLUICE_TEST_PASSWORD"), portSASL, ""},
			{"PLAIN, another password", sasl("plain", "SLUICE_TEST_OTHER"), portSASL, "SASL_AUTHENTICATION_FAILED"},
			{"SCRAM-SHA-256", sasl("scram-sha-256", "SLUICE_TEST_PASSWORD"), portSASL, ""},
			{"SCRAM-SHA-512", sasl("scram-sha-512", "SLUICE_TEST_PASSWORD"), portSASL, ""},
			{"SCRAM-SHA-512, another password", sasl("scram-sha-512", "SLUICE_TEST_OTHER"), portSASL, "SASL_AUTHENTICATION_FAILED"},
			{"OAUTHBEARER", oauth, portSASL, ""},
		} {
			t.Run(f.what, func(t *testing.T) {
				in, out := strings.ReplaceAll(name(t, "in"), ",", ""), strings.ReplaceAll(name(t, "out"), ",", "")
				c.create(t, 2, in, out)
				produce(t, c.client(t), in, 0, 100)
				secured := &cluster{address: b.at(f.port)}
				more := f.options + ", 'request-timeout'='3s'"
				script := secured.table("src", "id BIGINT, k STRING", in, more) + secured.table("dst", "id BIGINT, k STRING", out, ", 'key-columns'='k'"+more)
				if f.refused != "" {
					s := session(t, sluice.Options{CheckpointDir: t.TempDir()})
					err := s.Run(t.Context(), script+"INSERT INTO dst SELECT id, k FROM src;\n", func(*sluice.Result) error { return nil })
					if err == nil || !strings.Contains(err.Error(), f.refused) || strings.Contains(err.Error(), "another'") {
						t.Fatalf("got %v", err)
					}
					return
				}
				runOnce(t, t.TempDir(), script+"CREATE STREAMING QUERY q AS INSERT INTO dst SELECT id, k FROM src;\n")
				r := c.reader(t, out)
				r.toEnd(out)
				checkCopies(t, r.recs, 100)
			})
		}
	})
}
