package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// Options are what a seed draws for a life.
type Options struct {
	Seed       uint64
	Steps      int
	Trigger    microbatch.Trigger
	Policy     microbatch.WatermarkPolicy
	Sources    []SourceOptions
	Sinks      []bool // transactional
	Window     batch.EventTime
	Disorder   batch.EventTime // rows are at most so much behind the newest
	Late       bool            // and sometimes later than that
	CkBatches  int
	CkKept     int
	NoFinal    bool
	CloseAtEnd bool
	Idle       bool // a silent partition stops counting
	Raft       bool // the log is replicated: what no majority holds goes with its leader
	Faults     Faults
}

// SourceOptions are those of one source.
type SourceOptions struct {
	Limit  int
	Pushes bool
	Parts  int
}

// Faults says which faults exist, and how often each is drawn, in 1/1000 per chance.
type Faults struct {
	Crash, Zombie, Stop         int
	Task, Reveal, LostReply     int
	Ask, SinkAsk, Checkpoint    int
	Corrupt, Duplicate, Restore int
	Lose                        int // the log has lost its last commit
}

func draw(r *rand.Rand, seed uint64) Options {
	o := Options{Seed: seed, Steps: 250 + r.IntN(1000)}
	pick := func(p int) bool { return r.IntN(100) < p }
	switch r.IntN(8) {
	case 0, 1, 2:
		o.Trigger = microbatch.Trigger{Kind: microbatch.Immediate}
	case 3:
		o.Trigger = microbatch.Trigger{Kind: microbatch.Every, Interval: time.Duration(1+r.IntN(500)) * time.Millisecond}
	case 4:
		o.Trigger = microbatch.Trigger{Kind: microbatch.AvailableNow}
	case 5:
		o.Trigger = microbatch.Trigger{Kind: microbatch.Once}
	case 6:
		o.Trigger = microbatch.Trigger{Kind: microbatch.Cron, Schedule: "* * * * *"}
	case 7:
		o.Trigger = microbatch.Trigger{Kind: microbatch.Latency, Interval: time.Duration(1+r.IntN(50)) * time.Millisecond}
	}
	for range 1 + r.IntN(2) {
		s := SourceOptions{Pushes: pick(50), Parts: 1}
		if pick(60) {
			s.Limit = 1 + r.IntN(6)
		}
		if pick(30) {
			s.Parts = 2 + r.IntN(2)
		}
		o.Sources = append(o.Sources, s)
	}
	for range 1 + r.IntN(3) {
		o.Sinks = append(o.Sinks, pick(50))
	}
	if len(o.Sources) > 1 && pick(30) {
		o.Policy = microbatch.MaxWatermark
	}
	o.Window = batch.EventTime(1+r.IntN(20)) * 1000
	o.Disorder = batch.EventTime(r.IntN(30)) * 1000
	o.Late = pick(30)
	o.Idle = pick(25)
	o.CkBatches = r.IntN(5)
	o.CkKept = 1 + r.IntN(3)
	o.NoFinal = pick(50)
	o.Faults = drawFaults(r, pick)
	o.Raft = pick(50)
	return o
}

// drawFaults leaves out about a third of the faults, so that some lives go deep
// into what the others keep cutting short.
func drawFaults(r *rand.Rand, pick func(int) bool) Faults {
	f := func(most int) int {
		if pick(35) {
			return 0
		}
		return 1 + r.IntN(most)
	}
	return Faults{Crash: f(25), Zombie: f(8), Stop: f(6), Task: f(150), Reveal: f(200), LostReply: f(200), Ask: f(100),
		SinkAsk: f(200), Checkpoint: f(200), Corrupt: f(200), Duplicate: f(300), Restore: f(150), Lose: f(100)}
}

// String prints the options, one a line, as a failing seed shows them.
func (o Options) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d steps\n", o.Seed, o.Steps)
	fmt.Fprintf(&b, "trigger %s, watermark.policy %s, window %d, disorder %d, late rows %t, idle timeout %t, replicated log %t\n",
		o.Trigger, o.Policy, o.Window, o.Disorder, o.Late, o.Idle, o.Raft)
	fmt.Fprintf(&b, "sources %+v\n", o.Sources)
	fmt.Fprintf(&b, "sinks transactional %v\n", o.Sinks)
	fmt.Fprintf(&b, "checkpoint every %d batches, %d kept, none at the end %t\n", o.CkBatches, o.CkKept, o.NoFinal)
	fmt.Fprintf(&b, "faults in 1/1000: %+v", o.Faults)
	return b.String()
}
