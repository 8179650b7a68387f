package pgclient

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// A machine that takes connections and never says a word holds nobody longer than
// connect-timeout, with TLS and without; the error names it and no secret.
func TestConnectToSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	var conns []net.Conn
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, c)
		}
	})
	defer func() {
		_ = l.Close()
		accepting.Wait()
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"disable", "prefer", "require"} {
		c, err := Parse("table \"t\"", "t", options.Map{
			"url": "postgres://me@" + l.Addr().String() + "/d?sslmode=" + mode, "password": "${file:" + file + "}", "connect-timeout": "50ms",
		})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := c.Connect(t.Context(), "test", nil)
		if err == nil {
			Close(conn)
			t.Fatalf("%s: it is connected", mode)
		}
		if _, again := batch.KindOf(err); !again || !strings.Contains(err.Error(), l.Addr().String()) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: want an error that names %s and may go away, have %v", mode, l.Addr(), err)
		}
	}
}
