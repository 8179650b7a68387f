package main

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice"
)

// command line is run in this process: its exit code and what it prints.
func line(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// TestCertsAndTokens makes an authority, a node and tokens, serves with them, and asks
// as a client would.
func TestCertsAndTokens(t *testing.T) {
	dir := t.TempDir()
	ca, node, tokens := filepath.Join(dir, "ca"), filepath.Join(dir, "ca", "driver-d1"), filepath.Join(dir, "auth")
	for _, c := range []struct {
		args string
		code int
		want string // of both outputs
	}{
		{"certs init", exitUsage, "--dir"},
		{"certs init --dir " + ca + " --cluster no/slash", exitQuery, "cluster name"},
		{"certs init --dir " + ca + " --cluster prod", exitDone, "authority of cluster prod"},
		{"certs init --dir " + ca, exitQuery, "there already"},
		{"certs issue --dir " + ca + " --role driver --id d1", exitQuery, "by which host names"},
		{"certs issue --dir " + ca + " --role king --id d1 --hosts localhost", exitQuery, "driver, worker or client"},
		{"certs issue --dir " + ca + " --role driver --id d1 --hosts localhost,127.0.0.1 --days 0", exitUsage, "at least 1"},
		{"certs issue --dir " + ca + " --role driver --id ../../d1 --hosts localhost", exitQuery, "ID"},
		{"certs issue --dir " + ca + " --role driver --id d1 --hosts localhost,127.0.0.1", exitDone, node},
		{"certs show " + node, exitDone, "sluice://prod/driver/d1"},
		{"certs show --json " + node, exitDone, `"fingerprint": "`},
		{"certs show " + dir, exitQuery, "no such file"},
		{"token create --name ci --role viewer", exitUsage, "--auth-dir"},
		{"token create --auth-dir " + tokens + " --name ci --role king", exitUsage, "viewer, operator or admin"},
		{"token create --auth-dir " + tokens + " --name ci --role operator", exitDone, "sluice_"},
		{"token create --auth-dir " + tokens + " --name ci --role viewer", exitQuery, "there is a token"},
		{"token list --auth-dir " + tokens, exitDone, "ci  operator"},
		{"run --tls-dir x none.sql", exitUsage, "are of --http"},
		{"explain --http 192.0.2.1:80 --token-file " + filepath.Join(ca, "ca.crt") + " q", exitUsage, "not sent in the clear"},
	} {
		code, out, errs := line(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("sluice %s: %d %s%s, want %d %s", c.args, code, out, errs, c.code, c.want)
		}
	}
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: t.TempDir(), Stdout: io.Discard, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	srv, err := s.ServeHTTP("127.0.0.1:0", sluice.HTTPOptions{TLSDir: node, AuthDir: tokens})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	if srv.FirstToken() != "" {
		t.Error("there were tokens")
	}
	asTokens(t, dir, strings.TrimPrefix(srv.URL(), "https://"))
}

// asTokens asks the server at addr with and without what it wants.
func asTokens(t *testing.T, dir, addr string) {
	ca, tokens, file := filepath.Join(dir, "ca"), filepath.Join(dir, "auth"), filepath.Join(dir, "token")
	_, viewer, _ := line(t, "token", "create", "--auth-dir", tokens, "--name", "eye", "--role", "viewer")
	if err := os.WriteFile(file, []byte(viewer), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(tokenVariable, "")
	for _, c := range []struct{ args, want string }{
		{"explain --http " + addr + " --tls-dir " + ca + " q", "a token is needed"},
		{"explain --http " + addr + " --token-file " + file + " q", "refuses: "},
		{"explain --http " + addr + " --tls-dir " + ca + " --token-file " + file + " q", `there is no query "q"`},
		{"checkpoint save --http " + addr + " --tls-dir " + ca + " --token-file " + file + " q s", "a token of the role operator is needed"},
		{"token revoke --auth-dir " + tokens + " eye", "token eye revoked"},
		{"explain --http " + addr + " --tls-dir " + ca + " --token-file " + file + " q", "a token is needed"},
	} {
		if _, out, errs := line(t, strings.Fields(c.args)...); !strings.Contains(out+errs, c.want) {
			t.Errorf("sluice %s: %s%s, want %s", c.args, out, errs, c.want)
		}
	}
	t.Setenv(tokenVariable, strings.TrimSpace(viewer))
	if _, _, errs := line(t, "explain", "--http", addr, "--tls-dir", ca, "q"); !strings.Contains(errs, "a token is needed") {
		t.Errorf("a revoked token from the environment: %s", errs)
	}
}
