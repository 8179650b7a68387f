package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/sluice-stream/sluice"
)

// progressEvery is how often the line is drawn anew.
const progressEvery = 200 * time.Millisecond

// progressView draws one line about all queries on a terminal and nothing when piped.
type progressView struct {
	w        io.Writer
	s        *sluice.Session
	terminal bool
	started  time.Time
	stop     chan struct{}
	ended    chan struct{}
	once     sync.Once
}

func newProgressView(w io.Writer, s *sluice.Session) *progressView {
	v := &progressView{w: w, s: s, started: time.Now(), stop: make(chan struct{}), ended: make(chan struct{})}
	if f, ok := w.(*os.File); ok {
		v.terminal = term.IsTerminal(int(f.Fd()))
	}
	if !v.terminal {
		close(v.ended)
		return v
	}
	go v.draw()
	return v
}

func (v *progressView) draw() {
	defer close(v.ended)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(v.w, "\r\x1b[K%s", v.line())
		case <-v.stop:
			fmt.Fprint(v.w, "\r\x1b[K")
			return
		}
	}
}

// close ends the drawing and clears the line. It may be called twice.
func (v *progressView) close() {
	v.once.Do(func() { close(v.stop) })
	<-v.ended
}

// line says where each query is: batch, rows a second, watermark, state rows.
func (v *progressView) line() string {
	var parts []string
	for _, q := range v.s.Queries() {
		p := q.Progress()
		part := fmt.Sprintf("%s batch %d  %s rows/s", q.Name(), p.BatchID, human(p.ProcessedRowsPerSecond))
		if p.EventTime.Watermark != "" {
			part += "  watermark " + p.EventTime.Watermark
		}
		var state int64
		for _, o := range p.StateOperators {
			state += o.NumRowsTotal
		}
		if len(p.StateOperators) > 0 {
			part += fmt.Sprintf("  state %s rows", human(float64(state)))
		}
		parts = append(parts, part)
	}
	line := strings.Join(parts, " | ")
	if f, ok := v.w.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 4 && len(line) >= w {
			line = line[:w-1]
		}
	}
	return line
}

// summary tells, once all queries have ended, what they did.
func (v *progressView) summary() {
	for _, q := range v.s.Queries() {
		t := q.Totals()
		fmt.Fprintf(v.w, "%s: %d batches, %d rows in, %d rows out", q.Name(), t.Batches, t.RowsIn, t.RowsOut)
		if t.Late > 0 {
			fmt.Fprintf(v.w, ", %d late", t.Late)
		}
		fmt.Fprintf(v.w, ", %s\n", time.Since(v.started).Round(10*time.Millisecond))
	}
}

// human shortens a number: 1234567 is 1.2M.
func human(f float64) string {
	switch {
	case f >= 1e9:
		return fmt.Sprintf("%.1fG", f/1e9)
	case f >= 1e6:
		return fmt.Sprintf("%.1fM", f/1e6)
	case f >= 1e4:
		return fmt.Sprintf("%.0fk", f/1e3)
	}
	return fmt.Sprintf("%.0f", f)
}
