package sluice

import (
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"testing"

	"github.com/sluice-stream/sluice/internal/auth"
)

// A worker says that it is well, whether a driver has it, and what it has to do.
func TestWorkerHTTP(t *testing.T) {
	f := newFleet(t)
	f.add(0, 100)
	if _, err := f.d.Submit(t.Context(), "numbers", f.script()); err != nil {
		t.Fatal(err)
	}
	f.join("w1")
	f.check(100)
	w := f.workers["w1"]
	for _, r := range w.routes() {
		if need, ok := routeRoles[r.Pattern]; !ok || r.Need != need {
			t.Errorf("%s is for %v", r.Pattern, r.Need)
		}
	}
	if _, err := w.ServeHTTP("0.0.0.0:0", HTTPOptions{}); err == nil {
		t.Error("it is served beyond loopback without TLS and tokens")
	}
	srv, err := w.ServeHTTP("127.0.0.1:0", HTTPOptions{AuthDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	get := func(path string) (int, string) {
		t.Helper()
		code, body, _ := fetch(t, http.MethodGet, srv.URL()+path, "")
		return code, body
	}
	for path, want := range map[string]int{"/healthz": 200, "/metrics": 401, "/api/queries": 401, "/debug/pprof/": 401} {
		if code, body := get(path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	open, err := w.ServeHTTP("127.0.0.1:0", HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	srv = open
	value := func(name string) float64 {
		_, body := get("/metrics")
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("no %s in\n%s", name, body)
		}
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	f.until("it is ready", func() bool { code, _ := get("/readyz"); return code == 200 })
	f.until("the query's state is seen", func() bool { // a life may end and begin at any moment
		return value("sluice_worker_joined") == 1 && value("sluice_worker_plans") == 1 && value("sluice_worker_state_rows") >= 6 && value("sluice_worker_state_shards") > 0
	})
	if value("sluice_worker_slots") != 2 || value("sluice_memory_limit_bytes") <= 0 {
		t.Error("the slots or the memory are not told")
	}
	_, _ = value(`sluice_worker_tasks{state="running"}`), value(`sluice_worker_tasks{state="waiting"}`)
	if code, _ := get("/api/queries"); code != 404 {
		t.Errorf("queries of a worker: %d", code)
	}
	f.stop()
	f.until("it is not ready without a driver", func() bool { code, _ := get("/readyz"); return code == 503 })
	f.start()
}

// A worker that nobody has asked to join anything has nothing to tell but that.
func TestWorkerHTTPAlone(t *testing.T) {
	w, err := JoinCluster(t.Context(), WorkerOptions{ID: "w1", Join: []string{"127.0.0.1:1"}, Slots: 3, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got := w.worker.Load(); got.Slots != 3 || got.Plans+got.Running+got.Waiting+got.Shards != 0 {
		t.Errorf("its load is %+v", got)
	}
	if w.joined() {
		t.Error("it has joined a driver that there is not")
	}
	for _, r := range w.routes() {
		if r.Need == auth.Undeclared {
			t.Errorf("%s is for anybody", r.Pattern)
		}
	}
}
