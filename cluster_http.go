package sluice

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/auth"
)

// ServeHTTP serves the driver at addr, HOST:PORT, until the server is closed: what
// Session.ServeHTTP does for the queries of all pipelines, /api/pipelines and
// /api/workers. Beyond loopback it is an error not to have TLS and tokens.
func (d *Driver) ServeHTTP(addr string, o HTTPOptions) (*Server, error) {
	srv, err := d.base.ServeHTTP(addr, o)
	if err == nil {
		d.setClient(srv, o.Advertise)
	}
	return srv, err
}

// routes are all ways into a driver, with who may take them.
func (d *Driver) routes() []auth.Route {
	reg := prometheus.NewRegistry()
	reg.MustRegister(&metrics{s: d.base, queries: d.Queries}, collectors.NewGoCollector())
	out := []auth.Route{
		{Pattern: "GET /healthz", Need: auth.Public, Serve: d.health},
		{Pattern: "GET /readyz", Need: auth.Public, Serve: func(w http.ResponseWriter, _ *http.Request) { ready(w, d.group == nil || d.group.follows()) }},
		{Pattern: "GET /metrics", Need: auth.Viewer, Serve: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP},
		{Pattern: "GET /api/workers", Need: auth.Viewer, Serve: func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, d.Workers()) }},
		{Pattern: "GET /api/pipelines", Need: auth.Viewer, Serve: func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, d.Pipelines()) }},
		{Pattern: "GET /api/pipelines/{name}", Need: auth.Viewer, Serve: d.onePipeline},
		{Pattern: "POST /api/pipelines/{name}", Need: auth.Operator, Serve: d.postPipeline},
		{Pattern: "DELETE /api/pipelines/{name}", Need: auth.Operator, Serve: d.deletePipeline},
		{Pattern: "GET /api/queries", Need: auth.Viewer, Serve: d.queryStates},
		{Pattern: driversRoute, Need: auth.Viewer, Serve: d.getDrivers},
		{Pattern: "POST /api/drivers", Need: auth.Admin, Serve: d.postDrivers},
	}
	for _, r := range d.base.sessionRoutes() {
		if !strings.Contains(r.Pattern, "/api/queries/{name}") {
			continue
		}
		out = append(out, auth.Route{Pattern: r.Pattern, Need: r.Need, Serve: func(w http.ResponseWriter, req *http.Request) { d.hand(r.Pattern, w, req) }})
	}
	if d.group != nil {
		reg.MustRegister(groupMetrics{d.group.node})
		return d.groupRoutes(out)
	}
	return out
}

// hand gives a request about a query to the session that runs it.
func (d *Driver) hand(pattern string, w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	for _, p := range d.list() {
		if p.s == nil {
			continue
		}
		if _, ok := p.s.Query(name); !ok {
			continue
		}
		for _, own := range p.s.sessionRoutes() {
			if own.Pattern == pattern {
				own.Serve(w, r)
				return
			}
		}
	}
	writeJSON(w, http.StatusNotFound, map[string]string{"error": fmt.Sprintf("there is no query %q", name)})
}

// health is 200 while every query runs or has ended well, else 503.
func (d *Driver) health(w http.ResponseWriter, _ *http.Request) {
	if d.groupHealth(w) {
		return
	}
	for _, q := range d.Queries() {
		if q.Status() == "failed" {
			writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "failed"})
			return
		}
	}
	for _, p := range d.list() {
		if p.err != nil {
			writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "failed"})
			return
		}
	}
	said := map[string]string{"status": "ok"}
	if d.group != nil {
		said["role"] = "leader"
	}
	writeJSON(w, http.StatusOK, said)
}

func (d *Driver) queryStates(w http.ResponseWriter, _ *http.Request) {
	out := []queryState{}
	for _, q := range d.Queries() {
		out = append(out, q.state(false))
	}
	writeJSON(w, http.StatusOK, out)
}

func (d *Driver) onePipeline(w http.ResponseWriter, r *http.Request) {
	for _, p := range d.list() {
		if p.Name == r.PathValue("name") {
			writeJSON(w, http.StatusOK, p.describe(true))
			return
		}
	}
	d.refuse(w, errNoPipeline)
}

// postPipeline takes a script as its body.
func (d *Driver) postPipeline(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, pipelineMax))
	if err != nil {
		d.refuse(w, batch.UserErrorf("read the pipeline: %w", err))
		return
	}
	p, err := d.Submit(r.Context(), r.PathValue("name"), string(body))
	if err != nil {
		d.refuse(w, err)
		return
	}
	writeJSON(w, http.StatusCreated, p)
}

func (d *Driver) deletePipeline(w http.ResponseWriter, r *http.Request) {
	if err := d.Remove(r.Context(), r.PathValue("name")); err != nil {
		d.refuse(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"removed": r.PathValue("name")})
}

func (d *Driver) refuse(w http.ResponseWriter, err error) {
	if d.group != nil && errors.Is(err, raftlog.ErrNotLeader) {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	code := http.StatusInternalServerError
	kind, _ := batch.KindOf(err)
	switch {
	case errors.Is(err, errNoPipeline):
		code = http.StatusNotFound
	case kind == batch.User || IsSyntaxOrPlanError(err):
		code = http.StatusBadRequest
	}
	writeJSON(w, code, map[string]string{"error": err.Error()})
}
