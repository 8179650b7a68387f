package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

// Options say what a query is and on what it runs. What is handed over here
// stays the caller's, who closes it after the query has ended.
type Options struct {
	// Name is the user's name for the query, for events; Query its ID, from the
	// checkpoint's metadata.
	Name  string
	Query batch.QueryID
	// Plan is what to run. A stream needs Plan.Stream.
	Plan *physical.Plan
	// PlanHash is compared with the log's; default Plan.Key. It must change with
	// whatever changes results.
	PlanHash string

	// DeployKey names this run of the query on its workers, for who has to register
	// the workers' halves of its connectors first. It must differ from that of any
	// other run; default: drawn from the query, the plan and the run.
	DeployKey string

	// Sources and Sinks hold one entry for each of the plan's, by name within the plan.
	Sources map[string]sources.Source
	Sinks   map[string]sinks.Sink
	// Transactional names the sinks that keep (query, batch, digest) with their
	// output and whose prepared output does not survive a crash.
	Transactional map[string]bool
	// Volatile names the sinks whose prepared output does not survive the process
	// and which remember nothing beyond it (sinks.Connector.Volatile). After a
	// crash the last committed batch is run again for them and shown again, unless
	// a checkpoint proves that it was shown.
	Volatile map[string]bool
	// Limits bounds what one batch takes from a source, besides the source's own
	// options. This is the back-pressure: without any, one batch may be as large
	// as all that has come.
	Limits map[string]sources.Limit
	// IdleTimeout is after how long without a row a partition of a source stops
	// holding the watermark back; 0: never.
	IdleTimeout time.Duration

	// Log is the batch log, open and locked.
	Log BatchLog
	// NextLife, if not nil, opens the log for each life of the query but the first, with the
	// life's term: the log hands terms out, and refuses what an older life still appends.
	NextLife func(ctx context.Context) (BatchLog, batch.Term, error)
	// Roots returns manifests whose files must stay besides those of the checkpoints
	// that the log keeps: savepoints. An error keeps everything. nil: there are none.
	Roots func() ([][]byte, error)
	// Lookers hold one entry for each of the plan's tables that are looked up, by name
	// within the plan. Workers ask for their rows by way of Transport. They are told before
	// which batch none will be run again, once that is durable.
	Lookers map[string]sources.Looker
	// StateDir is where workers put state checkpoints; handed on in Deploy.
	StateDir string
	// Reclaim deletes files of the state that workers have named as needless, where workers
	// delete none themselves; nil: they do.
	Reclaim func(ctx context.Context, files []string) error
	// Transport is the query's own node: its inbox is read by this query alone.
	Transport transport.Transport
	// Workers run the tasks. Partition p of a stage runs on Workers[p mod n].
	Workers []transport.NodeID
	// Members, if not nil, are workers that come and go: each life of the query takes
	// those that are there, and Workers is not used.
	Members *Members
	// Auto lets each life have as many partitions as its workers have slots. It needs Members.
	Auto bool
	// Deployed is what workers are handed as the plan, where it is not Plan itself.
	Deployed any
	// StaffRetry is how long a query waits until it hands its plan again to workers
	// that would not take it; default 250 ms.
	StaffRetry time.Duration
	// SettleTime is how long a query waits, when a worker has joined, for others that
	// come at the same time; default 500 ms.
	SettleTime time.Duration
	// Standbys is how many workers besides its home have a copy of each shard of state,
	// where workers come and go; 0: none. They take memory for it, and time.
	Standbys int
	// ReturnTime is how long a driver that begins waits for the workers that had the
	// query's state under the one before; default 2 s.
	ReturnTime time.Duration
	// TaskDeathsMax is how many workers may be lost while they run one task of one
	// batch before the query is ended for it; default 3.
	TaskDeathsMax int
	// Parallelism is the number of partitions of Hash stages; default 1. State is
	// cut by it, and cut anew when it differs from the last run's.
	Parallelism int
	// TasksPerWorker is how many tasks are under way on a worker at most;
	// default 64. It must stay below the transport's queues.
	TasksPerWorker int
	// TaskAttemptsMax is how often a task whose failure may pass is tried within
	// one attempt at its batch; default 3.
	TaskAttemptsMax int
	// TaskTimeout is how long a task may take before it is cancelled and tried
	// again; 0: for ever. Within one process there is no need for it: tasks end.
	TaskTimeout time.Duration
	// Speculation begins stragglers a second time.
	Speculation Speculation
	// Quota is what the query may have of each worker.
	Quota transport.Quota
	// Measure has the results of tasks tell what each operator holds and spills.
	Measure bool
	// SlotsMax is how many tasks of the query are under way at most, on all workers
	// together; 0: as many as TasksPerWorker lets.
	SlotsMax int
	// Admission, if not nil, says when the query may begin.
	Admission *Admission
	// CancelWait is how long cancelled tasks may take to answer before they are
	// given up; default 5 s.
	CancelWait time.Duration

	// Protocol is handed to the machine: trigger, watermark policy, zone,
	// checkpoints, retries. Query, PlanHash, Sources and Sinks are filled in here.
	Protocol microbatch.Options

	// Observed makes metrics by name of what the tasks of a batch have observed, for its
	// progress; nil: nobody asks for them.
	Observed func(parts []batch.Observed) map[string]any
	// Listener sees every event; nil: nobody does.
	Listener Listener
	// Clock is what time is read from; default the machine's.
	Clock clock.Clock
}

func (o Options) withDefaults() Options {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.Parallelism, 1)
	def(&o.TasksPerWorker, 64)
	def(&o.TaskAttemptsMax, 3)
	def(&o.TaskDeathsMax, 3)
	o.Speculation = o.Speculation.withDefaults()
	if o.StaffRetry == 0 {
		o.StaffRetry = staffRetry
	}
	if o.SettleTime == 0 {
		o.SettleTime = settleTime
	}
	if o.ReturnTime == 0 {
		o.ReturnTime = returnTime
	}
	if o.CancelWait == 0 {
		o.CancelWait = 5 * time.Second
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	if o.PlanHash == "" && o.Plan != nil {
		o.PlanHash = o.Plan.Key
	}
	return o
}

// Validate joins every fault of the options.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Plan == nil {
		return errors.New("driver options: there is no plan")
	}
	for _, s := range o.Plan.Sources {
		if o.Sources[s.Name] == nil {
			bad("source %q of the plan is missing", s.Name)
		}
	}
	for _, s := range o.Plan.Sinks {
		if o.Sinks[s.Name] == nil {
			bad("sink %q of the plan is missing", s.Name)
		}
	}
	for i, s := range o.Plan.Stages {
		if s.ID != i {
			bad("stage %d stands at position %d", s.ID, i)
		}
		for _, in := range s.Inputs {
			if in >= i {
				bad("stage %d reads stage %d", i, in)
			}
		}
	}
	if o.Transport == nil || len(o.Workers) == 0 && o.Members == nil {
		bad("there is no transport, or no worker")
	}
	if o.Parallelism < 1 || o.Parallelism > batch.KeyGroups {
		bad("parallelism %d is not between 1 and %d", o.Parallelism, batch.KeyGroups)
	}
	if o.Auto && o.Members == nil {
		bad("only workers that come and go decide the parallelism")
	}
	if o.TasksPerWorker < 1 || o.TaskAttemptsMax < 1 || o.CancelWait < 0 || o.TaskTimeout < 0 {
		bad("limits must not be negative")
	}
	if o.SlotsMax < 0 || o.Quota.Weight < 0 || o.Quota.Memory < 0 {
		bad("quotas must not be negative")
	}
	errs = append(errs, o.Speculation.Validate())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("driver options: %w", err)
	}
	return nil
}

// machine returns the options of the protocol core.
func (o Options) machine() microbatch.Options {
	m := o.Protocol
	m.Query, m.PlanHash = o.Query, o.PlanHash
	m.Sources, m.Sinks = nil, nil
	m.Stateless = true
	for _, s := range o.Plan.Stages {
		m.Stateless = m.Stateless && len(s.Stateful) == 0
	}
	delays := map[string]time.Duration{}
	timed := map[string]bool{}
	for _, w := range o.Plan.Watermarks {
		delays[w.Source], timed[w.Source] = time.Duration(w.Delay)*time.Microsecond, true
	}
	for _, s := range o.Plan.Sources {
		_, pushes := o.Sources[s.Name].(sources.Notifier)
		spec := microbatch.SourceSpec{Name: s.Name, Static: !s.Stream, Lookup: s.Lookup, Pushes: pushes && s.Stream}
		if s.Stream && timed[s.Name] {
			spec.EventTime, spec.Delay, spec.IdleTimeout = true, delays[s.Name], o.IdleTimeout
		}
		m.Sources = append(m.Sources, spec)
	}
	for _, s := range o.Plan.Sinks {
		m.Sinks = append(m.Sinks, microbatch.SinkSpec{Name: s.Name, Transactional: o.Transactional[s.Name] || o.Volatile[s.Name]})
	}
	return m
}
