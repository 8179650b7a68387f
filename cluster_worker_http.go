package sluice

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-stream/sluice/internal/auth"
)

// ServeHTTP serves the worker's health and metrics at addr, HOST:PORT, until the server is
// closed: /healthz, /readyz, which is 503 while it has joined no driver, and /metrics. What
// its queries do is asked of the driver. Beyond loopback it is an error not to have TLS and
// tokens.
func (w *Worker) ServeHTTP(addr string, o HTTPOptions) (*Server, error) {
	return w.s.ServeHTTP(addr, o)
}

// routes are all ways into a worker, with who may take them.
func (w *Worker) routes() []auth.Route {
	reg := prometheus.NewRegistry()
	reg.MustRegister(workerMetrics{w}, collectors.NewGoCollector())
	return []auth.Route{
		{Pattern: "GET /healthz", Need: auth.Public, Serve: w.health},
		{Pattern: "GET /readyz", Need: auth.Public, Serve: func(rw http.ResponseWriter, _ *http.Request) { ready(rw, w.joined()) }},
		{Pattern: "GET /metrics", Need: auth.Viewer, Serve: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP},
	}
}

func (w *Worker) joined() bool { return w.node.Link().Session != 0 }

// health is 503 if no driver takes the worker, for good: it is of no use as it is.
func (w *Worker) health(rw http.ResponseWriter, _ *http.Request) {
	if w.node.Link().Refused != nil {
		writeJSON(rw, http.StatusServiceUnavailable, map[string]string{"status": "refused", "role": "worker"})
		return
	}
	writeJSON(rw, http.StatusOK, map[string]string{"status": "ok", "role": "worker"})
}

var (
	metricJoined     = desc("worker_joined", "1 while the worker has joined a driver.")
	metricSlots      = desc("worker_slots", "How many tasks run at a time.")
	metricTasks      = desc("worker_tasks", "Tasks that are here, by whether they have a slot: running, waiting.", "state")
	metricPlans      = desc("worker_plans", "Plans of queries that are deployed here.")
	metricHeld       = desc("worker_state_shards", "Shards of state that are open here.")
	metricHeldRows   = desc("worker_state_rows", "Rows of these.")
	metricHeldBytes  = desc("worker_state_bytes", "Bytes of these.")
	workerMetricDesc = []*prometheus.Desc{metricJoined, metricSlots, metricTasks, metricPlans, metricHeld, metricHeldRows, metricHeldBytes,
		metricMemory, metricPeak, metricLimit}
)

// workerMetrics reads what a worker does when Prometheus asks.
type workerMetrics struct{ w *Worker }

// Describe implements prometheus.Collector.
func (m workerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range workerMetricDesc {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m workerMetrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	joined := 0.0
	if m.w.joined() {
		joined = 1
	}
	load := m.w.worker.Load()
	gauge(metricJoined, joined)
	gauge(metricSlots, float64(load.Slots))
	gauge(metricTasks, float64(load.Running), "running")
	gauge(metricTasks, float64(load.Waiting), "waiting")
	gauge(metricPlans, float64(load.Plans))
	gauge(metricHeld, float64(load.Shards))
	gauge(metricHeldRows, float64(load.Rows))
	gauge(metricHeldBytes, float64(load.Bytes))
	gauge(metricMemory, float64(m.w.s.memory.Used()))
	gauge(metricPeak, float64(m.w.s.memory.Peak()))
	gauge(metricLimit, float64(m.w.s.memory.Limit()))
}
