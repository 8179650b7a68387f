package microbatch

import (
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// Machine decides for one query under one term. It is not safe for concurrent use.
//
// Step records what happened and then decide pushes every decision as far as it
// goes. Decisions look at the state alone, so their order in decide does not
// matter for safety, only for how much goes into one Ready.
type Machine struct {
	opt  Options
	term batch.Term
	// before is the newest term in the log that is not this one.
	before batch.Term
	now    batch.EventTime
	// reading makes now of the clock's time.
	reading reading

	history *history // while the log is being read and replayed
	replay  replay

	ended    bool
	started  bool // Started is durable
	startAt  batch.EventTime
	stopping bool

	appended, durable uint64 // sequence numbers of records handed out, and known durable
	startSeq          uint64

	lastPlan  *Planned   // newest plan made or found
	lastDone  *Committed // newest batch whose results are in, whether its record is durable or not
	committed batch.ID   // newest batch whose Committed is durable
	cur       *flight    // the oldest batch that is not durably committed
	next      *flight    // planned along with the commit of cur

	sources []sourceState
	marks   []Mark
	asks    uint64 // last Ask.Seq
	trig    triggerState
	drain   *drain
	queued  []int // tokens of ProcessAll for the drain after this one
	sizer   sizer
	pace    pace
	reveal  revealState
	check   checkpointState

	out        Ready
	has        bool // out holds effects
	moved      bool // a decision may allow another one
	seenStatus Status
	seenWake   batch.EventTime
}

// flight is a batch from its plan to its durable commit.
type flight struct {
	plan    Planned
	planSeq uint64 // 0: durable before this term
	state   flightState
	attempt int
	retryAt batch.EventTime
	ranAt   batch.EventTime
	// plannedAt is when this term made the plan.
	plannedAt batch.EventTime
	more      bool // a limit left data behind
	result    Result
	seq       uint64 // of its Committed
}

type flightState int

const (
	planning   flightState = iota // the plan is not durable yet
	running                       // tasks run
	backingOff                    // waiting to try again
	prepared                      // waiting for the batch before to be revealed
	committing                    // Committed is not durable yet
)

// New makes a machine that waits for the log's records.
func New(opt Options) (*Machine, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	m := &Machine{opt: opt.withDefaults(), now: batch.NoTime, reading: reading{floor: batch.NoTime}, committed: batch.None, history: &history{adopted: batch.None}}
	m.out = emptyReady()
	m.seenWake = batch.EndOfTime
	m.reveal.done, m.reveal.retryAt = batch.None, batch.NoTime
	m.reveal.sinks = newSinks(len(m.opt.Sinks))
	m.check = newCheckpoints()
	m.sources = newSources(len(m.opt.Sources))
	m.sizer = newSizer(m.opt.Trigger)
	return m, m.trig.init(m.opt)
}

func emptyReady() Ready {
	return Ready{Prune: batch.None, Truncate: batch.None, WakeAt: batch.EndOfTime}
}

// Step tells the machine what happened. An error is final: Ready then says Done
// with the same error.
func (m *Machine) Step(ev Event) error {
	if m.ended {
		return nil // a late answer after the end does no harm
	}
	if err := m.take(ev); err != nil {
		m.end(err)
		return err
	}
	if err := m.decide(); err != nil {
		m.end(err)
		return err
	}
	return nil
}

func (m *Machine) take(ev Event) error {
	switch ev := ev.(type) {
	case Tick:
		m.now = max(m.now, m.reading.at(ev.At))
	case LogRecord:
		if m.history == nil || m.history.complete {
			return fmt.Errorf("%w: a log record after the log's end", ErrProtocol)
		}
		return m.history.add(ev.Record)
	case LogEnd:
		return m.logEnd()
	case LogAppended:
		if ev.Through > m.appended {
			return fmt.Errorf("%w: record %d is durable, %d were appended", ErrProtocol, ev.Through, m.appended)
		}
		m.durable = max(m.durable, ev.Through)
	case AppendFailed:
		return fmt.Errorf("append to the batch log: %w", ev.Err)
	case Restored:
		m.restored(ev.Batch)
	case RestoreFailed:
		return m.restoreFailed(ev)
	case SourceAvailable:
		return m.sourceAvailable(ev)
	case SourceChanged:
		return m.sourceChanged(ev.Source)
	case SourceFailed:
		return m.sourceFailed(ev)
	case BatchDone:
		return m.batchDone(ev)
	case BatchFailed:
		return m.batchFailed(ev)
	case Revealed:
		m.revealed(ev.Batch)
	case RevealFailed:
		return m.revealFailed(ev)
	case SinkHolds:
		return m.sinkHolds(ev)
	case SinkUnknown:
		return m.sinkUnknown(ev)
	case CheckpointDone:
		m.checkpointDone(ev)
	case CheckpointFailed:
		m.checkpointFailed(ev.Batch)
	case CheckpointRequested:
		m.check.wanted = max(m.check.wanted, m.check.latest.batch)
	case ProcessAll:
		m.queued = append(m.queued, ev.Token)
	case StopRequested:
		if ev.Abandon || !m.recovered() {
			m.end(nil)
		}
		m.stopping = true
	case TermLost:
		return fmt.Errorf("query %q, term %d: %w", m.opt.Query, m.term, batch.ErrFenced)
	default:
		return fmt.Errorf("%w: unknown event %T", ErrProtocol, ev)
	}
	return nil
}

// recovered reports whether the log is read, the term opened and state rebuilt.
func (m *Machine) recovered() bool { return m.started && m.history == nil }

// turnsMax bounds how often one event's decisions lead to further ones.
const turnsMax = 1000

func (m *Machine) decide() error {
	for range turnsMax {
		m.moved = false
		if err := m.turn(); err != nil {
			return err
		}
		if !m.moved || m.ended {
			return nil
		}
	}
	return fmt.Errorf("%w: decisions do not come to rest", ErrProtocol)
}

// turn takes each kind of decision once.
func (m *Machine) turn() error {
	if m.ended {
		return nil
	}
	if !m.recovered() {
		return m.decideRecovery()
	}
	if err := m.decideChecking(); err != nil {
		return err
	}
	m.decideReveal()
	m.decideCommit()
	m.decideTrigger()
	m.decideAsk()
	if err := m.decidePlan(); err != nil {
		return err
	}
	m.decideCheckpoint() // before decideRun: the version is taken before it changes
	m.decideRun()
	m.decideEnd()
	return nil
}

// append hands a record out and returns its sequence number.
func (m *Machine) append(r Record) uint64 {
	m.appended++
	m.out.Append = append(m.out.Append, r)
	m.out.AppendThrough = m.appended
	m.has = true
	return m.appended
}

// end drops what has not been taken: nothing may be started any more.
func (m *Machine) end(err error) {
	if m.ended {
		return
	}
	m.ended = true
	processed := m.out.Processed
	m.out = emptyReady()
	m.out.Done, m.out.Err, m.out.Processed = true, err, processed
	m.has = true
	m.history, m.drain = nil, nil
}

// Ready returns what is to be done; false if nothing is. It returns the same
// until Advance or the next Step.
func (m *Machine) Ready() (Ready, bool) {
	rd := m.out
	rd.Status = m.Status()
	rd.WakeAt = m.reading.clock(m.wakeAt())
	return rd, m.has || rd.Status != m.seenStatus || rd.WakeAt != m.seenWake
}

// Advance says that the driver has taken everything in rd upon itself.
func (m *Machine) Advance(rd Ready) {
	m.out = emptyReady()
	m.has = false
	m.seenStatus, m.seenWake = rd.Status, rd.WakeAt
}
