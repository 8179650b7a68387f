package cluster

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// trio is three drivers of which one leads. They have an address of the loopback network
// of their own, so that their ports are theirs, also while they are away.
type trio struct {
	*scene
	host    string
	drivers map[string]*proctest.Process
}

var ids = []string{"d1", "d2", "d3"}

func newTrio(t *testing.T) *trio {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	x := &trio{scene: newEmptyScene(t), host: fmt.Sprintf("127.%d.%d.%d", 1+b[0]%254, b[1], 1+b[2]%254), drivers: map[string]*proctest.Process{}}
	var join []string
	for i := range ids {
		join = append(join, fmt.Sprintf("%s:%d", x.host, 7001+i))
	}
	x.join = strings.Join(join, ",")
	x.begin(ids...)
	return x
}

// begin starts drivers.
func (x *trio) begin(which ...string) {
	x.t.Helper()
	var peers []string
	for i, id := range ids {
		peers = append(peers, fmt.Sprintf("%s=%s:%d", id, x.host, 7001+i))
	}
	for _, id := range which {
		x.drivers[id] = start(x.t, strings.Join([]string{"replica", id, filepath.Join(x.dir, id), strings.Join(peers, ","), filepath.Join(x.dir, "ck"),
			strings.TrimPrefix(x.web(id), "http://")}, " "))
	}
	for _, id := range which {
		x.drivers[id].Says(begun)
	}
}

func (x *trio) web(id string) string {
	return fmt.Sprintf("http://%s:%d", x.host, 8001+slices.Index(ids, id))
}

// leads waits until one of the drivers leads, and has the scene ask that one.
func (x *trio) leads(among ...string) (id string) {
	x.t.Helper()
	client := &http.Client{Timeout: time.Second}
	proctest.Until(x.t, fmt.Sprintf("one of %v leads", among), func() (bool, string) {
		for _, id = range among {
			resp, err := client.Get(x.web(id) + "/healthz")
			if err != nil {
				continue
			}
			var said struct{ Role string }
			err = json.NewDecoder(resp.Body).Decode(&said)
			_ = resp.Body.Close() // it was read
			if err == nil && said.Role == "leader" {
				return true, ""
			}
		}
		return false, "nobody"
	})
	x.url = x.web(id)
	return id
}

// but are the other drivers.
func but(id string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(o string) bool { return o == id })
}

// newestBatch is the newest batch that the leader has shown; -1 if none.
func (x *trio) newestBatch(among ...string) int64 {
	client := &http.Client{Timeout: time.Second}
	for _, id := range among {
		resp, err := client.Get(x.web(id) + "/api/queries")
		if err != nil {
			continue
		}
		var list []struct{ LastProgress *struct{ BatchID int64 } }
		err = json.NewDecoder(resp.Body).Decode(&list)
		_ = resp.Body.Close() // it was read
		if err == nil && len(list) == 1 && list[0].LastProgress != nil {
			return list[0].LastProgress.BatchID
		}
	}
	return -1
}

// ends asks a driver to keep something until its process has ended. The query alone may not
// come to append anything: what fails first may be what its source writes down.
func (x *trio) ends(id string) error {
	x.t.Helper()
	text := `CREATE TABLE r WITH ('connector' = 'rate', 'rows-per-second' = '1'); CREATE TABLE b (value BIGINT) WITH ('connector' = 'blackhole');
		CREATE STREAMING QUERY other AS INSERT INTO b SELECT value FROM r;`
	// Who does not lead any more sends on, and another one would keep it.
	client := &http.Client{Timeout: time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	proctest.Until(x.t, "driver "+id+" ends", func() (bool, string) {
		if x.drivers[id].Over() {
			return true, ""
		}
		if resp, err := client.Post(x.web(id)+"/api/pipelines/other", "text/plain", strings.NewReader(text)); err == nil {
			_ = resp.Body.Close() // whatever it says
		}
		return false, "there"
	})
	return x.drivers[id].State
}

// Drivers are killed, stopped and all away while a query with state runs, and what it has
// written is what it was given, once. On a loaded machine leadership may change besides.
func TestDriversEndInAllWays(t *testing.T) {
	t.Parallel()
	x := newTrio(t)
	x.give(3)
	proctest.Until(t, "the pipeline is taken", func() (bool, string) {
		code, said := x.post(x.web("d2")) // which sends on, if it does not lead
		return code == http.StatusCreated, fmt.Sprint(code, said)
	})
	x.startWorker("w1")
	x.startWorker("w2")
	x.give(3)
	x.check("on three drivers")

	leader := x.leads(ids...)
	x.drivers[leader].Kill()
	at := time.Now()
	x.give(4)
	proctest.Until(t, "a batch is committed", func() (bool, string) { return x.newestBatch(but(leader)...) >= 0, "not" })
	t.Logf("after the leader was killed the next batch was shown in %s", time.Since(at).Round(time.Millisecond))
	x.check("after the leader was killed")
	x.begin(leader)

	// A leader that is stopped is one among none when it goes on: what it still says is
	// refused by the log, by workers and by sinks (C17).
	leader = x.leads(ids...)
	x.give(4)
	x.drivers[leader].Signal(syscall.SIGSTOP)
	x.leads(but(leader)...)
	x.give(2)
	x.check("while the leader before is stopped")
	x.give(4)
	x.drivers[leader].Signal(syscall.SIGCONT)
	x.give(3)
	x.check("after it has gone on")

	x.give(4)
	for _, id := range ids {
		x.drivers[id].Kill()
	}
	x.give(1)
	x.begin(ids...)
	x.check("after all drivers were killed")

	// A driver whose disk takes nothing any more ends by itself, and says why (E3 to E5).
	leader = x.leads(ids...)
	x.drivers[leader].Signal(syscall.SIGUSR1)
	x.give(3)
	var exit *exec.ExitError
	if err := x.ends(leader); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(x.drivers[leader].Said(), "after a failed write") {
		t.Errorf("a driver without a disk ends with %v\n%s", err, x.drivers[leader].Said())
	}
	x.check("after the leader's disk has failed")
	x.begin(leader)

	leader = x.leads(ids...)
	x.give(3)
	if err := x.drivers[leader].Stop(); err != nil {
		t.Errorf("the leader ends with %v", err)
	}
	x.check("after the leader has handed over")
}
