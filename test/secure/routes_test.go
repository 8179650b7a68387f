//go:build linux

package secure

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/proctest"
)

// route is a way into a driver, as its source declares it.
type route struct{ method, path, need string }

// routes are all that there are: whoever adds one, has it tried here.
func routes(t *testing.T) (out []route) {
	t.Helper()
	files, err := filepath.Glob("../../*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared, seen := regexp.MustCompile(`Pattern: "(\w+) ([^"]+)", Need: auth\.(\w+)`), map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
			if !seen[m[1]+m[2]] {
				seen[m[1]+m[2]] = true
				out = append(out, route{m[1], m[2], strings.ToLower(m[3])})
			}
		}
	}
	if len(out) < 14 {
		t.Fatalf("only %d routes were found: %v", len(out), out)
	}
	return out
}

// ranks are the roles by what they may.
var ranks = map[string]int{"none": 0, "wrong": 0, "revoked": 0, "public": 0, "viewer": 1, "operator": 2, "admin": 3}

// ask sends a request with a token and returns the answer.
func (s *scene) ask(client *http.Client, method, path, who, body string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "https://"+s.http+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if token := s.tokens[who]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if h := resp.Header; h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Server") != "" {
		s.t.Errorf("%s %s: headers %v", method, path, h)
	}
	return resp.StatusCode, string(b)
}

func (s *scene) client() *http.Client {
	s.t.Helper()
	trust, err := certs.LoadClient(s.path("ca"), quiet)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: trust.Client(s.http, certs.Driver)}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestRoutes(t *testing.T) {
	s := newScene(t)
	client := s.client()
	param := regexp.MustCompile(`\{\w+\}`)
	for _, r := range routes(t) {
		path := param.ReplaceAllString(r.path, "no-such-thing")
		for who := range s.tokens {
			code, body := s.ask(client, r.method, path, who, "")
			want := 0 // whatever there is to say of no such thing
			switch {
			case r.need != "public" && ranks[who] == 0:
				want = http.StatusUnauthorized
			case ranks[who] < ranks[r.need]:
				want = http.StatusForbidden
			}
			if want == 0 && (code == http.StatusUnauthorized || code == http.StatusForbidden) || want != 0 && code != want {
				t.Errorf("%s %s with the token %q: %d %s", r.method, path, who, code, body)
			}
			if want == 0 {
				continue
			}
			var said map[string]string
			if err := json.Unmarshal([]byte(body), &said); err != nil || len(said) != 1 || len(body) > 200 {
				t.Errorf("%s %s with the token %q is told %s", r.method, path, who, body)
			}
			line := fmt.Sprintf(`"target":%q,"outcome":%q`, path, map[int]string{401: "unauthenticated", 403: "forbidden"}[want])
			if !strings.Contains(s.audit("http"), line) {
				t.Errorf("%s %s with the token %q: the audit log has no line %s", r.method, path, who, line)
			}
		}
	}
	// What is not there is told to nobody without a token, and is not there for an administrator.
	for _, path := range []string{"/", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/failpoints", "/api", "/api/queries/..%2f..%2f..%2fetc%2fpasswd", "/jobmanager/logs/..%252f..%252f..%252fetc%252fpasswd"} {
		for who, want := range map[string]int{"none": http.StatusUnauthorized, "admin": http.StatusNotFound} {
			if code, body := s.ask(client, "GET", path, who, ""); code != want || strings.Contains(body, "root:") {
				t.Errorf("GET %s with the token %q: %d %s", path, who, code, body)
			}
		}
	}
	s.pipelines(client)
	stop(t, s.worker)
	stop(t, s.driver)
	s.noSecrets()
}

// canary is a secret that was written where none may stand.
const canary = "canary-8c1f0b7e"

// pipelines: one that holds a secret itself is refused and nowhere kept or repeated, and
// one that says where its secrets are is shown as it is.
func (s *scene) pipelines(client *http.Client) {
	const text = "CREATE TABLE t (k BIGINT) WITH ('connector'='kafka','topic'='t','format'='json','bootstrap.servers'='127.0.0.1:1','security.protocol'='sasl_plaintext'," +
		"'sasl.mechanism'='plain','sasl.username'='u','request-timeout'='1s','sasl.password'='%s');" +
		"CREATE TABLE o (k BIGINT) WITH ('connector'='blackhole'); CREATE STREAMING QUERY q AS INSERT INTO o SELECT k FROM t;"
	if code, body := s.ask(client, "POST", "/api/pipelines/open", "operator", fmt.Sprintf(text, canary)); code != http.StatusBadRequest || strings.Contains(body, canary) {
		s.t.Errorf("a secret in the open: %d %s", code, body)
	}
	for _, c := range []struct{ sql, want string }{{"SELECT '" + canary, ""}, {"CREATE TABLE x (a INT) WITH ('connector'='kafka','sasl.pasword'='" + canary + "')", "sasl.password"}} {
		if code, body := s.ask(client, "POST", "/api/pipelines/bad", "operator", c.sql); code != http.StatusBadRequest || strings.Contains(body, canary) || !strings.Contains(body, c.want) {
			s.t.Errorf("%s: %d %s", c.sql, code, body)
		}
	}
	const good = "CREATE TABLE n WITH ('connector'='rate','rows-per-second'='10'); CREATE TABLE o (value BIGINT) WITH ('connector'='blackhole');" +
		"CREATE STREAMING QUERY q AS INSERT INTO o SELECT value FROM n;"
	if code, body := s.ask(client, "POST", "/api/pipelines/good", "viewer", good); code != http.StatusForbidden {
		s.t.Errorf("a viewer submits: %d %s", code, body)
	}
	if code, body := s.ask(client, "POST", "/api/pipelines/good", "operator", good); code != http.StatusCreated {
		s.t.Errorf("an operator submits: %d %s", code, body)
	}
	if code, body := s.ask(client, "DELETE", "/api/pipelines/good", "viewer", ""); code != http.StatusForbidden {
		s.t.Errorf("a viewer removes: %d %s", code, body)
	}
	proctest.Until(s.t, "the query commits", func() (bool, string) {
		_, body := s.ask(client, "GET", "/api/queries/q", "viewer", "")
		return strings.Contains(body, `"lastProgress": {`), body
	})
}

// noSecrets looks for tokens and keys in all that processes said and left behind, and at
// the rights of what they made.
func (s *scene) noSecrets() {
	s.t.Helper()
	var secrets []string
	for _, token := range s.tokens {
		if token != "" {
			secrets = append(secrets, token)
		}
	}
	secrets = append(secrets, canary, "PRIVATE KEY")
	for _, p := range []*proctest.Process{s.driver, s.worker} {
		for _, secret := range secrets {
			if strings.Contains(p.Out.String()+p.Err.String(), secret) {
				s.t.Errorf("%v says %s", p.Cmd.Args, secret)
			}
		}
	}
	files := 0
	for _, dir := range []string{"data", "checkpoints", "w1data", "auth", "w1audit"} {
		if err := filepath.WalkDir(s.path(dir), func(name string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil // nobody was refused there
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Mode().Perm()&0o077 != 0 {
				s.t.Errorf("%s has the mode %s", name, info.Mode())
			}
			if d.IsDir() {
				return nil
			}
			files++
			b, err := os.ReadFile(name)
			for _, secret := range secrets {
				if strings.Contains(string(b), secret) {
					s.t.Errorf("%s holds %s", name, secret)
				}
			}
			return err
		}); err != nil {
			s.t.Error(err)
		}
	}
	if files < 2 {
		s.t.Errorf("%d files were made", files)
	}
}
