package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
)

// be is "driver", DATA, ADDRESS, SETTINGS or "worker", ID, ADDRESS, SLOTS, SETTINGS.
func be(role []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	settings := map[string]string{}
	if err := json.Unmarshal([]byte(role[len(role)-1]), &settings); err != nil {
		return err
	}
	if role[0] == "worker" {
		slots := 0
		if _, err := fmt.Sscan(role[3], &slots); err != nil {
			return err
		}
		return node.Work(ctx, sluice.WorkerOptions{ID: role[1], Join: []string{role[2]}, Slots: slots, Settings: settings,
			Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	}
	log := slog.New(commits{slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})})
	d, err := sluice.StartDriver(ctx, sluice.DriverOptions{ID: "d1", Data: role[1], Listen: role[2], Settings: settings, Logger: log})
	if err != nil {
		return err
	}
	srv, err := d.ServeHTTP("127.0.0.1:0", sluice.HTTPOptions{})
	if err != nil {
		return err
	}
	log.Info("listening", "join", d.Addr(), "url", srv.URL())
	<-ctx.Done()
	return d.Close()
}

// commits lets what is worth a line pass, and commits.
type commits struct{ slog.Handler }

func (c commits) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo && r.Message != "batch committed" {
		return nil
	}
	return c.Handler.Handle(ctx, r)
}

func (c commits) WithAttrs(a []slog.Attr) slog.Handler { return commits{c.Handler.WithAttrs(a)} }
func (c commits) WithGroup(g string) slog.Handler      { return commits{c.Handler.WithGroup(g)} }

// line is one of the driver's log.
type line struct {
	Time     time.Time `json:"time"`
	Msg      string    `json:"msg"`
	Batch    int64     `json:"batch"`
	Rows     int64     `json:"rows"`
	State    int64     `json:"state_rows"`
	Join     string    `json:"join"`
	URL      string    `json:"url"`
	Workers  []string  `json:"workers"`
	Replayed int64     `json:"replayed"`
	raw      string
}

type process struct {
	cmd   *exec.Cmd
	lines chan line
}

// start runs this program as a node. The lines of a driver's log are read until it ends.
func start(role ...string) (*process, error) {
	cmd, err := node.Command(role...)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd}
	if role[0] != "driver" {
		return p, p.cmd.Start()
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.lines = make(chan line, 1<<16)
	go func() { // ends with the process
		defer close(p.lines)
		in := bufio.NewScanner(out)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			l := line{raw: in.Text()}
			if json.Unmarshal(in.Bytes(), &l) != nil && l.Msg == "" {
				continue
			}
			if *verbose && l.Msg != "batch committed" && l.Msg != "batch done" {
				fmt.Fprintln(os.Stderr, l.raw)
			}
			p.lines <- l
		}
	}()
	return p, nil
}

func (p *process) kill() {
	node.Kill(p.cmd)
}

// scene is the cluster.
type scene struct {
	dir     string
	join    string
	url     string
	driver  *process
	workers map[string]*process
}

func (s *scene) end() {
	for _, p := range s.workers {
		p.kill()
	}
	if s.driver != nil {
		s.driver.kill()
	}
}

func settings(m map[string]string) string {
	b, _ := json.Marshal(m) // a map of texts can be encoded
	return string(b)
}

func (s *scene) startDriver(ctx context.Context) (err error) {
	at := s.join
	if at == "" {
		at = "127.0.0.1:0"
	}
	set := map[string]string{"checkpoint.interval": interval.String()}
	if *standby > 0 {
		set["state.standby-replicas"] = fmt.Sprint(*standby)
	}
	if s.driver, err = start("driver", filepath.Join(s.dir, "d1"), at, settings(set)); err != nil {
		return err
	}
	l, err := s.await(ctx, "the driver", func(l line) bool { return l.Msg == "listening" })
	s.join, s.url = l.Join, l.URL
	return err
}

func (s *scene) startWorker(ctx context.Context, id string) (err error) {
	s.workers[id], err = start("worker", id, s.join, fmt.Sprint(*slots), settings(map[string]string{"memory_limit": *memory}))
	if err != nil {
		return err
	}
	_, err = s.await(ctx, "worker "+id, func(l line) bool {
		return l.Msg == "query runs on workers" && slices.Contains(l.Workers, id)
	})
	return err
}

// newest is the worker with the last name.
func (s *scene) newest() string { return slices.Max(slices.Collect(maps.Keys(s.workers))) }

// await reads the driver's log up to a line.
func (s *scene) await(ctx context.Context, what string, is func(line) bool) (line, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		select {
		case l, ok := <-s.driver.lines:
			if !ok {
				return l, fmt.Errorf("waiting for %s: the driver has ended", what)
			}
			if is(l) {
				return l, nil
			}
		case <-ctx.Done():
			return line{}, fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// begin starts the cluster, submits the query and waits until it has its state.
func (s *scene) begin(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(s.dir, "out"), 0o700); err != nil {
		return err
	}
	if err := s.startDriver(ctx); err != nil {
		return err
	}
	for i := range *workers {
		id := fmt.Sprintf("w%d", i+1)
		var err error
		if s.workers[id], err = start("worker", id, s.join, fmt.Sprint(*slots), settings(map[string]string{"memory_limit": *memory})); err != nil {
			return err
		}
	}
	time.Sleep(time.Second) // they join
	if err := s.submit(ctx); err != nil {
		return err
	}
	began := time.Now()
	l, err := s.await(ctx, "the state", func(l line) bool { return l.Msg == "batch done" && l.State >= *keys && l.Rows < *rate })
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d keys after %s and %d batches\n", l.State, time.Since(began).Round(time.Second), l.Batch)
	return nil
}

func (s *scene) submit(ctx context.Context) error {
	text := fmt.Sprintf(`
CREATE TABLE fill (k BIGINT, v BIGINT, t STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '%d', 'fields.k.kind' = 'sequence', 'fields.t.length' = '%d', 'max-rows-per-trigger' = '200000');
CREATE TABLE live (k BIGINT, v BIGINT, t STRING) WITH ('connector' = 'datagen', 'rows-per-second' = '%d', 'fields.k.min' = '0', 'fields.k.max' = '%d', 'fields.t.length' = '%d', 'split-rows' = '4096');
CREATE TABLE out (k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'csv', 'changelog.op-column' = 'op');
CREATE STREAMING QUERY bench OUTPUT MODE changelog TRIGGER %s AS INSERT INTO out
  SELECT k, n, total FROM (SELECT k, count(*) AS n, sum(v %% 1000) AS total, max(t) AS t FROM (SELECT * FROM fill UNION ALL SELECT * FROM live) GROUP BY k) WHERE n > 1 AND t <> '';`,
		*keys, *pad, *rate, *keys-1, *pad, filepath.Join(s.dir, "out"), *trigger)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/pipelines/bench", strings.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		var b strings.Builder
		_ = resp.Write(&b)
		return fmt.Errorf("submit: %s", b.String())
	}
	return nil
}
