package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

const header = "| mode | events/s | records of expected | p50 ms | p95 ms | p99 ms | max ms | engine CPU s | cores | peak RSS MB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"

// measure runs one engine through all phases and prints a line for each.
func measure(ctx context.Context, o options, m mode, phases []phase, dir string) (err error) {
	if err := createTopics(ctx, o.brokers); err != nil {
		return fmt.Errorf("make the topics: %w", err)
	}
	gen, err := newGenerator(o, 0)
	if err != nil {
		return err
	}
	defer gen.cl.Close()
	var last int64 // of the backlog
	if o.backlog > 0 {
		if last, err = fill(ctx, o, gen); err != nil {
			return err
		}
	}
	col, err := startCollector(ctx, o, m.committed)
	if err != nil {
		return err
	}
	p, err := start(ctx, o, m, dir)
	if err != nil {
		col.close()
		return err
	}
	begun := time.Now()
	windows, err := drive(ctx, o, gen, p, phases)
	if err != nil {
		col.close()
		return errors.Join(err, p.stop())
	}
	samples := col.finish()
	peak := p.peak()
	if err := p.stop(); err != nil {
		return fmt.Errorf("stop the engine: %w", err)
	}
	if o.backlog > 0 {
		returned(samples, begun.UnixNano(), last)
	}
	for _, w := range windows {
		if err := report(m, w, samples, peak); err != nil {
			return err
		}
	}
	return nil
}

// drive sends the phases while the engine runs.
func drive(ctx context.Context, o options, gen *generator, p *process, phases []phase) ([]window, error) {
	if o.backlog == 0 { // else it is not waited for that it has caught up
		select {
		case <-time.After(o.boot):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var windows []window
	for _, ph := range phases {
		w, err := gen.run(ctx, ph, p.cpu, p.ended)
		if err != nil {
			return nil, err
		}
		windows = append(windows, w)
	}
	return windows, gen.flush(ctx)
}

// report prints a phase's line. Records that are missing, or too many, are an error.
func report(m mode, w window, samples []sample, peak int) error {
	took := w.took(samples)
	want := w.passing
	if m.counts {
		want = w.sent
	}
	fmt.Printf("| %s | %d | %d/%d | %.1f | %.1f | %.1f | %.1f | %.1f | %.2f | %d |\n", m.name, w.phase.rate, len(took), want,
		quantile(took, .5), quantile(took, .95), quantile(took, .99), quantile(took, 1), w.cpu, w.cpu/w.phase.measuring.Seconds(), peak)
	if len(took) > want || len(took) < want && !m.counts {
		return fmt.Errorf("%s at %d/s: %d records came of %d", m.name, w.phase.rate, len(took), want)
	}
	return nil
}

// fill makes the backlog and returns the time of its last event.
func fill(ctx context.Context, o options, live *generator) (int64, error) {
	gen, err := newGenerator(o, 20*time.Millisecond)
	if err != nil {
		return 0, err
	}
	defer gen.cl.Close()
	for range o.backlog {
		gen.send(ctx)
	}
	if err := gen.flush(ctx); err != nil {
		return 0, err
	}
	live.next = gen.next
	return time.Now().UnixNano(), nil
}

// slice is the time over which the return of the latency is looked at.
const slice = time.Second

// returned prints the latency of what was sent after a backlog, second by second.
func returned(samples []sample, begun, last int64) {
	by := map[int64][]int64{}
	caught := int64(0)
	for _, s := range samples {
		if s.sent <= last {
			caught = max(caught, s.sent+s.took)
			continue
		}
		at := (s.sent - begun) / int64(slice)
		by[at] = append(by[at], s.took)
	}
	fmt.Fprintf(os.Stderr, "the backlog was out %.1f s after the engine's start\n", float64(caught-begun)/1e9)
	seconds := make([]int64, 0, len(by))
	for at := range by {
		seconds = append(seconds, at)
	}
	slices.Sort(seconds)
	for _, at := range seconds {
		slices.Sort(by[at])
		fmt.Fprintf(os.Stderr, "  sent in second %3d: p50 %8.1f ms  p99 %8.1f ms\n", at, quantile(by[at], .5), quantile(by[at], .99))
	}
}
