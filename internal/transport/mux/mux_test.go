package mux

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/certs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// share opens a port of two protocols that answer with their names.
func share(t *testing.T, opt Options) *Mux {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	opt.Protocols = []Protocol{{ALPN: "h2", Head: "PRI "}, {ALPN: "other", Head: "OTHR", Admit: opt.Protocols[0].Admit}}
	m := Serve(l, opt)
	t.Cleanup(func() { must(t, m.Close()) })
	for _, p := range opt.Protocols {
		end := m.Listener(p.ALPN)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				c, err := end.Accept()
				if err != nil {
					return
				}
				head := make([]byte, 5)
				if _, err := io.ReadFull(c, head); err == nil {
					_, _ = io.WriteString(c, p.ALPN+" "+string(head))
				}
				_ = c.Close()
			}
		}()
		t.Cleanup(func() { _ = end.Close(); <-ended })
	}
	return m
}

// say sends a text and returns the answer.
func say(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	for i := range text {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return "" // it was refused before all was said
		}
	}
	b, _ := io.ReadAll(c) // a reset is no answer
	return string(b)
}

func dial(t *testing.T, m *Mux) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", m.Addr().String())
	must(t, err)
	return c
}

func TestPlainByFirstBytes(t *testing.T) {
	m := share(t, Options{Protocols: []Protocol{{}}})
	for text, want := range map[string]string{"PRI *": "h2 PRI *", "OTHR!": "other OTHR!", "GET /": "", "\x16\x03\x01ab": ""} {
		if got := say(t, dial(t, m), text); got != want {
			t.Errorf("%q is answered by %q, want %q", text, got, want)
		}
	}
	if m.Listener("else") != nil {
		t.Error("what is not spoken has a listener")
	}
}

func TestSecuredByALPN(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	must(t, certs.Init(ca, "test", time.Now()))
	load := func(role certs.Role, id string) *certs.TLS {
		out := filepath.Join(dir, id)
		must(t, certs.Issue(ca, out, certs.Request{Role: role, IDs: []string{id}, Hosts: []string{"127.0.0.1"}}, time.Now()))
		c, err := certs.Load(out, nil)
		must(t, err)
		return c
	}
	d1, d2, w1 := load(certs.Driver, "d1"), load(certs.Driver, "d2"), load(certs.Worker, "w1")
	admit := func(s tls.ConnectionState) error {
		who, err := certs.Peer(s)
		if err == nil && who.Role != certs.Driver {
			err = errors.New("only drivers")
		}
		return err
	}
	m := share(t, Options{TLS: func() (*tls.Config, error) { return d1.Server(certs.Driver, certs.Worker), nil }, Protocols: []Protocol{{Admit: admit}}})
	for _, c := range []struct {
		who   *certs.TLS
		alpn  []string
		want  string
		about string
	}{
		{w1, []string{"h2"}, "h2 hello", "a worker speaks gRPC"},
		{d2, []string{"h2"}, "h2 hello", "a driver speaks gRPC"},
		{d2, []string{"other"}, "other hello", "a driver speaks the other"},
		{w1, []string{"other"}, "", "a worker may not"},
		{w1, []string{"http/1.1"}, "", "what is not spoken"},
		{w1, nil, "", "who does not say"},
	} {
		conf := c.who.Client(m.Addr().String(), certs.Driver)
		conf.NextProtos = c.alpn
		conn, err := tls.Dial("tcp", m.Addr().String(), conf)
		got := ""
		if err == nil {
			got = say(t, conn, "hello")
		}
		if got != c.want {
			t.Errorf("%s: %q, %v", c.about, got, err)
		}
	}
	if got := say(t, dial(t, m), "PRI *"); len(got) > 0 && got[0] == 'h' {
		t.Errorf("a plain connection is answered %q", got)
	}
}

// Who says nothing is let go, holds up nobody, and ends with the port.
func TestTheSilentAreBounded(t *testing.T) {
	m := share(t, Options{Wait: 200 * time.Millisecond, Protocols: []Protocol{{}}})
	var silent []net.Conn
	for range GreetingsOfHost + 10 {
		silent = append(silent, dial(t, m))
	}
	for i, c := range silent {
		must(t, c.SetReadDeadline(time.Now().Add(20*time.Second)))
		_, err := c.Read(make([]byte, 1))
		var late net.Error
		if err == nil || errors.As(err, &late) && late.Timeout() {
			t.Fatalf("silent connection %d is left alone: %v", i, err)
		}
		_ = c.Close()
	}
	if got := say(t, dial(t, m), "PRI *"); got != "h2 PRI *" {
		t.Errorf("behind them: %q", got)
	}
}
