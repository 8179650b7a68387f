package auth

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRates: who asks too often is told to wait, by the token or, without one, by the
// address; nobody else is, and a good token passes at an address that is at its limit.
func TestRates(t *testing.T) {
	file, audit := filepath.Join(t.TempDir(), "tokens"), filepath.Join(t.TempDir(), "audit")
	tokens := map[string]string{"": "sluice_wrong"}
	for _, name := range []string{"a", "b"} {
		var err error
		if tokens[name], err = Create(file, name, Viewer, at); err != nil {
			t.Fatal(err)
		}
	}
	store, err := OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	now := at
	clock := func() time.Time { return now }
	log := NewAudit(audit)
	log.now = clock
	g := &Guard{Tokens: store, Audit: log, Log: slog.New(slog.DiscardHandler), now: clock}
	h, err := g.Handler([]Route{{"GET /x", Viewer, func(http.ResponseWriter, *http.Request) {}}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(token, remote string) int {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "http://localhost/x", nil)
		r.RemoteAddr = remote
		r.Header.Set("Authorization", "Bearer "+tokens[token])
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if (w.Code == http.StatusTooManyRequests) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%d with %v", w.Code, w.Header())
		}
		return w.Code
	}
	answered := func(token, remote string, tries int) (last, n int) {
		for range tries {
			if last = ask(token, remote); last != http.StatusTooManyRequests {
				n++
			}
		}
		return last, n
	}
	if last, n := answered("", "192.0.2.1:1", failuresBurst+50); last != http.StatusTooManyRequests || n != failuresBurst {
		t.Errorf("%d wrong tokens of one address are answered, the last with %d", n, last)
	}
	for who, code := range map[[2]string]int{{"", "192.0.2.1:2"}: 429, {"", "192.0.2.2:1"}: 401, {"a", "192.0.2.1:3"}: 200, {"", "[2001:db8::1]:1"}: 401} {
		if got := ask(who[0], who[1]); got != code {
			t.Errorf("%v: %d, want %d", who, got, code)
		}
	}
	if _, n := answered("", "[2001:db8::2]:1", failuresBurst); n != failuresBurst-1 {
		t.Errorf("addresses of one network have %d more", n)
	}
	now = now.Add(2 * time.Second)
	if last, n := answered("", "192.0.2.1:1", failuresBurst); n != 2*failuresPerSecond {
		t.Errorf("two seconds later %d are answered, the last with %d", n, last)
	}
	log.now = func() time.Time { return now.Add(time.Minute) } // the log has room again
	if last, n := answered("b", "192.0.2.3:1", requestsBurst+10); n != requestsBurst {
		t.Errorf("%d requests of a token are answered, the last with %d", n, last)
	}
	if code := ask("a", "192.0.2.3:1"); code != http.StatusOK {
		t.Errorf("another token there: %d", code)
	}
	b, err := os.ReadFile(audit)
	if err != nil || !strings.Contains(string(b), `"outcome":"limited"`) || strings.Contains(string(b), tokens["b"]) {
		t.Errorf("the audit log says %d bytes, %v", len(b), err)
	}
}

// TestRatesAreBounded: addresses are anybody's to make up, the memory for them is not.
func TestRatesAreBounded(t *testing.T) {
	r, now := newRates(1, 2), at
	for i := range 3 * bucketsMax {
		r.take(fmt.Sprint(i), now)
	}
	if n := len(r.mu.of); n != bucketsMax {
		t.Errorf("%d are remembered", n)
	}
	now = now.Add(time.Minute)
	if !r.take("new", now) || len(r.mu.of) != 1 {
		t.Errorf("a minute later %d are remembered", len(r.mu.of))
	}
}
