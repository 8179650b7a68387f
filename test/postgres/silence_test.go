package postgres

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// relay stands before a server. While it is silent it takes connections and whatever is
// sent, and nothing comes back and nothing goes on, as when a network drops packets.
type relay struct {
	listener net.Listener
	target   string
	workers  sync.WaitGroup

	mu     sync.Mutex
	silent bool
	closed bool
	conns  []net.Conn
}

func startRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target}
	r.workers.Go(r.serve)
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.speak()
		r.workers.Wait()
	})
	return r
}

func (r *relay) serve() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		r.mu.Lock()
		if r.conns = append(r.conns, client, server); r.closed {
			_, _ = client.Close(), server.Close()
		}
		r.mu.Unlock()
		r.workers.Go(func() { r.pass(client, server) })
		r.workers.Go(func() { r.pass(server, client) })
	}
}

// pass carries what comes, unless there is silence: then its end is not told either.
func (r *relay) pass(from, to net.Conn) {
	_, _ = io.Copy(heard{r, to}, from)
	if !r.isSilent() {
		_ = to.Close()
	}
}

// heard is the other end as long as there is no silence.
type heard struct {
	r  *relay
	to io.Writer
}

func (h heard) Write(b []byte) (int, error) {
	if h.r.isSilent() {
		return len(b), nil
	}
	return h.to.Write(b)
}

func (r *relay) isSilent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent
}

func (r *relay) silence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = true
}

// speak ends the silence. The connections from before it are gone.
func (r *relay) speak() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.silent, r.conns = false, nil
}

// A database that suddenly says nothing more, in the middle of a session and to whoever
// connects, holds a commit no longer than the options say; the error names it, and the
// batch is written once when it speaks again.
func TestDatabaseIsSilent(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	r := startRelay(t, fmt.Sprintf("127.0.0.1:%d", s.port))
	spec := s.spec(t, s.schema(t, conn)+".out", kv(), sinks.Append)
	at := r.listener.Addr().String()
	spec.Options["url"] = "postgres://sluice@" + at + "/postgres"
	spec.Options["connect-timeout"], spec.Options["request-timeout"] = "500ms", "700ms"
	f := openSink(t, spec)
	commit := func(id batch.ID, parts []batch.Prepared) error { return f.sink.Commit(t.Context(), id, 1, parts) }
	first := f.prepare(0, 1, nil, `[{"k": "a", "V": 1}]`)
	until(t, "the first batch is there", func() bool { return commit(0, first) == nil }) // slow machines take longer than the options say
	second := f.prepare(1, 1, nil, `[{"k": "b", "V": 2}]`)
	r.silence()
	_, _, held := f.sink.Holds(t.Context())
	for what, err := range map[string]error{"commit": commit(1, second), "ask what it holds": held} {
		if _, again := batch.KindOf(err); err == nil || !again || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: want an error that names %s and may go away, have %v", what, at, err)
			continue
		}
		silent(t, spec.Options, err)
	}
	r.speak()
	until(t, "the second batch is there", func() bool { return commit(1, second) == nil })
	if got := rowsOf(t, conn, "SELECT k FROM "+string(spec.Query)+" ORDER BY k"); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("the table holds %q", got)
	}
	until(t, "the sink says that it holds both", func() bool {
		id, _, err := f.sink.Holds(t.Context())
		return err == nil && id == 1
	})
}
