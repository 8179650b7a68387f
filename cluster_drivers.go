package sluice

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/auth"
)

// DriverState is a driver of a group, as one of them knows it.
type DriverState struct {
	ID      string `json:"id"`
	Address string `json:"address"`          // for workers and drivers
	Client  string `json:"client,omitempty"` // URL for clients; known of who has led
	Engine  string `json:"version,omitempty"`
	Leads   bool   `json:"leads"`
}

// DriversState is what a driver knows of its group.
type DriversState struct {
	Self    string        `json:"self"`
	Cluster string        `json:"cluster,omitempty"`
	Leader  string        `json:"leader,omitempty"`
	Term    uint64        `json:"term"`
	Applied uint64        `json:"applied"` // entry of the replicated log
	Drivers []DriverState `json:"drivers"`
	// Waiting is why this driver is in no group yet.
	Waiting string `json:"waiting,omitempty"`
	// Failed is why it can go on no more.
	Failed string `json:"failed,omitempty"`
}

// Drivers tells what this driver knows of its group; of one that is alone, itself.
func (d *Driver) Drivers() (DriversState, error) {
	if d.group == nil {
		return DriversState{Self: d.opts.ID, Leader: d.opts.ID, Drivers: []DriverState{{ID: d.opts.ID, Address: d.Addr(), Engine: cmp.Or(d.opts.Build, Version), Leads: true}}}, nil
	}
	s, err := d.group.node.Status()
	out := DriversState{Self: d.opts.ID, Cluster: s.Cluster, Leader: s.Leader.ID, Term: s.Term, Applied: s.Applied, Drivers: []DriverState{}}
	for _, v := range s.Voters {
		out.Drivers = append(out.Drivers, DriverState{ID: v.ID, Address: v.Address, Client: v.Client, Engine: v.Engine, Leads: v.ID == s.Leader.ID})
	}
	if s.Waiting != nil {
		out.Waiting = s.Waiting.Error()
	}
	if s.Failed != nil {
		out.Failed = s.Failed.Error()
	}
	return out, err
}

// Leads reports whether this driver runs the pipelines: of one that is alone, always.
func (d *Driver) Leads() bool { return d.group == nil || d.group.current() != nil }

// DriversChange is what can be done to a group.
type DriversChange struct {
	// Action is add, replace, remove, handover or forget.
	Action string `json:"action"`
	// Address is where the driver is that is added, or that takes the place of one that
	// has lost its disk.
	Address string `json:"address,omitempty"`
	// ID is the driver that is removed.
	ID string `json:"id,omitempty"`
	// Query is the query whose batch log is forgotten.
	Query string `json:"query,omitempty"`
}

var errAlone = batch.UserErrorf("this driver is alone: only a group of drivers (sluice driver --peers) has members and a leader")

// ChangeDrivers changes the group. Only the leader can.
func (d *Driver) ChangeDrivers(ctx context.Context, c DriversChange) error {
	if d.group == nil {
		return errAlone
	}
	if _, err := d.leading(ctx); err != nil {
		return err
	}
	node := d.group.node
	switch c.Action {
	case "add":
		_, err := node.AddDriver(ctx, c.Address)
		return err
	case "replace":
		_, err := node.ReplaceDriver(ctx, c.Address)
		return err
	case "remove":
		return node.RemoveDriver(ctx, c.ID)
	case "handover":
		return node.Handover(ctx)
	case "forget":
		return d.forgetQuery(ctx, c.Query)
	}
	return batch.UserErrorf("action %q: want add, replace, remove, handover or forget", c.Action)
}

// forgetQuery has the drivers forget the log of a query that no pipeline has.
func (d *Driver) forgetQuery(ctx context.Context, name string) error {
	d.submits.Lock()
	defer d.submits.Unlock()
	for _, q := range d.Queries() {
		if strings.EqualFold(q.Name(), name) {
			return batch.UserErrorf("query %s is of a pipeline: remove that first", q.Name())
		}
	}
	for _, p := range d.list() {
		if p.s == nil {
			return batch.UserErrorf("pipeline %s could not be started, and may have query %s: remove it first", p.Name, name)
		}
	}
	return d.group.logs.Forget(ctx, name)
}

// setClient tells the others where clients find this driver: at addr, or where its server
// listens.
func (d *Driver) setClient(srv *Server, advertise string) {
	if d.group == nil {
		return
	}
	scheme, at, _ := strings.Cut(srv.URL(), "://")
	if advertise != "" {
		at = advertise
	} else if host, port, err := net.SplitHostPort(at); err == nil {
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			if own, _, err := net.SplitHostPort(d.Addr()); err == nil {
				at = net.JoinHostPort(own, port)
			}
		}
	}
	d.group.node.SetClient(scheme + "://" + at)
}

// driversRoute is answered by each driver for itself.
const driversRoute = "GET /api/drivers"

// groupRoutes are those of a driver that is one of several: what only the leader can
// answer is sent there.
func (d *Driver) groupRoutes(routes []auth.Route) []auth.Route {
	for i, r := range routes {
		if strings.Contains(r.Pattern, " /api/") && r.Pattern != driversRoute {
			routes[i].Serve = func(w http.ResponseWriter, req *http.Request) { d.atLeader(w, req, r.Serve) }
		}
	}
	return routes
}

// leaderWait is how long a request waits for pipelines that a new leader begins.
const leaderWait = 5 * time.Second

// atLeader has the leader answer.
func (d *Driver) atLeader(w http.ResponseWriter, r *http.Request, serve http.HandlerFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), leaderWait)
	defer cancel()
	if _, err := d.leading(ctx); err != nil {
		d.sendOn(w, r, err)
		return
	}
	serve(w, r)
}

// retryAfter is when it is worth asking again who leads, in seconds.
const retryAfter = 1

// sendOn answers a request that this driver cannot: by where the leader is, if that is known.
func (d *Driver) sendOn(w http.ResponseWriter, r *http.Request, err error) {
	leader := d.group.node.Leader()
	said := map[string]string{"error": err.Error()}
	if leader.ID == "" || leader.ID == d.opts.ID || leader.Client == "" {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		writeJSON(w, http.StatusServiceUnavailable, said)
		return
	}
	said["leader"] = leader.ID
	w.Header().Set("Location", leader.Client+r.URL.RequestURI())
	writeJSON(w, http.StatusTemporaryRedirect, said)
}

func (d *Driver) getDrivers(w http.ResponseWriter, _ *http.Request) {
	s, err := d.Drivers()
	if err != nil {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, s)
}

func (d *Driver) postDrivers(w http.ResponseWriter, r *http.Request) {
	var c DriversChange
	dec := json.NewDecoder(io.LimitReader(r.Body, httpBodyMax))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		d.refuse(w, batch.UserErrorf(`want {"action": ..}: %w`, err))
		return
	}
	if err := d.ChangeDrivers(r.Context(), c); err != nil {
		d.refuse(w, err)
		return
	}
	d.getDrivers(w, r)
}

// groupHealth is of a driver among several: whether it leads or follows it is well, and
// so it is while it waits for the others, who may be waiting for it to be well.
func (d *Driver) groupHealth(w http.ResponseWriter) bool {
	if d.group == nil {
		return false
	}
	s, err := d.group.node.Status()
	role := "follower"
	switch {
	case err != nil || s.Failed != nil:
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "failed"})
		return true
	case d.Leads():
		return false // what it runs decides
	case s.Leader.ID == "":
		role = "waiting"
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "role": role})
	return true
}

// follows reports whether the driver knows who leads: then the group has a leader and a
// majority, of which this driver is or will be.
func (g *group) follows() bool {
	s, err := g.node.Status()
	return err == nil && s.Failed == nil && s.Leader.ID != ""
}

// groupMetrics are those of a driver among several.
type groupMetrics struct{ node *raftlog.Node }

func groupDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("sluice_driver_"+name, help, nil, nil)
}

var (
	descLeads   = groupDesc("leads", "Whether this driver leads its group.")
	descLeader  = groupDesc("knows_leader", "Whether this driver knows who leads.")
	descTerm    = groupDesc("term", "Term of the group, as this driver knows it.")
	descNewest  = groupDesc("log_newest_index", "Index of the newest entry of the replicated log on this driver's disk.")
	descCommit  = groupDesc("log_committed_index", "Index of the newest entry that this driver knows to be on a majority.")
	descApplied = groupDesc("log_applied_index", "Index of the newest entry that is applied.")
	descContact = groupDesc("leader_contact_seconds", "How long ago this driver heard of its leader; 0 if it leads.")
	descVoters  = groupDesc("members", "Drivers of the group.")
	descFailed  = groupDesc("failed", "Whether this driver can go on no more.")

	groupDescs = []*prometheus.Desc{descLeads, descLeader, descTerm, descNewest, descCommit, descApplied, descContact, descVoters, descFailed}
)

// Describe implements prometheus.Collector.
func (m groupMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range groupDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m groupMetrics) Collect(ch chan<- prometheus.Metric) {
	s, err := m.node.Status()
	if err != nil {
		s.Failed = errors.Join(s.Failed, err)
	}
	set := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	is := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	set(descLeads, is(s.Leads))
	set(descLeader, is(s.Leader.ID != ""))
	set(descTerm, float64(s.Term))
	set(descNewest, float64(s.Newest))
	set(descCommit, float64(s.Commit))
	set(descApplied, float64(s.Applied))
	contact := 0.0
	if !s.Leads && !s.Contact.IsZero() {
		contact = time.Since(s.Contact).Seconds()
	}
	set(descContact, contact)
	set(descVoters, float64(len(s.Voters)))
	set(descFailed, is(s.Failed != nil))
}
