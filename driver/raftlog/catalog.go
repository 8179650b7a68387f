package raftlog

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// The refusals of the state machine. They are the same on every replica.
var (
	// ErrExists: another query has the name.
	ErrExists = errors.New("the query exists")
	// ErrNotFound: there is no such query.
	ErrNotFound = errors.New("there is no such query")
	// ErrRevision: somebody has altered the query since it was read.
	ErrRevision = errors.New("the query was altered in between")
	// ErrNotDropped: only what is to be dropped can be forgotten.
	ErrNotDropped = errors.New("the query is not to be dropped")
	// ErrGap: a record does not follow what the log holds.
	ErrGap = errors.New("the record does not follow what the batch log holds")
)

// Wanted is what the users want a query to be. What it is, its driver says.
type Wanted uint8

// The states that can be wanted.
const (
	Running Wanted = iota + 1
	Stopped
	Dropped // stopped for good; Forget removes it when its driver has cleaned up
)

// String names the state in lower case.
func (w Wanted) String() string {
	switch w {
	case Running:
		return "running"
	case Stopped:
		return "stopped"
	case Dropped:
		return "dropped"
	default:
		return fmt.Sprintf("state %d", uint8(w))
	}
}

// Spec is what of a query may be altered.
type Spec struct {
	Definitions string // statements that the text needs: tables, views, functions
	SQL         string
	Settings    []Setting // by key
	Checkpoint  string    // where its state lies
	PlanKey     string    // of the plan, so that a program that plans it otherwise is found out
	Sources     []string
	Sinks       []string
	Parallelism int // 0: the cluster decides
	Wanted      Wanted
}

// Setting is one SET.
type Setting struct{ Key, Value string }

// Query is an entry of the catalog. Its ID is drawn once and never made anew: sinks
// know what they hold by it (C22).
type Query struct {
	ID        batch.QueryID
	Name      string // unique, without regard to case
	Created   time.Time
	KeyGroups int
	Engine    string // version of the program that made it
	Spec
	Revision uint64     // grows with each Alter
	Term     batch.Term // of the newest life; 0: it never lived
	Assigned Assignment // of the newest life
}

// Assignment says who runs a life of a query.
type Assignment struct {
	Life       uint64 // number of the life; 0: none
	Workers    []WorkerEpoch
	Partitions []int // which of Workers runs partition p
}

// WorkerEpoch is a worker and which registration of it: what an older one of the same
// name still sends counts no more.
type WorkerEpoch struct {
	Worker string
	Epoch  uint64
}

// Driver is a member of the group.
type Driver struct {
	ID      string
	Disk    string // UUID of its disk
	Address string // of raft
	Client  string // where clients are sent when it leads
	Engine  string
}

func (s Spec) encode(e *encoder) {
	e.s(s.Definitions)
	e.s(s.SQL)
	e.u(uint64(len(s.Settings)))
	for _, kv := range s.Settings {
		e.s(kv.Key)
		e.s(kv.Value)
	}
	e.s(s.Checkpoint)
	e.s(s.PlanKey)
	e.list(s.Sources)
	e.list(s.Sinks)
	e.i(int64(s.Parallelism))
	e.u(uint64(s.Wanted))
}

func decodeSpec(d *decoder) (s Spec) {
	s.Definitions, s.SQL = d.s(), d.s()
	for range d.count() {
		s.Settings = append(s.Settings, Setting{d.s(), d.s()})
	}
	s.Checkpoint, s.PlanKey = d.s(), d.s()
	s.Sources, s.Sinks = d.list(), d.list()
	s.Parallelism = int(d.i())
	w := d.u()
	if d.err == nil && (w < uint64(Running) || w > uint64(Dropped) || s.Parallelism < 0) {
		d.fail(fmt.Errorf("parallelism %d or wanted state %d", s.Parallelism, w))
	}
	s.Wanted = Wanted(w)
	return s
}

func (q Query) encode(e *encoder) {
	e.s(string(q.ID))
	e.s(q.Name)
	e.i(q.Created.UnixMicro())
	e.u(uint64(q.KeyGroups))
	e.s(q.Engine)
	q.Spec.encode(e)
	e.u(q.Revision)
	e.u(uint64(q.Term))
	q.Assigned.encode(e)
}

func decodeQuery(d *decoder) (q Query) {
	q.ID, q.Name = batch.QueryID(d.s()), d.s()
	q.Created = time.UnixMicro(d.i()).UTC()
	groups := d.u()
	q.Engine = d.s()
	q.Spec = decodeSpec(d)
	q.Revision, q.Term = d.u(), batch.Term(d.u())
	q.Assigned = decodeAssignment(d)
	if d.err == nil && (q.ID == "" || q.Name == "" || groups == 0 || groups > 1<<16) {
		d.fail(fmt.Errorf("query %q with ID %q and %d key groups", q.Name, q.ID, groups))
	}
	q.KeyGroups = int(groups)
	return q
}

func (a Assignment) encode(e *encoder) {
	e.u(a.Life)
	e.u(uint64(len(a.Workers)))
	for _, w := range a.Workers {
		e.s(w.Worker)
		e.u(w.Epoch)
	}
	e.u(uint64(len(a.Partitions)))
	for _, p := range a.Partitions {
		e.u(uint64(p))
	}
}

func decodeAssignment(d *decoder) (a Assignment) {
	a.Life = d.u()
	for range d.count() {
		a.Workers = append(a.Workers, WorkerEpoch{d.s(), d.u()})
	}
	for range d.count() {
		p := d.u()
		if d.err == nil && p >= uint64(len(a.Workers)) {
			d.fail(fmt.Errorf("partition on worker %d of %d", p, len(a.Workers)))
		}
		a.Partitions = append(a.Partitions, int(p))
	}
	return a
}

func (v Driver) encode(e *encoder) {
	for _, s := range []string{v.ID, v.Disk, v.Address, v.Client, v.Engine} {
		e.s(s)
	}
}

func decodeDriver(d *decoder) (v Driver) {
	v = Driver{ID: d.s(), Disk: d.s(), Address: d.s(), Client: d.s(), Engine: d.s()}
	if d.err == nil && v.ID == "" {
		d.fail(errors.New("a driver without ID"))
	}
	return v
}
