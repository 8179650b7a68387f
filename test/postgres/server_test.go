package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const tool = "../../tools/postgres/server"

// server is a database to test against.
type server struct {
	dir      string
	port     int
	settings []string
}

// The server that tests share, each with a schema of its own, until the process ends.
var (
	shared       sync.Once
	sharedServer *server
)

func needs(t testing.TB) {
	t.Helper()
	if os.Getenv("SLUICE_POSTGRES") == "" {
		t.Skip("SLUICE_POSTGRES is not set: run make test-postgres")
	}
}

// theServer is the shared one.
func theServer(t testing.TB) *server {
	t.Helper()
	needs(t)
	shared.Do(func() { sharedServer = newServer(t) })
	if sharedServer == nil {
		t.Fatal("the server did not come up")
	}
	return sharedServer
}

// ownServer is one that a test may kill, and may set up before it starts.
func ownServer(t *testing.T, prepare ...func(*server)) *server {
	t.Helper()
	needs(t)
	s := newServer(t, prepare...)
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newServer(t testing.TB, prepare ...func(*server)) *server {
	dir, err := os.MkdirTemp("", "sluice-postgres-*")
	if err != nil {
		t.Fatal(err)
	}
	// The disk is trusted: what is killed here is processes.
	s := &server{dir: dir, settings: []string{"fsync=off"}}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.port = freePort(t)
	for _, p := range prepare {
		p(s)
	}
	s.up(t)
	return s
}

func (s *server) remove() error {
	if s == nil {
		return nil
	}
	err := exec.Command(tool, "down", s.dir).Run()
	return errors.Join(err, os.RemoveAll(s.dir))
}

func (s *server) up(t testing.TB) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), tool, append([]string{"up", s.dir, strconv.Itoa(s.port)}, s.settings...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("server up: %v\n%s", err, out)
	}
}

// kill ends the server without any warning.
func (s *server) kill(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the server goes", func() bool { return syscall.Kill(pid, 0) != nil })
}

// freePort finds one below those that the system gives to connections: a server that
// is started again needs its own.
func freePort(t testing.TB) int {
	t.Helper()
	for i := range 2000 {
		port := 20000 + (os.Getpid()*14+i)%10000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// patience is how long a condition may take. Slow machines take seconds, never that long.
const patience = 2 * time.Minute

// until waits for a condition.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	end := time.After(patience)
	for !done() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-end:
			t.Fatalf("waited in vain until %s", what)
		case <-t.Context().Done():
			t.Fatalf("the time is over before %s", what)
		}
	}
}

func (s *server) url() string { return fmt.Sprintf("postgres://sluice@127.0.0.1:%d/postgres", s.port) }

// password is the reference to it.
func (s *server) password() string { return "${file:" + filepath.Join(s.dir, "password") + "}" }

// connect makes a connection of the test's own.
func (s *server) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (s *server) dial(ctx context.Context) (*pgx.Conn, error) {
	pass, err := os.ReadFile(filepath.Join(s.dir, "password"))
	if err != nil {
		return nil, err
	}
	cc, err := pgx.ParseConfig(s.url())
	if err != nil {
		return nil, err
	}
	cc.Password = strings.TrimSpace(string(pass))
	cc.RuntimeParams["timezone"] = "UTC"
	return pgx.ConnectConfig(ctx, cc)
}

// schema makes a schema for a test and returns its name.
func (s *server) schema(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "_", "#", "_").Replace(t.Name()))
	name = name[:min(len(name), 60)]
	exec1(t, conn, "DROP SCHEMA IF EXISTS "+name+" CASCADE; CREATE SCHEMA "+name)
	return name
}

func exec1(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// rowsOf runs a query and returns its rows as texts, "NULL" for NULL.
func rowsOf(t testing.TB, conn *pgx.Conn, sql string) []string {
	t.Helper()
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var out []string
	for _, r := range results {
		for _, row := range r.Rows {
			cells := make([]string, len(row))
			for i, v := range row {
				if cells[i] = string(v); v == nil {
					cells[i] = "NULL"
				}
			}
			out = append(out, strings.Join(cells, "|"))
		}
	}
	return out
}
