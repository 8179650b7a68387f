package sluice

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
)

// routeRoles are who may use which route. A new route is refused by TestEveryRoute
// until it stands here: who may use it is decided, not found out.
var routeRoles = map[string]auth.Role{
	"GET /healthz":                                    auth.Public,
	"GET /readyz":                                     auth.Public,
	"GET /metrics":                                    auth.Viewer,
	"GET /api/queries":                                auth.Viewer,
	"GET /api/queries/{name}":                         auth.Viewer,
	"GET /api/queries/{name}/watermark":               auth.Viewer,
	"GET /api/queries/{name}/batches/{batch}":         auth.Viewer,
	"GET /api/queries/{name}/state":                   auth.Operator, // rows of users
	"GET /api/queries/{name}/state/{operator}":        auth.Operator,
	"GET /api/queries/{name}/savepoints":              auth.Viewer,
	"POST /api/queries/{name}/savepoints/{savepoint}": auth.Operator,
	"POST /api/queries/{name}/parallelism":            auth.Operator,
}

// TestEveryRoute: without a token 401, with too small a role 403, with the role
// neither, for every route that there is.
func TestEveryRoute(t *testing.T) {
	s := openSession(t, Options{})
	dir := t.TempDir()
	tokens := map[auth.Role]string{}
	for _, role := range []auth.Role{auth.Viewer, auth.Operator, auth.Admin} {
		var err error
		if tokens[role], err = auth.Create(filepath.Join(dir, "tokens"), role.String(), role, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	srv, err := s.serveHTTP(&pipeListener{next: make(chan net.Conn)}, HTTPOptions{AuthDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	seen := 0
	for _, route := range s.routes() {
		need, ok := routeRoles[route.Pattern]
		if !ok || route.Need != need {
			t.Errorf("route %q is open to %s, and here to %s: say in routeRoles who may use it", route.Pattern, route.Need, need)
		}
		seen++
		method, path, _ := strings.Cut(route.Pattern, " ")
		path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "1")
		for role := auth.Undeclared; role <= auth.Admin; role++ {
			r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost"+path, nil)
			if token := tokens[role]; token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			srv.http.Handler.ServeHTTP(w, r)
			switch code := w.Code; {
			case need > auth.Public && role < auth.Viewer:
				ok = code == http.StatusUnauthorized
			case need > auth.Public && role < need:
				ok = code == http.StatusForbidden
			default:
				ok = code != http.StatusUnauthorized && code != http.StatusForbidden
			}
			if !ok {
				t.Errorf("%s as %s: %d %s", route.Pattern, role, w.Code, w.Body)
			}
		}
	}
	if seen != len(routeRoles) {
		t.Errorf("%d routes, and %d are known here", seen, len(routeRoles))
	}
	for _, path := range []string{"/", "/debug/pprof/", "/api", "/api/queries/%2e%2e/%252e%252e%252fetc%252fpasswd", "/jobmanager/logs/..%252f..%252f..%252fetc%252fpasswd"} {
		for _, token := range []string{"", tokens[auth.Admin]} {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost"+path, nil)
			want := http.StatusUnauthorized
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
				want = http.StatusNotFound
			}
			w := httptest.NewRecorder()
			srv.http.Handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("GET %s: %d %s, want %d", path, w.Code, w.Body, want)
			}
		}
	}
}

// TestBeyondLoopback: no listener without TLS and tokens, and what is refused is not opened.
func TestBeyondLoopback(t *testing.T) {
	s := openSession(t, Options{})
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "host.example:0"} {
		for _, o := range []HTTPOptions{{}, {TLSDir: "x"}, {AuthDir: "x"}} {
			if srv, err := s.ServeHTTP(addr, o); err == nil {
				t.Errorf("%s is served with %+v", addr, o)
				_ = srv.Close()
			} else if k, _ := batch.KindOf(err); k != batch.User || !strings.Contains(err.Error(), "--tls-dir") {
				t.Errorf("%s: %v", addr, err)
			}
		}
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if srv, err := s.ServeHTTP("127.0.0.1:0", HTTPOptions{TLSDir: dir}); err == nil {
			t.Error("served with TLS that there is not")
			_ = srv.Close()
		}
	}
}

// TestServeTLS asks a server with certificates and tokens as a client would.
func TestServeTLS(t *testing.T) {
	ca, node, tokens := filepath.Join(t.TempDir(), "ca"), t.TempDir(), t.TempDir()
	if err := certs.Init(ca, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := certs.Issue(ca, node, certs.Request{Role: certs.Driver, IDs: []string{"d1"}, Hosts: []string{"127.0.0.1"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s := openSession(t, Options{})
	srv, err := s.ServeHTTP("127.0.0.1:0", HTTPOptions{TLSDir: node, AuthDir: tokens})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	b, err := os.ReadFile(srv.FirstToken())
	if err != nil || !strings.HasPrefix(srv.URL(), "https://") {
		t.Fatal(srv.URL(), err)
	}
	trust, err := certs.LoadClient(ca, slog.New(slog.DiscardHandler)) // it has ca.crt and no certificate
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: trust.Client("127.0.0.1:1", certs.Driver)}}
	for token, want := range map[string]int{"": http.StatusUnauthorized, strings.TrimSpace(string(b)): http.StatusOK} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL()+"/api/queries", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want || resp.TLS.Version != tls.VersionTLS13 {
			t.Errorf("%d with TLS %x, want %d", resp.StatusCode, resp.TLS.Version, want)
		}
	}
	plain, err := http.Get("http://" + srv.l.Addr().String() + "/healthz")
	if err == nil {
		_ = plain.Body.Close()
	}
	if err == nil && plain.StatusCode != http.StatusBadRequest {
		t.Errorf("HTTP without TLS: %d", plain.StatusCode)
	}
}

// pipeListener is a listener inside the process, for tests in virtual time.
type pipeListener struct {
	next chan net.Conn
	once sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l.next
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.next) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// pipeConn is a connection from an address.
type pipeConn struct {
	net.Conn
	host string
}

func (c pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.host), Port: 1} }

// TestSlowClients: a thousand that send half a request and no more have no more than
// their address's share, and that for ten seconds; another address is served meanwhile.
func TestSlowClients(t *testing.T) {
	s := openSession(t, Options{})
	synctest.Test(t, func(t *testing.T) {
		l := &pipeListener{next: make(chan net.Conn)}
		srv, err := s.serveHTTP(l, HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{}, 1000)
		for range cap(ended) {
			client, server := net.Pipe()
			l.next <- pipeConn{server, "192.0.2.1"}
			go func() {
				_, _ = io.WriteString(client, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
				_, _ = io.Copy(io.Discard, client) // until the server has enough
				_ = client.Close()
				ended <- struct{}{}
			}()
		}
		synctest.Wait()
		if n := cap(ended) - len(ended); n != auth.ConnectionsOfHost {
			t.Errorf("%d slow clients of one address are held", n)
		}
		client, server := net.Pipe()
		l.next <- pipeConn{server, "192.0.2.2"}
		if code := askPipe(t, client, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); code != http.StatusOK {
			t.Errorf("another client: %d", code)
		}
		start := time.Now()
		for range cap(ended) {
			<-ended
		}
		if took := time.Since(start); took > httpTimeout {
			t.Errorf("slow clients are held for %s", took)
		}
		client, server = net.Pipe()
		l.next <- pipeConn{server, "192.0.2.1"}
		if code := askPipe(t, client, fmt.Sprintf("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: %s\r\n\r\n", strings.Repeat("x", 64<<10))); code != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a long header: %d", code)
		}
		client, server = net.Pipe()
		l.next <- pipeConn{server, "192.0.2.1"}
		if code := askPipe(t, client, "POST /api/queries/x/parallelism HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10737418240\r\nConnection: close\r\n\r\n"); code != http.StatusNotFound {
			t.Errorf("a long body: %d", code)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}

// askPipe writes a request and reads the status of its answer.
func askPipe(t *testing.T, c net.Conn, request string) int {
	t.Helper()
	defer c.Close()
	go func() { _, _ = io.WriteString(c, request) }() // a server need not read it all
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
