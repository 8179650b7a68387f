package sluice

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-stream/sluice/driver"
)

// metrics reads the session's queries when Prometheus asks: a batch costs nothing.
type metrics struct {
	s       *Session
	queries func() []*Query // nil: those of the session
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sluice_"+name, help, labels, nil)
}

var (
	metricBatches  = desc("batches_total", "Committed batches.", "query")
	metricIn       = desc("input_rows_total", "Rows read by committed batches.", "query")
	metricOut      = desc("output_rows_total", "Rows written by committed batches.", "query")
	metricLate     = desc("late_rows_total", "Rows dropped because they came after the watermark.", "query")
	metricBad      = desc("quarantined_rows_total", "Rows that could not be decoded or computed and were put into a quarantine table.", "query")
	metricPhase    = desc("batch_phase_seconds", "Duration of each phase of the last batch.", "query", "phase")
	metricLag      = desc("watermark_lag_seconds", "Time between now and the watermark.", "query")
	metricRows     = desc("state_rows", "Rows of state after the last batch.", "query", "operator")
	metricBytes    = desc("state_bytes", "Bytes of state after the last batch.", "query", "operator")
	metricHot      = desc("state_hot_bytes", "Bytes that rows of state take in memory.", "query", "operator")
	metricCold     = desc("state_cold_bytes", "Bytes of the files that state is built on.", "query", "operator")
	metricEvicted  = desc("state_evictions", "Times that rows of a shard were pushed out of memory since its worker opened it.", "query", "operator")
	metricUp       = desc("query_up", "1 while the query runs, 0 after it has ended or failed.", "query")
	metricRate     = desc("processed_rows_per_second", "Rows a second of the last batch.", "query")
	metricMemory   = desc("memory_bytes", "Memory under the limit that is in use.")
	metricPeak     = desc("memory_peak_bytes", "Most memory under the limit that was in use.")
	metricLimit    = desc("memory_limit_bytes", "The memory limit.")
	metricCommits  = desc("last_committed_batch", "ID of the newest committed batch.", "query")
	metricLatency  = desc("latency_seconds", "Time from when a source's system was given a row (a message's timestamp) until every sink showed what became of it.", "query")
	metricRetries  = desc("reveal_tries", "Failed tries to show the last committed batch.", "query")
	metricRecovery = desc("recovery_seconds", "Duration of the last recovery's phases: restore, replay.", "query", "phase")
	metricReplayed = desc("recovery_replayed_batches", "Batches that the last recovery ran again.", "query")
	metricAdopted  = desc("tasks_adopted_total", "Tasks that were begun for a driver before this one and were not begun again.", "query")
	metricRestored = desc("recovery_state_rows", "Rows of state that the last recovery found, by whether they were loaded or are read when wanted.", "query", "read")
	metricFiles    = desc("state_files_opened", "Files of state that the query has opened since its last recovery, by where they lay.", "query", "from")
	metricFileSize = desc("state_file_bytes", "Bytes of files of state since the last recovery: local (used where they lay), remote (opened in the bucket), fetched (copied from there), read (from there, piece by piece).", "query", "how")
	metricSpoiled  = desc("state_files_damaged", "Files of the cache of a bucket that were found damaged since the last recovery.", "query")
	metricDropped  = desc("state_files_evicted", "Files of the cache of a bucket that went to keep it below its limit since the last recovery.", "query")
	metricBehind   = desc("standby_behind_batches", "Committed batches that some copy of the state does not have yet (state.standby-replicas).", "query")
	allMetricDescs = []*prometheus.Desc{
		metricBatches, metricIn, metricOut, metricLate, metricBad, metricPhase, metricLag, metricRows, metricBytes,
		metricHot, metricCold, metricEvicted, metricUp,
		metricRecovery, metricReplayed, metricAdopted, metricRestored, metricFiles, metricFileSize, metricSpoiled, metricDropped, metricBehind,
		metricRate, metricMemory, metricPeak, metricLimit, metricCommits, metricRetries,
		metricLatency,
	}
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range allMetricDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(metricMemory, float64(m.s.memory.Used()))
	gauge(metricPeak, float64(m.s.memory.Peak()))
	gauge(metricLimit, float64(m.s.memory.Limit()))
	queries := m.queries
	if queries == nil {
		queries = m.s.Queries
	}
	for _, q := range queries() {
		m.query(ch, q)
	}
}

func (m *metrics) query(ch chan<- prometheus.Metric, q *Query) {
	name := q.Name()
	put := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, append([]string{name}, labels...)...)
	}
	t := q.Totals()
	put(metricBatches, prometheus.CounterValue, float64(t.Batches))
	put(metricIn, prometheus.CounterValue, float64(t.RowsIn))
	put(metricOut, prometheus.CounterValue, float64(t.RowsOut))
	put(metricLate, prometheus.CounterValue, float64(t.Late))
	put(metricBad, prometheus.CounterValue, float64(t.Quarantined))
	up := 0.0
	if q.running() {
		up = 1
	}
	put(metricUp, prometheus.GaugeValue, up)
	st := q.drv.Status()
	put(metricCommits, prometheus.GaugeValue, float64(st.Committed))
	put(metricRetries, prometheus.GaugeValue, float64(st.RevealTries))
	if l := q.Latency(); l.Rows > 0 {
		buckets := make(map[float64]uint64, len(driver.LatencyBounds))
		for i, bound := range driver.LatencyBounds {
			buckets[bound] = l.Counts[i]
		}
		ch <- prometheus.MustNewConstHistogram(metricLatency, l.Rows, l.Seconds, buckets, name)
	}
	put(metricAdopted, prometheus.CounterValue, float64(q.drv.TasksAdopted()))
	if r, ok := q.Recovery(); ok {
		recoveryMetrics(r, func(d *prometheus.Desc, v float64, labels ...string) { put(d, prometheus.GaugeValue, v, labels...) })
	}
	if s, ok := q.Standbys(); ok {
		put(metricBehind, prometheus.GaugeValue, float64(s.Behind))
	}
	p, ok := q.drv.Progress()
	if !ok {
		return
	}
	put(metricRate, prometheus.GaugeValue, p.ProcessedRowsPerSecond)
	for phase, ms := range p.Phases {
		put(metricPhase, prometheus.GaugeValue, ms/1000, phase)
	}
	for _, o := range p.StateOperators {
		put(metricRows, prometheus.GaugeValue, float64(o.NumRowsTotal), o.OperatorName)
		put(metricBytes, prometheus.GaugeValue, float64(o.MemoryUsedBytes), o.OperatorName)
		put(metricHot, prometheus.GaugeValue, float64(o.CustomMetrics["hotBytes"]), o.OperatorName)
		put(metricCold, prometheus.GaugeValue, float64(o.CustomMetrics["coldBytes"]), o.OperatorName)
		put(metricEvicted, prometheus.GaugeValue, float64(o.CustomMetrics["evictions"]), o.OperatorName)
	}
	if w, err := time.Parse(time.RFC3339Nano, p.EventTime.Watermark); err == nil {
		put(metricLag, prometheus.GaugeValue, time.Since(w).Seconds())
	}
}

// recoveryMetrics are of how a query came by its state.
func recoveryMetrics(r Recovery, put func(d *prometheus.Desc, v float64, labels ...string)) {
	put(metricRecovery, r.RestoreMs/1000, "restore")
	put(metricRecovery, r.ReplayMs/1000, "replay")
	put(metricReplayed, float64(r.ReplayedBatches))
	put(metricRestored, float64(r.RowsLoaded), "at once")
	put(metricRestored, float64(r.Rows-r.RowsLoaded), "when wanted")
	put(metricFiles, float64(r.LocalFiles), "local")
	put(metricFiles, float64(r.RemoteFiles), "remote")
	put(metricFileSize, float64(r.LocalBytes), "local")
	put(metricFileSize, float64(r.RemoteBytes), "remote")
	put(metricFileSize, float64(r.BytesFetched), "fetched")
	put(metricFileSize, float64(r.BytesReadRemote), "read")
	put(metricSpoiled, float64(r.DamagedFiles))
	put(metricDropped, float64(r.EvictedFiles))
}
