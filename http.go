package sluice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Server serves what a session does over HTTP. There is no authentication: it
// belongs on a loopback address.
type Server struct {
	http  *http.Server
	ended chan error
}

// Limits of the listener, so that a slow or hostile client costs little.
const (
	httpHeaderBytes = 16 << 10
	httpTimeout     = 10 * time.Second
	httpIdle        = time.Minute
	httpStop        = 2 * time.Second
)

// ServeHTTP serves /healthz, /metrics (Prometheus), /api/queries,
// /api/queries/NAME and below it watermark, batches/N, savepoints and parallelism on l until Close. The listener becomes the server's.
func (s *Session) ServeHTTP(l net.Listener) *Server {
	srv := &Server{ended: make(chan error, 1), http: &http.Server{
		Handler: s.Handler(), MaxHeaderBytes: httpHeaderBytes, ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout,
		WriteTimeout: httpTimeout, IdleTimeout: httpIdle,
	}}
	go func() { srv.ended <- srv.http.Serve(l) }()
	return srv
}

// Close ends the server.
func (srv *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), httpStop)
	defer cancel()
	err := srv.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.http.Close()
	}
	if e := <-srv.ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// Handler answers the routes of ServeHTTP, for a server of the program's own.
func (s *Session) Handler() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(&metrics{s: s}, collectors.NewGoCollector())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/queries", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.queryStates()) })
	mux.HandleFunc("GET /api/queries/{name}", s.oneQuery)
	mux.HandleFunc("GET /api/queries/{name}/watermark", s.queryWatermark)
	mux.HandleFunc("GET /api/queries/{name}/batches/{batch}", s.queryBatch)
	mux.HandleFunc("GET /api/queries/{name}/savepoints", s.listSavepoints)
	mux.HandleFunc("POST /api/queries/{name}/savepoints/{savepoint}", s.postSavepoint)
	mux.HandleFunc("POST /api/queries/{name}/parallelism", s.postParallelism)
	return loopbackHost(http.NewCrossOriginProtection().Handler(mux))
}

// loopbackHost refuses requests for other hosts, so that a web page cannot reach
// a loopback listener through a name of its own (DNS rebinding).
func loopbackHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			writeJSON(w, http.StatusForbidden, map[string]string{"error": fmt.Sprintf("host %q is not served here, use 127.0.0.1", host)})
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// health is 200 while every query runs or has ended well, else 503 with the names that failed.
func (s *Session) health(w http.ResponseWriter, _ *http.Request) {
	failed := []string{}
	for _, q := range s.Queries() {
		if q.Status() == "failed" {
			failed = append(failed, q.Name())
		}
	}
	if len(failed) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "failed", "queries": failed})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// queryState is a query in /api/queries.
type queryState struct {
	Name       string     `json:"name"`
	ID         string     `json:"id"`
	Status     string     `json:"status"`
	Error      string     `json:"error,omitempty"`
	Trigger    string     `json:"trigger"`
	Mode       string     `json:"outputMode"`
	Checkpoint string     `json:"checkpoint"`
	Totals     Totals     `json:"totals"`
	Recovery   *Recovery  `json:"recovery,omitempty"`
	Progress   *Progress  `json:"lastProgress"`
	Recent     []Progress `json:"recentProgress,omitempty"`
}

func (q *Query) state(recent bool) queryState {
	st := queryState{
		Name: q.Name(), ID: q.ID(), Status: q.Status(), Trigger: q.def.trigger.String(), Mode: string(q.def.mode),
		Checkpoint: q.Checkpoint(), Totals: q.Totals(),
	}
	if p, ok := q.drv.Progress(); ok {
		st.Progress = &p
	}
	if r, ok := q.Recovery(); ok {
		st.Recovery = &r
	}
	if st.Status == "failed" {
		st.Error = q.drv.Await(context.Background()).Error()
	}
	if recent {
		st.Recent = q.Recent()
	}
	return st
}

func (s *Session) queryStates() []queryState {
	out := []queryState{}
	for _, q := range s.Queries() {
		out = append(out, q.state(false))
	}
	return out
}

func (s *Session) oneQuery(w http.ResponseWriter, r *http.Request) {
	q, ok := s.Query(r.PathValue("name"))
	if !ok {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("there is no query %q", r.PathValue("name"))})
		return
	}
	writeJSON(w, http.StatusOK, q.state(true))
}

// queryWatermark is what EXPLAIN WATERMARK tells, as text.
func (s *Session) queryWatermark(w http.ResponseWriter, r *http.Request) {
	q, ok := s.Query(r.PathValue("name"))
	if !ok {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("there is no query %q", r.PathValue("name"))})
		return
	}
	text, err := q.ExplainWatermark(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"query": q.Name(), "lines": strings.Split(strings.TrimRight(text, "\n"), "\n")})
}

// queryBatch is what EXPLAIN BATCH tells, as data or with ?format=text as lines.
func (s *Session) queryBatch(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("batch"), 10, 64)
	q, ok := s.Query(r.PathValue("name"))
	if ok && err == nil {
		if r.URL.Query().Get("format") == "text" {
			text, err := q.ExplainBatch(id)
			if err != nil {
				writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
				return
			}
			writeJSON(w, http.StatusOK, map[string]any{"query": q.Name(), "lines": strings.Split(strings.TrimRight(text, "\n"), "\n")})
			return
		}
		if t, found := q.Batch(id); found {
			writeJSON(w, http.StatusOK, t)
			return
		}
	}
	writeJSON(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("batch %q of query %q is not remembered", r.PathValue("batch"), r.PathValue("name"))})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // a client that is gone is nobody's error
}
