// Command leaderchange measures how long a cluster goes without a commit when the leader of
// its three drivers is killed: drivers and workers are processes of their own, a query with
// state writes files without a pause, and the leading process is killed (kill -9) again and
// again. Each time it takes the time until another driver says that it leads, until the
// workers are there, and until the next batch is committed.
//
//	go run ./bench/cluster/leaderchange -n 20
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
	"github.com/sluice-stream/sluice/internal/clock"
)

// options are the flags.
type options struct {
	n       int
	workers int
	keys    int
	keep    bool
}

func main() {
	if role := node.Role(); role != nil {
		if err := be(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.IntVar(&o.n, "n", 20, "how often the leader is killed")
	flag.IntVar(&o.workers, "workers", 2, "workers")
	flag.IntVar(&o.keys, "keys", 1000, "keys of the query's state")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// bench is the cluster.
type bench struct {
	options
	dir     string
	host    string
	drivers map[string]*exec.Cmd
	workers []*exec.Cmd
	client  http.Client
}

var ids = []string{"d1", "d2", "d3"}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "sluice-leaderchange-*")
	if err != nil {
		return err
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	// An address of the loopback network of its own: its ports are free, also between two
	// processes.
	b := &bench{options: o, dir: dir, host: fmt.Sprintf("127.%d.%d.1", 1+os.Getpid()%250, os.Getpid()/250%250), drivers: map[string]*exec.Cmd{}}
	b.client.Timeout = time.Second
	defer b.endAll()
	for _, id := range ids {
		if err := b.begin(id); err != nil {
			return err
		}
	}
	for i := range o.workers {
		c, err := node.Start("worker", fmt.Sprintf("w%d", i+1), b.addresses(":700", ""))
		if err != nil {
			return err
		}
		b.workers = append(b.workers, c)
	}
	if err := b.submit(ctx); err != nil {
		return err
	}
	var all []change
	for i := range o.n {
		c, err := b.kill(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%3d killed %s, %s leads after %4d ms, workers after %4d ms, next commit after %4d ms\n", i+1, c.was, c.now,
			c.elected.Milliseconds(), c.staffed.Milliseconds(), c.committed.Milliseconds())
		all = append(all, c)
	}
	report("another driver leads", all, func(c change) time.Duration { return c.elected })
	report("all workers are there", all, func(c change) time.Duration { return c.staffed })
	report("next batch committed", all, func(c change) time.Duration { return c.committed })
	return nil
}

// change is one change of the leader, in times since the kill.
type change struct {
	was, now                    string
	elected, staffed, committed time.Duration
}

func report(what string, all []change, of func(change) time.Duration) {
	var ds []time.Duration
	for _, c := range all {
		ds = append(ds, of(c))
	}
	slices.Sort(ds)
	at := func(q float64) int64 { return node.Quantile(ds, q).Milliseconds() }
	fmt.Printf("%-22s ms: min %d p50 %d p90 %d max %d (n=%d)\n", what, at(0), at(0.5), at(0.9), ds[len(ds)-1].Milliseconds(), len(ds))
}

// settled is how many batches a leader commits before it is killed.
const settled = 20

// kill kills the leader once it works, and waits until another one does.
func (b *bench) kill(ctx context.Context) (c change, err error) {
	if c.was, err = b.working(ctx); err != nil {
		return c, err
	}
	others := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return id == c.was })
	p := b.drivers[c.was]
	at := time.Now()
	if err := p.Process.Kill(); err != nil {
		return c, err
	}
	err = b.until(ctx, "another driver leads and commits", func() bool {
		if c.elected == 0 {
			for _, id := range others {
				var said struct{ Role string }
				if b.get(id, "/healthz", &said) == nil && said.Role == "leader" {
					c.now, c.elected = id, time.Since(at)
				}
			}
			if c.elected == 0 {
				return false
			}
		}
		if c.staffed == 0 {
			var ws []struct{ State string }
			if b.get(c.now, "/api/workers", &ws) == nil {
				joined := 0
				for _, w := range ws {
					if w.State == "joined" {
						joined++
					}
				}
				if joined == len(b.workers) {
					c.staffed = time.Since(at)
				}
			}
		}
		if n, err := b.batches(c.now); err == nil && n > 0 {
			c.committed = time.Since(at)
			return true
		}
		return false
	})
	_ = p.Wait() // killed
	if err != nil {
		return c, err
	}
	return c, b.begin(c.was)
}

// working waits for a leader that has committed some batches, with all others following it.
func (b *bench) working(ctx context.Context) (leader string, err error) {
	err = b.until(ctx, "a leader works and is followed", func() bool {
		leader = ""
		for _, id := range ids {
			var said struct{ Leader string }
			if b.get(id, "/api/drivers", &said) != nil || said.Leader == "" || leader != "" && said.Leader != leader {
				return false
			}
			leader = said.Leader
		}
		n, err := b.batches(leader)
		return err == nil && n >= settled
	})
	return leader, err
}

// batches is how many batches a leader has committed.
func (b *bench) batches(id string) (int64, error) {
	var list []struct{ Totals struct{ Batches int64 } }
	if err := b.get(id, "/api/queries", &list); err != nil || len(list) != 1 {
		return 0, errors.Join(err, errNotYet)
	}
	return list[0].Totals.Batches, nil
}

var errNotYet = errors.New("not yet")

func (b *bench) web(id string) string {
	return fmt.Sprintf("http://%s:800%d", b.host, 1+slices.Index(ids, id))
}

func (b *bench) get(id, path string, into any) error {
	resp, err := b.client.Get(b.web(id) + path)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	if resp.StatusCode != http.StatusOK {
		return errNotYet
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// until looks every few milliseconds, for a minute at most.
func (b *bench) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for !ok() {
		if clock.Wait(ctx, clock.System(), 5*time.Millisecond) != nil {
			return fmt.Errorf("waiting until %s: %w", what, context.Cause(ctx))
		}
	}
	return nil
}

// addresses lists HOST, port and number of the drivers, each with its name before it if
// there is a separator.
func (b *bench) addresses(port, sep string) string {
	var out []string
	for i, id := range ids {
		at := fmt.Sprintf("%s%s%d", b.host, port, i+1)
		if sep != "" {
			at = id + sep + at
		}
		out = append(out, at)
	}
	return strings.Join(out, ",")
}

func (b *bench) begin(id string) (err error) {
	b.drivers[id], err = node.Start("driver", id, filepath.Join(b.dir, id), b.addresses(":700", "="), filepath.Join(b.dir, "ck"),
		strings.TrimPrefix(b.web(id), "http://"))
	return err
}

// submit gives the query to whoever leads.
func (b *bench) submit(ctx context.Context) error {
	script := fmt.Sprintf(`
CREATE TABLE n WITH ('connector' = 'rate', 'rows-per-second' = '10000');
CREATE TABLE out (k BIGINT, rows BIGINT) WITH ('connector' = 'filesystem', 'path' = '%s/out', 'format' = 'json', 'changelog.op-column' = 'op');
CREATE STREAMING QUERY counting OUTPUT MODE changelog TRIGGER EVERY '50 ms' AS INSERT INTO out SELECT value %% %d AS k, count(*) FROM n GROUP BY value %% %d;`, b.dir, b.keys, b.keys)
	return b.until(ctx, "the pipeline is taken", func() bool {
		for _, id := range ids {
			resp, err := b.client.Post(b.web(id)+"/api/pipelines/p", "text/plain", strings.NewReader(script))
			if err != nil {
				continue
			}
			_ = resp.Body.Close() // only the code counts
			if resp.StatusCode == http.StatusCreated {
				return true
			}
		}
		return false
	})
}

func (b *bench) endAll() {
	for _, c := range b.drivers {
		node.Kill(c)
	}
	for _, c := range b.workers {
		node.Kill(c)
	}
}
