package microbatch

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// WatermarkPolicy says which source's time counts when there are several.
type WatermarkPolicy int

// The policies.
const (
	MinWatermark WatermarkPolicy = iota // the slowest source, the default: no source's rows become late by another
	MaxWatermark                        // the fastest source
)

// String names the policy as SET watermark.policy does.
func (p WatermarkPolicy) String() string {
	if p == MaxWatermark {
		return "max"
	}
	return "min"
}

// SourceSpec is what the machine knows of a source.
type SourceSpec struct {
	Name   string
	Static bool // pinned by version in every plan; its changes start no batch
	// Lookup of a static source: every batch meets the version that there is when the
	// batch is planned, so that it is asked for once the batch is about to be.
	Lookup bool
	// Pushes says that the driver sends SourceAvailable or SourceChanged by itself
	// when there is more to read. Other sources are asked again every
	// Options.PollInterval.
	Pushes bool
	// EventTime says that the source has a watermark, Delay behind its highest event time.
	EventTime bool
	Delay     time.Duration
	// IdleTimeout is after how long without a row a partition of the source
	// stops holding the others back. Zero: never.
	IdleTimeout time.Duration
}

// SinkSpec is what the machine knows of a sink.
type SinkSpec struct {
	Name string
	// Transactional says that the sink keeps (query, batch, digest) with its
	// output and that prepared output does not survive a crash. It is asked what
	// it holds before anything is revealed again. Every batch is committed in
	// it, also one without rows.
	Transactional bool
}

// Options configure a Machine. The zero value of each field but Query, PlanHash
// and the names is usable.
type Options struct {
	Query    batch.QueryID
	PlanHash string
	// Term is this leadership's. Zero takes the next after the newest in the
	// log, for a driver that holds the log's lock.
	Term    batch.Term
	Sources []SourceSpec
	Sinks   []SinkSpec
	Trigger Trigger
	Policy  WatermarkPolicy
	Zone    *time.Location // of CRON; UTC if nil
	// KeyGroups is fixed at the first start; batch.KeyGroups if 0.
	KeyGroups int
	// CloseAtEnd makes the last batch of ONCE and AVAILABLE NOW close every
	// window, as a batch query does; there is one even if there was no input.
	CloseAtEnd bool
	// Stateless says that no operator keeps state. Recovery then runs no batch
	// again but the last, where its output is missing: input that was committed
	// may be gone.
	Stateless bool

	// AttemptsMax bounds the attempts at a batch whose failure may pass, RevealTriesMax
	// and AskTriesMax those at a reveal and at asking a source; defaults 4, 1000, 1000:
	// a sink or source that is down for hours is waited for.
	AttemptsMax, RevealTriesMax, AskTriesMax int
	// RetryBackoff is the pause before the first retry, doubled up to
	// RetryBackoffMax; defaults 50 ms and 10 s.
	RetryBackoff, RetryBackoffMax time.Duration
	// PollInterval is how often a source that does not push is asked again
	// while it has nothing; default 10 ms.
	PollInterval time.Duration

	// A checkpoint is asked for every CheckpointBatches batches (0: not by
	// count) and every CheckpointInterval (default 10 s; negative: not by time).
	CheckpointBatches  int
	CheckpointInterval time.Duration
	// CheckpointsKept is how many checkpoints the log keeps, so that a damaged
	// one has one to fall back on; default 2.
	CheckpointsKept int
	// CheckpointsAge keeps besides these every checkpoint whose batch is younger,
	// by the now() of its plan, up to 1,000 checkpoints; default 0: by number alone.
	CheckpointsAge time.Duration
	// WholeAtStart makes a batch without data follow a recovery: a sink that forgets
	// is given the whole result by each batch, and would be empty until data comes.
	WholeAtStart bool
	// NoFinalCheckpoint ends the query without writing a last checkpoint first,
	// so that the next start replays from an older one.
	NoFinalCheckpoint bool
	// Goal, if not nil, is how far a run reads that another machine has begun.
	Goal *Goal
}

func (o Options) withDefaults() Options {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	defd := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.KeyGroups, batch.KeyGroups)
	def(&o.AttemptsMax, 4)
	def(&o.RevealTriesMax, 1000)
	def(&o.AskTriesMax, 1000)
	def(&o.CheckpointsKept, 2)
	defd(&o.RetryBackoff, 50*time.Millisecond)
	defd(&o.RetryBackoffMax, 10*time.Second)
	defd(&o.PollInterval, 10*time.Millisecond)
	defd(&o.CheckpointInterval, 10*time.Second)
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	return o
}

// Validate joins every fault of the options.
func (o Options) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, batch.UserErrorf(format, args...)) }
	if o.Query == "" {
		bad("a query needs an ID")
	}
	if o.PlanHash == "" {
		bad("query %q needs the hash of its plan", o.Query)
	}
	if o.Policy != MinWatermark && o.Policy != MaxWatermark {
		bad("watermark.policy must be min or max")
	}
	seen := map[string]bool{}
	for _, s := range o.Sources {
		if s.Name == "" || seen["source "+s.Name] {
			bad("source name %q is empty or given twice", s.Name)
		}
		seen["source "+s.Name] = true
		if s.Delay < 0 || s.IdleTimeout < 0 {
			bad("source %q: the watermark's delay and idle timeout must not be negative", s.Name)
		}
		if s.Static && s.EventTime {
			bad("source %q is static and cannot carry a watermark", s.Name)
		}
	}
	for _, s := range o.Sinks {
		if s.Name == "" || seen["sink "+s.Name] {
			bad("sink name %q is empty or given twice", s.Name)
		}
		seen["sink "+s.Name] = true
	}
	for _, n := range []int{o.AttemptsMax, o.RevealTriesMax, o.AskTriesMax, o.CheckpointsKept, o.CheckpointBatches, o.KeyGroups} {
		if n < 0 {
			bad("limits must not be negative")
			break
		}
	}
	if o.CheckpointsAge < 0 || o.RetryBackoff < 0 || o.RetryBackoffMax < 0 || o.PollInterval < 0 {
		bad("pauses must not be negative")
	}
	if err := o.Trigger.Validate(); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("query options: %w", err)
	}
	return nil
}

// sourceIndex returns the position of a source, -1 if there is none of that name.
func (o *Options) sourceIndex(name string) int {
	for i := range o.Sources {
		if o.Sources[i].Name == name {
			return i
		}
	}
	return -1
}
