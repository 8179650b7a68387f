package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTokens(t *testing.T) {
	file, plain := filepath.Join(t.TempDir(), "auth", "tokens"), filepath.Join(t.TempDir(), "admin.token")
	made, err := First(file, plain, at)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if made, err = First(file, plain, at); err != nil || made {
		t.Errorf("a second first start: %v %v", made, err)
	}
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	admin := strings.TrimSpace(string(b))
	viewer, err := Create(file, "grafana", Viewer, at)
	if err != nil {
		t.Fatal(err)
	}
	if len(viewer) != len(tokenPrefix)+43 || viewer == admin {
		t.Errorf("tokens %q and %q are not 256 random bits", admin, viewer)
	}
	for _, f := range []string{file, plain} {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info.Mode(), err)
		}
	}
	stored, err := os.ReadFile(file)
	if err != nil || bytes.Contains(stored, []byte(viewer)) || bytes.Contains(stored, []byte(viewer[len(tokenPrefix):])) {
		t.Errorf("the token itself is stored: %s %v", stored, err)
	}
	tokens, err := OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]Principal{
		admin: {"admin", Admin}, viewer: {"grafana", Viewer}, "": {}, viewer + "x": {}, strings.ToLower(viewer): {}, "grafana": {},
		fmt.Sprintf("%x", mustList(t, file)[1].hash): {}, // what is stored opens nothing
	} {
		if got, err := tokens.Check(token); got != want || (err == nil) != (want.Role != Undeclared) {
			t.Errorf("a token is of %v (%v), want %v", got, err, want)
		}
	}
	if _, err := Create(file, "grafana", Admin, at); err == nil || !strings.Contains(err.Error(), "there is a token") {
		t.Errorf("two of a name: %v", err)
	}
	for _, bad := range []string{"", "a b", "a\nb", "../x", strings.Repeat("a", 64)} {
		if _, err := Create(file, bad, Viewer, at); err == nil {
			t.Errorf("the name %q", bad)
		}
	}
	for _, role := range []Role{Undeclared, Public, Admin + 1} {
		if _, err := Create(file, "x", role, at); err == nil {
			t.Errorf("a token of role %s", role)
		}
	}
	// A token that is revoked counts no longer, without a restart.
	if err := Revoke(file, "grafana"); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Check(viewer); !errors.Is(err, ErrNoToken) {
		t.Errorf("a revoked token: %v", err)
	}
	if err := Revoke(file, "grafana"); err == nil {
		t.Error("revoked twice")
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

func mustList(t *testing.T, file string) []Token {
	t.Helper()
	all, err := List(file)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestDamagedTokens: whatever is done to a byte of the file, nobody gets a role that he
// was not given, and while it cannot be read nobody gets in.
func TestDamagedTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	token, err := Create(file, "v", Viewer, at)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := OpenTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for _, b := range []byte{good[i] ^ 1, good[i] ^ 0x20, '\n', ' '} {
			bad := bytes.Clone(good)
			bad[i] = b
			all, err := decode(bad)
			if bytes.Equal(bad, good) {
				continue
			}
			// A checksum in capitals is the same number, and the only change that can pass.
			if err == nil && (len(all) != 1 || !strings.EqualFold(string(bad), string(good))) {
				t.Fatalf("byte %d as %q: %+v", i, b, all)
			}
		}
		if all, err := decode(good[:i]); err == nil && len(all) > 0 {
			t.Fatalf("the first %d bytes: %+v", i, all)
		}
	}
	if err := os.WriteFile(file, good[:len(good)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Check(token); err == nil || errors.Is(err, ErrNoToken) {
		t.Errorf("a damaged file: %v", err)
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Check(token); err == nil || !strings.Contains(err.Error(), "chmod 0600") {
		t.Errorf("a file that all can read: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Check(token); err == nil || errors.Is(err, ErrNoToken) {
		t.Errorf("a file that is gone: %v", err)
	}
}

// TestTokensOfVersion1: what version 1 has written is read, and a newer version refused by its name.
func TestTokensOfVersion1(t *testing.T) {
	const v1 = "sluice tokens 1\n" +
		"ci operator 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 2026-03-01T12:00:00Z 6c26e3ef\n"
	all, err := decode([]byte(v1))
	if err != nil || len(all) != 1 || all[0].Name != "ci" || all[0].Role != Operator || !all[0].Created.Equal(at) || all[0].hash[0] != 0x9f {
		t.Errorf("%+v %v", all, err)
	}
	if _, err := decode([]byte(strings.Replace(v1, "1", "2", 1))); err == nil || !strings.Contains(err.Error(), `"sluice tokens 2", and this program reads "sluice tokens 1"`) {
		t.Error(err)
	}
}

func FuzzTokens(f *testing.F) {
	f.Add([]byte(fileHeader + "\n"))
	f.Add(encode([]Token{{Name: "a", Role: Admin, Created: at}, {Name: "b", Role: Viewer, Created: at}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(encode(all))
		if err != nil || len(again) != len(all) {
			t.Errorf("%q is read as %v, and that as %v (%v)", b, all, again, err)
		}
	})
}

// guarded is a server with tokens of each role and a way to ask it.
func guarded(t *testing.T, routes []Route) (ask func(method, path, token string) *httptest.ResponseRecorder, tokens map[Role]string, audit string) {
	t.Helper()
	dir := t.TempDir()
	tokens = map[Role]string{}
	for _, role := range []Role{Viewer, Operator, Admin} {
		var err error
		if tokens[role], err = Create(filepath.Join(dir, "tokens"), "the-"+role.String(), role, at); err != nil {
			t.Fatal(err)
		}
	}
	store, err := OpenTokens(filepath.Join(dir, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	audit = filepath.Join(dir, "audit.jsonl")
	log, now := NewAudit(audit), at
	log.now = func() time.Time { now = now.Add(time.Second); return now } // no refusal is one too many
	g := &Guard{Tokens: store, Audit: log, Log: slog.New(slog.DiscardHandler), Hosts: Hosts{Names: []string{"sluice.example"}}, now: log.now}
	h, err := g.Handler(routes)
	if err != nil {
		t.Fatal(err)
	}
	return func(method, path, token string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, "http://sluice.example"+path, nil)
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}, tokens, audit
}

func answers(t *testing.T, want *Principal) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, ok := From(r.Context())
		if !ok {
			t.Error("nobody asks")
		}
		*want = p
		w.WriteHeader(http.StatusAccepted)
	}
}

func TestRoles(t *testing.T) {
	var asked Principal
	h := answers(t, &asked)
	ask, tokens, audit := guarded(t, []Route{
		{"GET /healthz", Public, h}, {"GET /read/{x}", Viewer, h}, {"POST /change/{x}", Operator, h}, {"POST /submit", Admin, h},
		{"POST /broken", Admin, func(w http.ResponseWriter, _ *http.Request) { Refuse(w, http.StatusConflict, "no") }},
	})
	const ok, no, forbidden = http.StatusAccepted, http.StatusUnauthorized, http.StatusForbidden
	for _, c := range []struct {
		method, path                         string
		none, wrong, viewer, operator, admin int
	}{
		{"GET", "/healthz", ok, ok, ok, ok, ok},
		{"GET", "/read/a", no, no, ok, ok, ok},
		{"HEAD", "/read/a", no, no, ok, ok, ok},
		{"POST", "/change/a", no, no, forbidden, ok, ok},
		{"POST", "/submit", no, no, forbidden, forbidden, ok},
		{"GET", "/nowhere", no, no, 404, 404, 404},
		{"DELETE", "/read/a", no, no, 405, 405, 405},
		{"GET", "/submit", no, no, 405, 405, 405},
		{"POST", "/broken", no, no, forbidden, forbidden, 409},
		{"GET", "/read/../read/a", no, no, 307, 307, 307},
	} {
		for token, want := range map[string]int{
			"": c.none, "Bearer " + tokens[Viewer] + "x": c.wrong, "Basic " + tokens[Admin]: c.wrong, tokens[Admin]: c.wrong, "Bearer": c.wrong, "Bearer ": c.wrong,
			"Bearer " + tokens[Viewer]: c.viewer, "bearer " + tokens[Operator]: c.operator, "Bearer " + tokens[Admin]: c.admin,
		} {
			asked = Principal{}
			w := ask(c.method, c.path, token)
			if w.Code != want {
				t.Errorf("%s %s: %d %s, want %d", c.method, c.path, w.Code, w.Body, want)
			}
			if (w.Code == ok) != (asked != Principal{} || c.path == "/healthz") {
				t.Errorf("%s %s with %d was asked by %v", c.method, c.path, w.Code, asked)
			}
			if (w.Code == no) != (w.Header().Get("WWW-Authenticate") != "") || w.Header().Get("Content-Security-Policy") == "" {
				t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
			}
		}
	}
	checkAudit(t, audit, tokens)
}

// checkAudit reads what TestRoles has left: each change with its begin and end, refusals, and no token.
func checkAudit(t *testing.T, file string, tokens map[Role]string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if bytes.Contains(b, []byte(token)) {
			t.Error("the audit log has a token")
		}
	}
	var changes []string
	seen := map[string]int{}
	for line := range bytes.Lines(b) {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil || e.At.IsZero() || e.Remote == "" {
			t.Fatalf("%s: %v", line, err)
		}
		seen[e.Outcome]++
		seen["missed"] += e.Missed
		if e.Outcome != Unauthenticated && e.Outcome != Forbidden {
			changes = append(changes, fmt.Sprint(e.Who, " ", e.Role, " ", e.Action, " ", e.Target, " ", e.Outcome, " ", e.Status))
		}
	}
	for _, want := range []string{
		"the-operator operator POST /change/{x} /change/a begin 0", "the-operator operator POST /change/{x} /change/a done 202",
		"the-admin admin POST /submit /submit begin 0", "the-admin admin POST /broken /broken failed 409",
	} {
		if !strings.Contains(strings.Join(changes, "\n"), want) {
			t.Errorf("no line %q in %q", want, changes)
		}
	}
	if len(changes) != 8 {
		t.Errorf("%d lines of 4 changes: %q", len(changes), changes)
	}
	if seen[Unauthenticated] == 0 || seen[Forbidden] == 0 {
		t.Errorf("refusals are not told: %v", seen)
	}
}

// TestRoutesWithoutPolicy are no routes.
func TestRoutesWithoutPolicy(t *testing.T) {
	h := func(http.ResponseWriter, *http.Request) {}
	for _, r := range []Route{
		{Pattern: "GET /x", Serve: h}, {"POST /x", Viewer, h}, {"DELETE /x", Public, h}, {"/x", Admin, h}, {"GET /x", Admin + 1, h},
	} {
		if _, err := (&Guard{}).Handler([]Route{r}); err == nil {
			t.Errorf("%+v is served", r)
		}
	}
}

// TestAuditFirst: what cannot be written down is not done.
func TestAuditFirst(t *testing.T) {
	done := false
	g := &Guard{Audit: NewAudit(filepath.Join(t.TempDir(), "no", "such", "folder")), Log: slog.New(slog.DiscardHandler)}
	h, err := g.Handler([]Route{{"POST /x", Operator, func(http.ResponseWriter, *http.Request) { done = true }}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "http://localhost/x", nil))
	if w.Code != http.StatusServiceUnavailable || done {
		t.Errorf("%d, done %v", w.Code, done)
	}
}

// TestAuditOfAFlood: refusals cannot fill the disk, and how many there were is not lost.
func TestAuditOfAFlood(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	now := at
	a := NewAudit(file)
	a.now = func() time.Time { return now }
	for range 1000 {
		if err := a.Write(Entry{Outcome: Unauthenticated, Target: strings.Repeat("x", 10_000)}); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Second)
	if err := a.Write(Entry{Outcome: Forbidden}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) != refusalsBurst+1 || len(b) > (refusalsBurst+1)*1000 || !strings.Contains(lines[refusalsBurst], `"missed":800`) {
		t.Errorf("%d lines, %d bytes, the last %s", len(lines), len(b), lines[len(lines)-1])
	}
}

func TestHosts(t *testing.T) {
	for host, want := range map[string][2]bool{ // of a server on loopback, and of one beyond it
		"localhost": {true, true}, "LOCALHOST:80": {true, true}, "127.0.0.1:8080": {true, true}, "[::1]:80": {true, true},
		"10.0.0.1:8080": {false, true}, "[fe80::1]": {false, true}, "sluice.example": {false, true}, "Sluice.Example:443": {false, true},
		"evil.example": {false, false}, "localhost.evil.example": {false, false}, "127.0.0.1.evil.example": {false, false}, "": {false, false},
		"sluice.example.evil.example": {false, false},
	} {
		for i, h := range []Hosts{{}, {Names: []string{"sluice.example"}, Addresses: true}} {
			if got := h.serves(host); got != want[i] {
				t.Errorf("%q of %+v: %v", host, h, got)
			}
		}
	}
}

func TestCheckListen(t *testing.T) {
	for _, c := range []struct {
		addr string
		e    Exposure
		want string // "" is allowed
	}{
		{"127.0.0.1:0", Exposure{}, ""}, {"localhost:80", Exposure{}, ""}, {"[::1]:80", Exposure{}, ""}, {"127.9.9.9:1", Exposure{}, ""},
		{"0.0.0.0:80", Exposure{}, "without TLS and authentication"}, {":80", Exposure{}, "without TLS and authentication"},
		{"[::]:80", Exposure{TLS: true}, "without authentication"}, {"10.0.0.1:80", Exposure{Auth: true}, "without TLS only"},
		{"host.example:80", Exposure{}, "only a loopback address"}, {"localhost.example:80", Exposure{}, "only a loopback address"},
		{"0.0.0.0:80", Exposure{true, true}, ""}, {"host.example:80", Exposure{true, true}, ""},
		{"80", Exposure{true, true}, "want HOST:PORT"}, {"127.0.0.1:x", Exposure{}, "the port"}, {"127.0.0.1:99999", Exposure{}, "the port"}, {"127.0.0.1:", Exposure{}, "the port"},
	} {
		err := CheckListen("--listen", c.addr, c.e, "give --tls-dir")
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "--listen "+c.addr)) {
			t.Errorf("%s %+v: %v, want %q", c.addr, c.e, err, c.want)
		}
	}
}

// pipes is a listener whose connections come from addresses of the test's choice.
type pipes struct{ next chan net.Conn }

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.next
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection with an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { a, _ := net.ResolveTCPAddr("tcp", f.addr); return a }

func TestLimit(t *testing.T) {
	p := &pipes{next: make(chan net.Conn, 2)}
	l := Limit(p)
	open := func(addr string) (client, server net.Conn) {
		t.Helper()
		client, s := net.Pipe()
		p.next <- from{s, addr}
		p2, s2 := net.Pipe() // what comes after, from an address with room
		p.next <- from{s2, "192.0.2.99:1"}
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got.RemoteAddr().String() == "192.0.2.99:1" { // the first was closed
			_ = got.Close()
			if _, err := client.Read(make([]byte, 1)); err == nil {
				t.Error("the refused connection is open")
			}
			return nil, nil
		}
		other, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = other.Close(), p2.Close()
		return client, got
	}
	var held []net.Conn
	for range ConnectionsOfHost {
		c, s := open("192.0.2.1:1")
		if c == nil {
			t.Fatalf("refused after %d", len(held))
		}
		held = append(held, s)
	}
	if c, _ := open("192.0.2.1:2"); c != nil {
		t.Error("one address has more than its share")
	}
	if c, s := open("192.0.2.2:2"); c == nil {
		t.Error("another address is kept out")
	} else {
		_ = s.Close()
	}
	_, _ = held[0].Close(), held[0].Close() // twice is once
	c, s := open("192.0.2.1:3")
	if c == nil {
		t.Error("the place is not given back")
	}
	if c, _ := open("192.0.2.1:4"); c != nil {
		t.Error("a place was given back twice")
	}
	for _, h := range append(held, s) {
		_ = h.Close()
	}
}
