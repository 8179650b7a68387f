package main

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sample is a record of the output: the time that it carries and how long after that
// the consumer had it, in nanoseconds.
type sample struct{ sent, took int64 }

// collector reads the output topic.
type collector struct {
	cl      *kgo.Client
	cancel  context.CancelFunc
	done    chan struct{}
	last    atomic.Int64 // when the last record came
	samples []sample     // the reading goroutine's until done
}

func startCollector(ctx context.Context, o options, committed bool) (*collector, error) {
	level := kgo.ReadUncommitted()
	if committed {
		level = kgo.ReadCommitted()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...), kgo.ConsumeTopics(outTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(level), kgo.FetchMaxWait(50*time.Millisecond), kgo.FetchMinBytes(1))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &collector{cl: cl, cancel: cancel, done: make(chan struct{})}
	c.last.Store(time.Now().UnixNano())
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			fetched := cl.PollFetches(ctx)
			now := time.Now().UnixNano()
			fetched.EachRecord(func(r *kgo.Record) {
				if ts, ok := stampIn(r.Value); ok {
					c.samples = append(c.samples, sample{ts, now - ts})
				}
			})
			if fetched.NumRecords() > 0 {
				c.last.Store(now)
			}
		}
	}()
	return c, nil
}

// drained is for how long nothing may come before the output counts as complete.
const drained = 2 * time.Second

// finish waits until nothing comes any more and returns all samples.
func (c *collector) finish() []sample {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && time.Now().UnixNano()-c.last.Load() < int64(drained); {
		time.Sleep(100 * time.Millisecond)
	}
	c.close()
	return c.samples
}

func (c *collector) close() {
	c.cancel()
	<-c.done
	c.cl.Close()
}

// stampIn finds the number behind "ts": without reading the whole record. Other
// engines may quote it, or put a space before.
func stampIn(value []byte) (int64, bool) {
	_, rest, found := bytes.Cut(value, []byte(`"ts":`))
	if !found {
		return 0, false
	}
	rest = bytes.TrimLeft(rest, ` "`)
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	ts, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return ts, err == nil
}

// took returns, in order, how long the records took that were sent in a window.
func (w window) took(samples []sample) []int64 {
	var out []int64
	for _, s := range samples {
		if s.sent >= w.start && s.sent < w.end {
			out = append(out, s.took)
		}
	}
	slices.Sort(out)
	return out
}

func quantile(sorted []int64, part float64) float64 {
	if len(sorted) == 0 {
		return -1
	}
	return float64(sorted[int(part*float64(len(sorted)-1))]) / 1e6
}
