package microbatch

import (
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// Watermarks says why the watermark is where it is.
type Watermarks struct {
	Now       batch.EventTime // of the driver
	Watermark batch.EventTime // that the next plan would have
	HeldBy    string          // source#partition
	NextDue   batch.EventTime // earliest end of what waits for the watermark; EndOfTime if nothing does
	Policy    WatermarkPolicy
	Sources   []SourceWatermark
}

// SourceWatermark is the part of one source, or of one partition of it.
type SourceWatermark struct {
	Source    string
	Partition string
	Max       batch.EventTime // highest event time seen; NoTime if none
	Watermark batch.EventTime // Max less the delay; NoTime if there is none yet
	Delay     time.Duration
	Seen      batch.EventTime // when rows with times last came; NoTime if never
	Idle      bool            // it no longer holds the watermark back
	Over      bool            // its source has ended
	Holds     bool            // it is what holds the watermark where it is
}

// Watermarks explains the watermark.
func (m *Machine) Watermarks() Watermarks {
	w := Watermarks{Now: m.now, Watermark: batch.NoTime, NextDue: batch.EndOfTime, Policy: m.opt.Policy}
	w.Watermark, w.HeldBy = m.watermark()
	if m.lastDone != nil {
		w.NextDue = m.lastDone.NextDue
	}
	for i, spec := range m.opt.Sources {
		if !spec.EventTime {
			continue
		}
		known := false
		for _, k := range m.marks {
			if k.Source != spec.Name {
				continue
			}
			known = true
			at := m.idleAt(i, k)
			w.add(SourceWatermark{Source: spec.Name, Partition: k.Partition, Max: k.Max, Delay: spec.Delay, Seen: k.Seen,
				Idle: at != batch.EndOfTime && m.quietUntil(i) >= at, Over: m.over(i)})
		}
		if !known {
			w.add(SourceWatermark{Source: spec.Name, Max: batch.NoTime, Delay: spec.Delay, Seen: batch.NoTime, Idle: m.silent(i), Over: m.over(i)})
		}
	}
	return w
}

func (w *Watermarks) add(s SourceWatermark) {
	s.Watermark = batch.NoTime
	if s.Max != batch.NoTime {
		s.Watermark = less(s.Max, s.Delay.Microseconds())
	}
	name := s.Source
	if s.Partition != "" {
		name += "#" + s.Partition
	}
	s.Holds = name == w.HeldBy
	w.Sources = append(w.Sources, s)
}
