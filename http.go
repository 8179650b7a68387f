package sluice

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
)

// HTTPOptions say who may reach a session over HTTP. The zero value is for a loopback
// address: whoever can use this machine may do everything that the routes offer.
type HTTPOptions struct {
	// TLSDir is a folder with ca.crt, tls.crt and tls.key; "" serves without TLS.
	TLSDir string
	// AuthDir is a folder with the tokens that are let in. One that holds none gets a first
	// token, of an administrator, which is written to admin.token there; "" asks for no token.
	AuthDir string
	// AuditLog is the file to which is appended what was asked that changes something, and
	// who was refused; "" is audit.jsonl in AuthDir, and none without it.
	AuditLog string
	// Advertise is where clients reach a driver that is one of several, HOST:PORT; default
	// its address, and with a wildcard address the host that workers are told.
	Advertise string
	// Hosts are names under which the server is reached, besides those of loopback.
	Hosts []string
}

// Audit is the file of the audit log; "" is none.
func (o HTTPOptions) Audit() string {
	if o.AuditLog == "" && o.AuthDir != "" {
		return filepath.Join(o.AuthDir, "audit.jsonl")
	}
	return o.AuditLog
}

// Server serves what a session does over HTTP.
type Server struct {
	http  *http.Server
	l     net.Listener
	opts  HTTPOptions
	first string
	ended chan error
}

// Limits of the listener, so that a slow or hostile client costs little.
const (
	httpHeaderBytes = 16 << 10
	httpTimeout     = 10 * time.Second
	httpIdle        = time.Minute
	httpStop        = 2 * time.Second
)

// httpProtection says how a listener beyond loopback is to be protected.
const httpProtection = "give certificates with --tls-dir (sluice certs makes them) and tokens with --auth-dir (sluice token)"

// ServeHTTP serves /healthz, /metrics (Prometheus), /api/queries,
// /api/queries/NAME and below it watermark, batches/N, state, savepoints and parallelism at
// addr, HOST:PORT, until Close. Beyond loopback it is an error not to have TLS and tokens.
func (s *Session) ServeHTTP(addr string, o HTTPOptions) (*Server, error) {
	if err := auth.CheckListen("--http", addr, auth.Exposure{TLS: o.TLSDir != "", Auth: o.AuthDir != ""}, httpProtection); err != nil {
		return nil, batch.UserErrorf("%w", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--http %s: %w", addr, err)
	}
	srv, err := s.serveHTTP(l, o)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return srv, nil
}

// serveHTTP serves on l, which becomes the server's unless there is an error.
func (s *Session) serveHTTP(l net.Listener, o HTTPOptions) (*Server, error) {
	srv := &Server{ended: make(chan error, 1), opts: o, l: l}
	guard := &auth.Guard{Hosts: auth.Hosts{Names: o.Hosts}, Log: s.opts.Logger}
	if host, _, err := net.SplitHostPort(l.Addr().String()); err == nil {
		guard.Hosts.Addresses = !auth.Loopback(host)
	}
	var err error
	if o.AuthDir != "" {
		tokens := filepath.Join(o.AuthDir, "tokens")
		plain := filepath.Join(o.AuthDir, "admin.token")
		made, err := auth.First(tokens, plain, time.Now())
		if err != nil {
			return nil, err
		}
		if made {
			srv.first = plain
		}
		if guard.Tokens, err = auth.OpenTokens(tokens); err != nil {
			return nil, err
		}
	}
	guard.Audit = auditOf(o.Audit())
	handler, err := guard.Handler(s.routes())
	if err != nil {
		return nil, err
	}
	serving := auth.Limit(l)
	if o.TLSDir != "" {
		t, err := certs.Load(o.TLSDir, s.opts.Logger)
		if err != nil {
			return nil, err
		}
		serving = tls.NewListener(serving, t.ServerForTokens())
	}
	srv.http = &http.Server{
		Handler: handler, MaxHeaderBytes: httpHeaderBytes, ReadHeaderTimeout: httpTimeout, ReadTimeout: httpTimeout,
		WriteTimeout: httpTimeout, IdleTimeout: httpIdle, ErrorLog: log.New(&serverLog{audit: guard.Audit, log: s.opts.Logger}, "", 0),
	}
	go func() { srv.ended <- srv.http.Serve(serving) }()
	return srv, nil
}

// serverLog takes what net/http says of connections: those of which the handshake failed
// go to the audit log, and all to the other one.
type serverLog struct {
	audit *auth.Audit
	log   *slog.Logger
}

// Write takes a line.
func (l *serverLog) Write(b []byte) (int, error) {
	text := strings.TrimSpace(string(b))
	if refused, ok := strings.CutPrefix(text, "http: TLS handshake error from "); ok {
		remote, why, _ := strings.Cut(refused, ": ")
		if err := l.audit.Connection("--http", remote, errors.New(why)); err != nil {
			l.log.Error("the audit log cannot be written", "error", err)
		}
	}
	l.log.Debug(text)
	return len(b), nil
}

// URL is where the server is reached.
func (srv *Server) URL() string {
	if srv.opts.TLSDir != "" {
		return "https://" + srv.l.Addr().String()
	}
	return "http://" + srv.l.Addr().String()
}

// FirstToken is the file with the first token; "" if there were tokens before this start.
func (srv *Server) FirstToken() string { return srv.first }

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

// Handler answers the routes of ServeHTTP without asking for a token, and to the names of
// loopback alone: for a server of the program's own, which decides who gets so far.
func (s *Session) Handler() http.Handler {
	h, err := (&auth.Guard{Log: s.opts.Logger}).Handler(s.routes())
	if err != nil { // TestEveryRouteHasAPolicy
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			auth.Refuse(w, http.StatusInternalServerError, err.Error())
		})
	}
	return h
}

// routes are all ways in, with who may take them.
func (s *Session) routes() []auth.Route {
	if s.otherRoutes != nil {
		return s.otherRoutes()
	}
	return s.sessionRoutes()
}

// sessionRoutes are those into a session.
func (s *Session) sessionRoutes() []auth.Route {
	reg := prometheus.NewRegistry()
	reg.MustRegister(&metrics{s: s}, collectors.NewGoCollector())
	return []auth.Route{
		{Pattern: "GET /healthz", Need: auth.Public, Serve: s.health},
		{Pattern: "GET /readyz", Need: auth.Public, Serve: func(w http.ResponseWriter, _ *http.Request) { ready(w, true) }},
		{Pattern: "GET /metrics", Need: auth.Viewer, Serve: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP},
		{Pattern: "GET /api/queries", Need: auth.Viewer, Serve: func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.queryStates()) }},
		{Pattern: "GET /api/queries/{name}", Need: auth.Viewer, Serve: s.oneQuery},
		{Pattern: "GET /api/queries/{name}/watermark", Need: auth.Viewer, Serve: s.queryWatermark},
		{Pattern: "GET /api/queries/{name}/batches/{batch}", Need: auth.Viewer, Serve: s.queryBatch},
		{Pattern: "GET /api/queries/{name}/state", Need: auth.Operator, Serve: s.listState},
		{Pattern: "GET /api/queries/{name}/state/{operator}", Need: auth.Operator, Serve: s.liveState},
		{Pattern: "GET /api/queries/{name}/savepoints", Need: auth.Viewer, Serve: s.listSavepoints},
		{Pattern: "POST /api/queries/{name}/savepoints/{savepoint}", Need: auth.Operator, Serve: s.postSavepoint},
		{Pattern: "POST /api/queries/{name}/parallelism", Need: auth.Operator, Serve: s.postParallelism},
	}
}

// health is 200 while every query runs or has ended well, else 503. It is for probes,
// which have no token; the names of those that failed are for who may read.
func (s *Session) health(w http.ResponseWriter, r *http.Request) {
	failed := []string{}
	for _, q := range s.Queries() {
		if q.Status() == "failed" {
			failed = append(failed, q.Name())
		}
	}
	if len(failed) > 0 {
		said := map[string]any{"status": "failed"}
		if who, _ := auth.From(r.Context()); who.Role >= auth.Viewer {
			said["queries"] = failed
		}
		writeJSON(w, http.StatusServiceUnavailable, said)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// ready is 200 while a process does its part, whatever has become of its queries: where it
// is one of several, the next one may be taken away.
func ready(w http.ResponseWriter, yes bool) {
	if !yes {
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "waiting"})
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
	Quota      Quota      `json:"quota"`
	Totals     Totals     `json:"totals"`
	Recovery   *Recovery  `json:"recovery,omitempty"`
	Standbys   *Standbys  `json:"standbys,omitempty"`
	Progress   *Progress  `json:"lastProgress"`
	Recent     []Progress `json:"recentProgress,omitempty"`
}

func (q *Query) state(recent bool) queryState {
	st := queryState{
		Name: q.Name(), ID: q.ID(), Status: q.Status(), Trigger: q.def.trigger.String(), Mode: string(q.def.mode),
		Checkpoint: q.Checkpoint(), Quota: q.Quota(), Totals: q.Totals(),
	}
	if p, ok := q.drv.Progress(); ok {
		st.Progress = &p
	}
	if r, ok := q.Recovery(); ok {
		st.Recovery = &r
	}
	if s, ok := q.Standbys(); ok {
		st.Standbys = &s
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
