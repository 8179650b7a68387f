package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Route is a way into a server with what it asks of who comes.
type Route struct {
	Pattern string // as http.ServeMux reads it, with a method
	Need    Role
	Serve   http.HandlerFunc
}

// Guard stands before the routes of a server.
type Guard struct {
	// Tokens are who may come; nil: whoever reaches a loopback listener may do everything.
	Tokens *Tokens
	// Audit takes what was asked; nil keeps nothing.
	Audit *Audit
	Hosts Hosts
	// Log takes what keeps the guard from its work; nil is slog.Default.
	Log *slog.Logger

	now             func() time.Time // of tests; nil is time.Now
	asked, mistaken *rates           // by token's name, and by address
}

// BodyMax is how long the body of a request may be; a route may want less.
const BodyMax = 4 << 20

// Handler serves the routes behind the guard: first the host's name, then the browser's
// cross-origin rule, then the token, then the audit log. A route that declares no need,
// or changes something without a need of its own, is an error.
func (g *Guard) Handler(routes []Route) (http.Handler, error) {
	g.asked, g.mistaken = newRates(requestsPerSecond, requestsBurst), newRates(failuresPerSecond, failuresBurst)
	if g.now == nil {
		g.now = time.Now
	}
	mux, needs := http.NewServeMux(), map[string]Role{}
	for _, r := range routes {
		method, _, ok := strings.Cut(r.Pattern, " ")
		switch {
		case !ok:
			return nil, fmt.Errorf("route %q: want a method and a path", r.Pattern)
		case r.Need < Public || r.Need > Admin:
			return nil, fmt.Errorf("route %q does not say who may use it", r.Pattern)
		case !reads(method) && r.Need < Operator:
			return nil, fmt.Errorf("route %q changes something and is open to %s", r.Pattern, r.Need)
		}
		mux.HandleFunc(r.Pattern, r.Serve)
		needs[r.Pattern] = r.Need
	}
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		need, known := needs[pattern]
		if !known {
			need = Viewer // what is there and what is not is not told to everybody
		}
		g.serve(w, r, mux, pattern, need)
	})
	return g.Hosts.guard(http.NewCrossOriginProtection().Handler(guarded)), nil
}

// reads reports whether a method changes nothing.
func reads(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// serve lets a request through to next, or answers it.
func (g *Guard) serve(w http.ResponseWriter, r *http.Request, next http.Handler, pattern string, need Role) {
	who, err := g.who(r)
	if need > Public && err != nil {
		if !errors.Is(err, ErrNoToken) {
			g.log().Error("tokens cannot be read: every request is refused", "error", err)
			Refuse(w, http.StatusServiceUnavailable, "the server cannot read its tokens")
			return
		}
		g.unknown(w, r, pattern)
		return
	}
	if g.Tokens != nil && err == nil && !g.asked.take(who.Name, g.now()) {
		g.limited(w, who, r, pattern, fmt.Sprintf("%q asks more than %d times a second", who.Name, requestsPerSecond))
		return
	}
	if need > Public && who.Role < need {
		g.note(who, r, pattern, Forbidden, http.StatusForbidden)
		Refuse(w, http.StatusForbidden, fmt.Sprintf("a token of the role %s is needed, and %q is a %s", need, who.Name, who.Role))
		return
	}
	r = r.WithContext(With(r.Context(), who))
	r.Body = http.MaxBytesReader(w, r.Body, BodyMax)
	if reads(r.Method) || pattern == "" {
		next.ServeHTTP(w, r)
		return
	}
	// A4: before it is done.
	if err := g.Audit.Write(entry(who, r, pattern, Begin, 0)); err != nil {
		g.log().Error("the audit log cannot be written: what would change something is refused", "error", err)
		Refuse(w, http.StatusServiceUnavailable, "the server cannot write its audit log")
		return
	}
	watched := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	ended := false
	defer func() {
		outcome := Done
		if !ended || watched.status >= http.StatusBadRequest {
			outcome = Failed
		}
		g.note(who, r, pattern, outcome, watched.status)
	}()
	next.ServeHTTP(watched, r)
	ended = true
}

// unknown answers who shows no token that there is. An address that does so again and again
// is told to wait, on a connection that ends with the answer. Its good tokens pass all the
// same: none can be guessed, and who shares an address with others is not theirs to shut out.
func (g *Guard) unknown(w http.ResponseWriter, r *http.Request, pattern string) {
	if !g.mistaken.take(origin(r.RemoteAddr), g.now()) {
		g.limited(w, Principal{}, r, pattern, "too many requests without a token from this address")
		return
	}
	g.note(Principal{}, r, pattern, Unauthenticated, http.StatusUnauthorized)
	w.Header().Set("WWW-Authenticate", `Bearer realm="sluice"`)
	Refuse(w, http.StatusUnauthorized, ErrNoToken.Error())
}

// limited answers who asks too often.
func (g *Guard) limited(w http.ResponseWriter, who Principal, r *http.Request, pattern, why string) {
	g.note(who, r, pattern, Limited, http.StatusTooManyRequests)
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Connection", "close")
	Refuse(w, http.StatusTooManyRequests, why)
}

// local is whoever reaches a server without tokens.
var local = Principal{Name: "local", Role: Admin}

// who tells who asks.
func (g *Guard) who(r *http.Request) (Principal, error) {
	if g.Tokens == nil {
		return local, nil
	}
	token, ok := Bearer(r.Header.Get("Authorization"))
	if !ok {
		return Principal{}, ErrNoToken
	}
	return g.Tokens.Check(token)
}

// note writes what has happened; nobody waits for it, so its failure is only logged.
func (g *Guard) note(who Principal, r *http.Request, pattern, outcome string, status int) {
	if err := g.Audit.Write(entry(who, r, pattern, outcome, status)); err != nil {
		g.log().Error("the audit log cannot be written", "error", err)
	}
}

func entry(who Principal, r *http.Request, pattern, outcome string, status int) Entry {
	e := Entry{Who: who.Name, Remote: r.RemoteAddr, Action: pattern, Target: r.URL.Path, Outcome: outcome, Status: status}
	if who.Role != Undeclared {
		e.Role = who.Role.String()
	}
	if e.Action == "" {
		e.Action = "no route"
	}
	return e
}

func (g *Guard) log() *slog.Logger {
	if g.Log == nil {
		return slog.Default()
	}
	return g.Log
}

// statusWriter remembers how a request was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(code int) {
	w.status = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Refuse answers with an error, in the form that every route has.
func Refuse(w http.ResponseWriter, code int, text string) {
	b, err := json.MarshalIndent(map[string]string{"error": text}, "", "  ")
	if err != nil {
		code, b = http.StatusInternalServerError, []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // a client that is gone is nobody's error
}

// Hosts are the names under which a server answers, so that a web page cannot reach it
// through a name of its own (DNS rebinding).
type Hosts struct {
	// Names are answered besides those of loopback.
	Names []string
	// Addresses are answered as well, any: no DNS is behind them. It is for servers beyond
	// loopback, which probes and scrapers know by address.
	Addresses bool
}

// guard answers requests for these hosts alone, with headers that keep a browser from
// making anything of an answer but text.
func (h Hosts) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Frame-Options", "DENY")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		if !h.serves(r.Host) {
			Refuse(w, http.StatusForbidden, fmt.Sprintf("host %q is not served here, use 127.0.0.1%s", r.Host, h.hint()))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h Hosts) hint() string {
	if len(h.Names) == 0 {
		return ""
	}
	return " or " + strings.Join(h.Names, ", ")
}

// serves reports whether the Host header of a request is one of ours.
func (h Hosts) serves(host string) bool {
	if n, _, err := net.SplitHostPort(host); err == nil {
		host = n
	}
	host = strings.Trim(host, "[]")
	if ip := net.ParseIP(host); ip != nil {
		return h.Addresses || ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost") || slices.ContainsFunc(h.Names, func(n string) bool { return strings.EqualFold(n, host) })
}
