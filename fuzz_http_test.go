package sluice

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/auth"
)

// FuzzHTTP: whatever bytes come as a request, with no token, with a viewer's or from
// loopback where none is asked for, they get an answer: nothing panics, nobody without a
// token learns anything and no viewer changes anything.
func FuzzHTTP(f *testing.F) {
	dir := f.TempDir()
	token, err := auth.Create(filepath.Join(dir, "tokens"), "reader", auth.Viewer, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	d, err := StartDriver(f.Context(), DriverOptions{ID: "d1", Data: filepath.Join(dir, "d1"), Listen: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		f.Fatal(err)
	}
	srv, err := d.base.serveHTTP(&pipeListener{next: make(chan net.Conn)}, HTTPOptions{AuthDir: dir, AuditLog: filepath.Join(dir, "audit")})
	if err != nil {
		f.Fatal(err)
	}
	s, err := NewSession(Options{Logger: quiet, CheckpointDir: dir})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := srv.Close(); err != nil {
			f.Error(err)
		}
		for _, c := range []interface{ Close() error }{s, d} {
			if err := c.Close(); err != nil {
				f.Error(err)
			}
		}
	})
	for _, r := range append(d.routes(), s.routes()...) {
		method, path, _ := strings.Cut(r.Pattern, " ")
		f.Add([]byte(method + " " + strings.NewReplacer("{", "", "}", "").Replace(path) + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n{\"parallelism\":2}"))
	}
	f.Add([]byte("GET /api/queries/..%252f..%2f/batches/-1?format=text&format=%00 HTTP/1.1\r\nHost: [::1]:80\r\nAuthorization: Bearer \r\nOrigin: http://evil\r\n\r\n"))
	f.Add([]byte("POST /api/pipelines/a%00b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nSELEC\r\n0\r\n\r\n"))
	open := s.Handler()
	f.Fuzz(func(t *testing.T, b []byte) {
		for who, h := range []http.Handler{srv.http.Handler, srv.http.Handler, open} {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
			if err != nil {
				return
			}
			r.RemoteAddr = "192.0.2.1:1"
			switch who {
			case 0:
				r.Header.Del("Authorization")
			case 1:
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r.WithContext(t.Context()))
			body := w.Body.String()
			if w.Code < 200 || w.Code > 599 || w.Header().Get("X-Content-Type-Options") != "nosniff" || strings.Contains(body, token) {
				t.Errorf("%d %v %s", w.Code, w.Header(), body)
			}
			refused := w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden || w.Code == http.StatusTooManyRequests
			if who == 0 && !refused && r.URL.Path != "/healthz" && r.URL.Path != "/readyz" { // probes ask without one
				t.Errorf("%s %s without a token: %d %s", r.Method, r.URL.Path, w.Code, body)
			}
			if w.Code/100 == 2 && who == 1 && r.Method != http.MethodGet && r.Method != http.MethodHead {
				t.Errorf("%s %s by a viewer: %d %s", r.Method, r.URL.Path, w.Code, body)
			}
			if refused && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%d %s", w.Code, body)
			}
		}
	})
}
