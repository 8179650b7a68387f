package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/proctest"
)

// The secrets of these tests. Nothing that the engine says or writes may have one.
const (
	canaryEnv   = "canary-9c41d0-env"
	canaryFile  = "canary-9c41d0-file"
	canaryPlain = "canary-9c41d0-plain"
	canary      = "canary-9c41d0"
)

// leaked reports a text with a secret.
func leaked(t *testing.T, where string, text []byte) {
	t.Helper()
	if i := bytes.Index(text, []byte(canary)); i >= 0 {
		t.Errorf("%s has a secret: ..%s..", where, text[max(0, i-80):min(len(text), i+40)])
	}
}

// guardedBroker lets in who knows the password of the environment, or that of a file.
func guardedBroker(t *testing.T) (options string) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.SeedTopics(2, "in", "out"),
		kfake.Superuser("PLAIN", "reader", canaryEnv), kfake.Superuser("SCRAM-SHA-256", "writer", canaryFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return "'connector'='kafka','format'='json','bootstrap.servers'='" + c.ListenAddrs()[0] + "','security.protocol'='sasl_plaintext'"
}

// TestSecretsAreNowhere runs queries with secrets given by reference, and looks for
// them in everything that the engine says and leaves behind.
func TestSecretsAreNowhere(t *testing.T) {
	broker := guardedBroker(t)
	t.Setenv("SLUICE_TEST_SECRET", canaryEnv)
	t.Setenv("SLUICE_TEST_WRONG", canaryPlain)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canaryFile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	reader := broker + ",'sasl.mechanism'='plain','sasl.username'='reader','sasl.password'='${env:SLUICE_TEST_SECRET}'"
	writer := broker + ",'sasl.mechanism'='scram-sha-256','sasl.username'='writer','sasl.password'='${file:" + file + "}'"
	var out proctest.Output
	dir := t.TempDir()
	s, err := sluice.NewSession(sluice.Options{
		CheckpointDir: dir, Stdout: &out, Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Settings: map[string]string{"checkpoint.s3.secret-key": "${env:SLUICE_TEST_SECRET}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	show := func(r *sluice.Result) error {
		_, _ = out.Write([]byte(r.Plan + r.Message))
		if r.Rows == nil {
			return nil
		}
		for {
			rec, err := r.Rows.Next(t.Context())
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				return errors.Join(err, r.Rows.Close())
			}
			_, _ = fmt.Fprintln(&out, rec)
			rec.Release()
		}
	}
	script := func(text string) error { return s.Run(t.Context(), text, show) }
	if err := script(`CREATE TABLE feed (k BIGINT, v BIGINT) WITH ('topic'='in',` + writer + `);
		INSERT INTO feed SELECT id % 3, id FROM range(1, 31) AS r(id);`); err != nil {
		t.Fatal(err)
	}
	if err := script(`CREATE TABLE src (k BIGINT, v BIGINT) WITH ('topic'='in',` + reader + `);
		CREATE TABLE snk (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('topic'='out',` + writer + `);
		EXPLAIN SELECT k, count(*) FROM src GROUP BY k; SHOW TABLES; DESCRIBE src; SHOW CREATE TABLE src; SHOW CREATE TABLE snk; SET;
		CREATE TABLE hole (k BIGINT) WITH ('connector'='blackhole');
		CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE update AS INSERT INTO snk SELECT k, count(*) FROM src GROUP BY k;`); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q, ok := s.Query("q"); !ok || q.Totals().RowsIn != 30 {
		t.Fatalf("the query has not read what was written: %v", ok)
	}
	if err := script("SHOW STREAMING QUERIES; EXPLAIN WATERMARK q; SHOW VERSIONS FOR q; SAVE STREAMING QUERY q AS 's'"); err != nil {
		t.Log(err) // of a query that has ended some can be asked no longer
		_, _ = out.Write([]byte(err.Error()))
	}
	for _, path := range []string{"/api/queries", "/api/queries/q", "/api/queries/q/watermark", "/api/queries/q/batches/0?format=text", "/api/queries/q/batches/0", "/api/queries/q/savepoints", "/metrics", "/healthz"} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost"+path, nil))
		leaked(t, path, w.Body.Bytes())
	}
	// What is refused by the broker says so, and not with what.
	for _, mechanism := range []string{"plain", "scram-sha-256"} {
		name := "no_" + mechanism[:5]
		err := script("CREATE TABLE " + name + " (k BIGINT) WITH ('topic'='in'," + broker + ",'sasl.mechanism'='" + mechanism +
			"','sasl.username'='reader','sasl.password'='${env:SLUICE_TEST_WRONG}','request-timeout'='2s'); INSERT INTO hole SELECT k FROM " + name)
		if err == nil {
			t.Error("a wrong password is let in")
			continue
		}
		leaked(t, "an error", []byte(err.Error()))
	}
	if err := s.Close(); err != nil {
		t.Log(err)
	}
	leaked(t, "what was logged and printed", []byte(out.String()))
	files := 0
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		leaked(t, path, b)
		leaked(t, "a name", []byte(path))
		files++
		return err
	}); err != nil || files < 4 {
		t.Errorf("%d files of checkpoints: %v", files, err)
	}
	if !strings.Contains(out.String(), "SLUICE_TEST_SECRET") {
		t.Error("SHOW CREATE TABLE does not say where the secret is: was anything printed?")
	}
}

// TestSecretsInTheOpen are refused, and not repeated.
func TestSecretsInTheOpen(t *testing.T) {
	var out proctest.Output
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: t.TempDir(), Stdout: &out, Logger: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const kafka = "'connector'='kafka','topic'='t','format'='json','bootstrap.servers'='127.0.0.1:1'"
	for _, options := range []string{
		kafka + ",'security.protocol'='sasl_ssl','sasl.mechanism'='plain','sasl.username'='u','sasl.password'='" + canaryPlain + "'",
		kafka + ",'security.protocol'='sasl_ssl','sasl.mechanism'='oauthbearer','sasl.token'='" + canaryPlain + "'",
		kafka + ",'security.protocol'='sasl_ssl','sasl.mechanism'='plain','sasl.username'='u','sasl.password'='${env:" + "'",
		"'connector'='kafka','topic'='t','format'='avro-confluent','bootstrap.servers'='127.0.0.1:1','schema-registry.url'='http://127.0.0.1:1','schema-registry.username'='u','schema-registry.password'='" + canaryPlain + "'",
		"'connector'='kafka','topic'='t','format'='avro-confluent','bootstrap.servers'='127.0.0.1:1','schema-registry.url'='http://127.0.0.1:1','schema-registry.token'='" + canaryPlain + "'",
		"'connector'='kafka','topic'='t','format'='avro-confluent','bootstrap.servers'='127.0.0.1:1','schema-registry.url'='http://u:" + canaryPlain + "@127.0.0.1:1'",
		kafka + ",'sasl.password'='" + canaryPlain + "' oops",
		kafka + ",'sasl.password' '" + canaryPlain + "'",
		kafka + ",'sasl.pasword'='" + canaryPlain + "'",
		"'connector'='postgres','url'='postgres://u:" + canaryPlain + "@127.0.0.1:1/d'",
		"'connector'='postgres','url'='postgres://127.0.0.1:1/d?password=" + canaryPlain + "'",
		"'connector'='postgres','url'='postgres://127.0.0.1:1/d?sslpassword=" + canaryPlain + "'",
		"'connector'='postgres','url'='postgres://127.0.0.1:1/d','password'='" + canaryPlain + "'",
	} {
		err := s.Exec(t.Context(), "CREATE TABLE x (a INT) WITH ("+options+"); SELECT a FROM x LIMIT 1")
		if err == nil {
			t.Errorf("taken: %s", options)
			continue
		}
		leaked(t, "an error", []byte(err.Error()))
	}
	for _, key := range []string{"checkpoint.s3.secret-key", "checkpoint.s3.session-token"} {
		for _, err := range []error{s.Set(key, canaryPlain), s.Exec(t.Context(), "SET '"+key+"' = '"+canaryPlain+"'")} {
			if err == nil {
				t.Errorf("%s is taken", key)
				continue
			}
			leaked(t, "an error", []byte(err.Error()))
		}
	}
	leaked(t, "what was logged", []byte(out.String()))
}
