package sluice

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// logged gathers what several goroutines write, such as a session's log.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// gauge reads a metric of a session; not ok if there is none of these labels.
func gauge(t *testing.T, s *Session, name string, labels map[string]string) (float64, bool) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(&metrics{s: s}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "sluice_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			same := 0
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == l.GetValue() {
					same++
				}
			}
			if same == len(labels) {
				return m.GetGauge().GetValue(), true
			}
		}
	}
	return 0, false
}

// TestRecoveryIsTold: progress, the log, metrics and HTTP say what a query that was
// killed has got back, from where, and what it ran again. State that survived is used.
func TestRecoveryIsTold(t *testing.T) {
	b := newStateBed(t)
	b.feed(0, 1, 2)
	s := b.session("checkpoint.interval=1ms")
	b.exec(s, `CREATE STREAMING QUERY q OUTPUT MODE update AS `+countQuery)
	q := b.drained(s, "q")
	if r, ok := q.Recovery(); ok {
		t.Errorf("a query that begins has recovered %+v", r)
	}
	b.exec(s, `SAVE STREAMING QUERY q AS 'saved'`) // a checkpoint through the last batch
	b.close(s)
	s = b.session("checkpoint.interval=1h")
	b.exec(s, `CREATE STREAMING QUERY q OUTPUT MODE update AS `+countQuery)
	b.feed(3, 4) // of which there will be no checkpoint
	q = b.drained(s, "q")
	q.Abandon()
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.close(s)

	var log logged
	s = b.session()
	s.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	b.exec(s, `CREATE STREAMING QUERY q OUTPUT MODE update AS `+countQuery)
	b.feed(5)
	q = b.drained(s, "q")
	b.same("after a crash", b.rows(s, `SELECT * FROM res`), b.want(6))
	r, ok := q.Recovery()
	if !ok || r.CheckpointBatch != 2 || r.ReplayedBatches != 2 || r.Shards != 2 || r.Rows != 7 || r.RowsLoaded != 7 ||
		r.LocalFiles == 0 || r.LocalBytes == 0 || r.RemoteFiles != 0 || r.DamagedFiles != 0 {
		t.Errorf("recovered: %v %+v", ok, r)
	}
	if p := q.Progress(); p.Recovery == nil || p.Recovery.ReplayedBatches != 2 {
		t.Errorf("progress: %+v", p.Recovery)
	}
	text, err := json.Marshal(q.Progress())
	if err != nil || !strings.Contains(string(text), `"recovery":{"checkpointBatch":2,`) || !strings.Contains(string(text), `"replayedBatches":2,`) {
		t.Errorf("progress as JSON: %s %v", text, err)
	}
	for _, want := range []string{`msg="state restored" query=q batch=2`, "rows=7 loaded=7 local_files=", `msg="query recovered" query=q checkpoint=2`, "replayed=2"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, log.String())
		}
	}
	if n, ok := gauge(t, s, "recovery_replayed_batches", map[string]string{"query": "q"}); !ok || n != 2 {
		t.Errorf("replayed batches: %v %v", n, ok)
	}
	if n, ok := gauge(t, s, "state_files_opened", map[string]string{"query": "q", "from": "local"}); !ok || n != float64(r.LocalFiles) {
		t.Errorf("local files: %v %v", n, ok)
	}
	if n, ok := gauge(t, s, "recovery_state_rows", map[string]string{"query": "q", "read": "at once"}); !ok || n != 7 {
		t.Errorf("rows: %v %v", n, ok)
	}
	w := httptest.NewRecorder()
	writeJSON(w, 200, s.queryStates())
	if !strings.Contains(w.Body.String(), `"recovery"`) {
		t.Errorf("over HTTP: %s", w.Body.String())
	}
	b.close(s)
}

// TestCacheThatSurvived: of a checkpoint in a bucket what is on the machine is used where
// it is what the checkpoint names, and fetched where it is missing or damaged.
func TestCacheThatSurvived(t *testing.T) {
	bucketServer(t, nil)
	b := newStateBed(t)
	cache := t.TempDir()
	life := 0
	start := func(settings ...string) Recovery {
		t.Helper()
		b.feed(2*life, 2*life+1)
		life++
		s := b.session(append([]string{"checkpoint.interval=1ms", "checkpoint.cache-dir=" + cache}, settings...)...)
		b.exec(s, bucketQuery)
		q := b.drained(s, "q")
		b.same("life", b.rows(s, `SELECT * FROM res`), b.want(2*life))
		b.exec(s, `SAVE STREAMING QUERY q AS 'n`+string(rune('a'+life))+`'`) // all is in a checkpoint
		r, ok := q.Recovery()
		if ok != (life > 1) || ok && r.Rows != 7 {
			t.Fatalf("recovered: %v %+v", ok, r)
		}
		b.close(s)
		return r
	}
	runs := func() []string {
		t.Helper()
		list, err := filepath.Glob(filepath.Join(cache, "s3", "lake", "ck", "q", "state", "*.run"))
		if err != nil || len(list) == 0 {
			t.Fatalf("the cache holds %v %v", list, err)
		}
		return list
	}
	start()
	if r := start(); r.LocalFiles == 0 || r.RemoteFiles != 0 || r.BytesFetched+r.BytesReadRemote != 0 || r.DamagedFiles != 0 {
		t.Errorf("a cache that survived: %+v", r)
	}
	for _, f := range runs() {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, bytes.Repeat([]byte{7}, int(info.Size())), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := start(); r.DamagedFiles == 0 || r.BytesFetched+r.BytesReadRemote == 0 {
		t.Errorf("a damaged cache: %+v", r)
	}
	for _, f := range runs() {
		if err := os.Truncate(f, 10); err != nil {
			t.Fatal(err)
		}
	}
	if r := start(); r.DamagedFiles == 0 || r.BytesFetched+r.BytesReadRemote == 0 {
		t.Errorf("a cache that was cut: %+v", r)
	}
	cache = t.TempDir()
	if r := start(); r.LocalFiles != 0 && r.BytesFetched == 0 || r.BytesFetched+r.BytesReadRemote == 0 {
		t.Errorf("an empty cache: %+v", r)
	}
	if r := start("checkpoint.cache-bytes=1"); r.LocalFiles != 0 || r.EvictedFiles == 0 || r.BytesFetched+r.BytesReadRemote == 0 {
		t.Errorf("a cache that may hold nothing: %+v", r)
	}
}
