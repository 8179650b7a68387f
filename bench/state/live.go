package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sluice-stream/sluice"
)

// A row of the state is a key, a count and a text: about so many bytes.
const (
	textBytes = 84
	rowBytes  = 109
	liveRows  = 100 // of a small batch
	warmUp    = 200 // batches that are not timed, at an empty state as at a full one

	always = "100ms" // checkpoint.interval: the next one begins as soon as one is done
)

// keysOf is how many keys so many gigabytes of state have.
func (o *options) keysOf() int64 { return int64(o.gigabytes * 1e9 / rowBytes) }

// start starts the query over rows that are numbered from zero to the given end, in
// batches of so many. The first rows have a key each and make the state; those that
// follow have a random one of these keys, or of all numbers if the state is empty.
func start(ctx context.Context, o options, dir, interval string, end, rows int64) (*sluice.Session, *sluice.Query, error) {
	s, err := session(o.limit, dir, interval)
	if err != nil {
		return nil, nil, err
	}
	keys := o.keysOf()
	err = s.Exec(ctx, fmt.Sprintf(`
CREATE TABLE events (seq BIGINT, p STRING) WITH ('connector'='datagen', 'number-of-rows'='%d', 'max-rows-per-trigger'='%d',
  'fields.seq.kind'='sequence', 'fields.p.length'='%d');
CREATE TABLE out (k BIGINT, n BIGINT, p STRING, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE update CHECKPOINT '%s' AS
  INSERT INTO out SELECT k, count(*), max(p) FROM (
    SELECT CASE WHEN seq < %d THEN seq ELSE pmod(xxhash64(seq), %d) END AS k, p FROM events) GROUP BY k;`,
		end, rows, textBytes, filepath.Join(dir, "ck"), keys, max(keys, 1<<40*max(0, 1-keys))))
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	q, _ := s.Query("q")
	return s, q, nil
}

// load makes the state and stops.
func load(ctx context.Context, o options, dir string) (*measured, error) {
	begin := time.Now()
	s, q, err := start(ctx, o, dir, "10s", o.keysOf(), o.batch/4)
	if err != nil {
		return nil, err
	}
	err = errors.Join(q.Await(ctx), s.Close())
	m := &measured{Limit: o.limit, Rows: o.keysOf(), Load: time.Since(begin).Seconds(), Files: size(dir) >> 20}
	m.GB = float64(m.Rows) * rowBytes / 1e9
	return m, err
}

// took is the time of a batch from its plan until its output is shown. All batches
// of one trigger have that trigger's time, so what they did is added up.
func took(p sluice.Progress) time.Duration {
	ms := 0.0
	for name, v := range p.Phases {
		if name != "triggerExecution" {
			ms += v
		}
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// live times small batches.
func live(ctx context.Context, o options, dir string) (*measured, error) {
	begin := time.Now()
	s, q, err := start(ctx, o, dir, always, o.keysOf()+int64(warmUp+o.batches)*liveRows, liveRows)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- q.Await(ctx) }()
	m := &measured{Limit: o.limit}
	var all []time.Duration
	last, seen := int64(-1), 0
	collect := func() {
		for _, p := range q.Recent() {
			if p.BatchID <= last {
				continue
			}
			if seen == 0 {
				m.Recovery = time.Since(begin).Seconds()
			}
			last, seen = p.BatchID, seen+1
			if seen > warmUp {
				all = append(all, took(p))
			}
		}
	}
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-time.After(5 * time.Millisecond): // the last hundred batches are kept
		}
		collect()
		// A crash is one in the middle of batches, with some not in any checkpoint.
		if o.crash && len(all) >= o.batches-200 {
			break
		}
	}
	if err == nil && len(all) < o.batches-250 {
		err = fmt.Errorf("%d of %d batches were seen", len(all), o.batches)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	m.Seconds, m.Batch = time.Since(begin).Seconds(), quantilesOf(all)
	for _, p := range q.Progress().StateOperators {
		m.Rows += p.NumRowsTotal
		m.GB += float64(p.MemoryUsedBytes) / 1e9
		m.Runs += p.CustomMetrics["sortedRuns"]
	}
	m.Files = size(dir) >> 20
	if m.Rows < o.keysOf() {
		return nil, errors.Join(fmt.Errorf("the state has %d rows, which should be %d", m.Rows, o.keysOf()), s.Close())
	}
	if o.crash {
		return m, nil
	}
	return m, s.Close()
}

// again starts the query from what it has left until a new batch is committed.
func again(ctx context.Context, o options, dir string) (*measured, error) {
	begin := time.Now()
	s, q, err := start(ctx, o, dir, always, o.keysOf()+int64(warmUp+o.batches+1000)*liveRows, liveRows)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- q.Await(ctx) }()
	for q.Totals().Batches == 0 {
		select {
		case err := <-ended:
			return nil, errors.Join(fmt.Errorf("the query ended without a new batch: %w", err), s.Close())
		case <-time.After(time.Millisecond):
		}
	}
	m := &measured{Limit: o.limit, Recovery: time.Since(begin).Seconds()}
	q.Stop()
	err = <-ended
	for _, p := range q.Progress().StateOperators {
		m.Rows += p.NumRowsTotal
		m.GB += float64(p.MemoryUsedBytes) / 1e9
	}
	if err == nil && m.Rows < o.keysOf() {
		err = fmt.Errorf("the state has %d rows, which should be %d", m.Rows, o.keysOf())
	}
	return m, errors.Join(err, s.Close())
}
