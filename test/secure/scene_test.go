//go:build linux

package secure

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/proctest"
)

// scene is a driver and a worker with certificates and tokens, and what an attacker has.
type scene struct {
	t      *testing.T
	dir    string
	driver *proctest.Process
	worker *proctest.Process
	http   string // HOST:PORT of the driver's clients
	join   string // of its workers
	tokens map[string]string
}

var quiet = slog.New(slog.DiscardHandler)

func newScene(t *testing.T) *scene {
	s := &scene{t: t, dir: t.TempDir(), tokens: map[string]string{"none": "", "wrong": "sluice_" + strings.Repeat("A", 43)}}
	now := time.Now()
	for _, ca := range []string{"ca", "other"} { // two authorities that call themselves the same
		if err := certs.Init(s.path(ca), "prod", now); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		ca   string
		role certs.Role
		id   string
		at   time.Time
	}{
		"d1": {"ca", certs.Driver, "d1", now}, "w1": {"ca", certs.Worker, "w1", now}, "w2": {"ca", certs.Worker, "w2", now}, "ann": {"ca", certs.Client, "ann", now},
		"expired": {"ca", certs.Worker, "w1", now.Add(-48 * time.Hour)}, "early": {"ca", certs.Worker, "w1", now.Add(20 * time.Hour)},
		"stranger": {"other", certs.Worker, "w1", now}, "othersdriver": {"other", certs.Driver, "d1", now},
	} {
		r := certs.Request{Role: c.role, IDs: []string{c.id}, Hosts: []string{"127.0.0.1"}, Life: 24 * time.Hour}
		if err := certs.Issue(s.path(c.ca), s.path(name), r, c.at); err != nil {
			t.Fatal(err)
		}
	}
	file := s.path("auth/tokens")
	for _, role := range []auth.Role{auth.Viewer, auth.Operator, auth.Admin} {
		s.tokens[role.String()] = s.token(role.String(), role)
	}
	s.tokens["revoked"] = s.token("revoked", auth.Admin)
	if err := auth.Revoke(file, "revoked"); err != nil {
		t.Fatal(err)
	}
	s.startDriver()
	s.http = s.driver.Says(`serving https://(\S+)`)
	s.worker = start(t, "worker", "--id", "w1", "--data", s.path("w1data"), "--join", s.join, "--tls-dir", s.path("w1"), "--audit-log", s.path("w1audit"), "--log", "info")
	s.worker.Says("joined driver d1")
	return s
}

// startDriver starts one that is of a group, so that there are all routes and protocols
// of one. Such a group is told its address; one that somebody else has taken is no use.
func (s *scene) startDriver() {
	for range 10 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		s.join = l.Addr().String()
		if err := l.Close(); err != nil {
			s.t.Fatal(err)
		}
		s.driver = start(s.t, "driver", "--id", "d1", "--data", s.path("data"), "--peers", "d1="+s.join, "--checkpoint-dir", s.path("checkpoints"),
			"--http", "127.0.0.1:0", "--tls-dir", s.path("d1"), "--auth-dir", s.path("auth"), "--log", "info")
		if s.driver.Says(`(workers join at|address already in use)`) == "workers join at" {
			return
		}
	}
	s.t.Fatal("no port is free")
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) token(name string, role auth.Role) string {
	s.t.Helper()
	token, err := auth.Create(s.path("auth/tokens"), name, role, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// opened are all ports of a process, by what they are for. One that nothing here knows is
// none that may be.
func (s *scene) opened() map[string]netip.AddrPort {
	s.t.Helper()
	out := map[string]netip.AddrPort{}
	for _, p := range ports(s.t, s.driver) {
		switch p.String() {
		case s.http:
			out["http"] = p
		case s.join:
			out["join"] = p
		default:
			s.t.Errorf("the driver listens at %s, which is neither --http nor --listen: say here what it is", p)
		}
	}
	workers := ports(s.t, s.worker)
	if len(workers) != 1 || len(out) != 2 {
		s.t.Fatalf("the driver listens at %v, the worker at %v", out, workers)
	}
	out["rows"] = workers[0]
	for name, p := range out {
		if !p.Addr().IsLoopback() {
			s.t.Errorf("%s is open at %s", name, p)
		}
	}
	return out
}

// audit is what stands in the audit log of the process behind a port.
func (s *scene) audit(port string) string {
	s.t.Helper()
	file := s.path("auth/audit.jsonl")
	if port == "rows" {
		file = s.path("w1audit")
	}
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return string(b)
}
