package sluice

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// served is a session with its handler behind a test server.
func served(t *testing.T) (*Session, *httptest.Server) {
	t.Helper()
	var out bytes.Buffer
	s, err := NewSession(Options{CheckpointDir: t.TempDir(), Pipeline: true, Stdout: &out, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, srv
}

// fetch asks under another host name if host is set.
func fetch(t *testing.T, method, url, host string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	return answer(t, http.DefaultClient, req)
}

// submit asks with a body.
func submit(t *testing.T, c *http.Client, method, url, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return answer(t, c, req)
}

func answer(t *testing.T, c *http.Client, req *http.Request) (code int, body string, header http.Header) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

const counted = `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','number-of-rows'='10','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE b (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='memory');
`

func TestHTTPRoutes(t *testing.T) {
	s, srv := served(t)
	if code, body, _ := fetch(t, "GET", srv.URL+"/api/queries", ""); code != http.StatusOK || strings.TrimSpace(body) != "[]" {
		t.Errorf("no queries: %d %s", code, body)
	}
	if err := s.Exec(t.Context(), counted+"CREATE STREAMING QUERY `odd \"name\"\\ö` TRIGGER AVAILABLE NOW OUTPUT MODE update AS INSERT INTO b SELECT id % 2, count(*) FROM g GROUP BY id % 2"); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path, host string
		code               int
		body               string
	}{
		{"GET", "/healthz", "", http.StatusOK, `"ok"`},
		{"HEAD", "/healthz", "", http.StatusOK, ""},
		{"GET", "/healthz", "LOCALHOST:80", http.StatusOK, `"ok"`},
		{"GET", "/healthz", "[::1]", http.StatusOK, `"ok"`},
		{"GET", "/healthz", "127.9.9.9", http.StatusOK, `"ok"`},
		{"GET", "/healthz", "rebound.example", http.StatusForbidden, "use 127.0.0.1"},
		{"GET", "/metrics", "localhost.evil.example", http.StatusForbidden, ""},
		{"GET", "/api/queries", "10.0.0.1:8080", http.StatusForbidden, ""},
		{"POST", "/api/queries", "", http.StatusMethodNotAllowed, ""},
		{"DELETE", "/healthz", "", http.StatusMethodNotAllowed, ""},
		{"GET", "/api/queries/none", "", http.StatusNotFound, `there is no query`},
		{"GET", "/", "", http.StatusNotFound, ""},
		{"GET", "/api/queries/odd%20%22name%22%5C%C3%B6", "", http.StatusOK, `"recentProgress"`},
		{"GET", "/metrics", "", http.StatusOK, `sluice_input_rows_total{query="odd \"name\"\\ö"} 10`},
	} {
		code, body, h := fetch(t, c.method, srv.URL+c.path, c.host)
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s %s of %q: %d %s, want %d %s", c.method, c.path, c.host, code, body, c.code, c.body)
		}
		if code == http.StatusOK && h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", c.path, h)
		}
	}
}

// TestMetricsOfEqualOperators: two parts of a query may compute the same thing.
func TestMetricsOfEqualOperators(t *testing.T) {
	s, srv := served(t)
	const windows = "SELECT window_start, count(*) FROM TUMBLE(TABLE e, DESCRIPTOR(ts), INTERVAL '2' SECOND) GROUP BY window_start, window_end"
	if err := s.Exec(t.Context(), `CREATE TABLE e (id BIGINT, ts AS timestamp_seconds(id), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
		WITH ('connector'='datagen','number-of-rows'='10','fields.id.kind'='sequence','fields.id.start'='1');
		CREATE TABLE w (at TIMESTAMP, n BIGINT) WITH ('connector'='memory');
		CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS INSERT INTO w `+windows+" UNION ALL "+windows); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	code, body, _ := fetch(t, "GET", srv.URL+"/metrics", "")
	if code != http.StatusOK || !strings.Contains(body, "sluice_state_rows{") {
		t.Errorf("%d %s", code, body)
	}
}

// TestHealthOfAFailure is 503 with the name, and the error in the query's state.
func TestHealthOfAFailure(t *testing.T) {
	s, srv := served(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.csv"), []byte("id\nx\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), `CREATE TABLE f (id BIGINT) WITH ('connector'='filesystem','format'='csv','path'='`+dir+`');
		CREATE TABLE b (id BIGINT) WITH ('connector'='blackhole'); CREATE STREAMING QUERY bad AS INSERT INTO b SELECT id FROM f`); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitAll(t.Context()); err == nil {
		t.Fatal("no failure")
	}
	code, body, _ := fetch(t, "GET", srv.URL+"/healthz", "")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, `"bad"`) {
		t.Errorf("healthz: %d %s", code, body)
	}
	code, body, _ = fetch(t, "GET", srv.URL+"/api/queries", "")
	var states []struct{ Status, Error string }
	if err := json.Unmarshal([]byte(body), &states); code != http.StatusOK || err != nil || len(states) != 1 || states[0].Status != "failed" || !strings.Contains(states[0].Error, "a.csv") {
		t.Errorf("queries: %d %v %s", code, err, body)
	}
	if _, body, _ := fetch(t, "GET", srv.URL+"/metrics", ""); !strings.Contains(body, `sluice_query_up{query="bad"} 0`) {
		t.Errorf("metrics: %s", body)
	}
}

// TestServeHTTP ends with Close, also while a client is connected.
func TestServeHTTP(t *testing.T) {
	s, _ := served(t)
	srv, err := s.ServeHTTP("127.0.0.1:0", HTTPOptions{})
	if err != nil {
		t.Skip(err)
	}
	addr := srv.l.Addr().String()
	idle, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if code, _, _ := fetch(t, "GET", srv.URL()+"/healthz", ""); code != http.StatusOK {
		t.Errorf("code %d", code)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("it still listens")
	}
}
