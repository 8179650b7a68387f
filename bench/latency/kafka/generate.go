package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 4

// phase is a rate for a time.
type phase struct {
	rate              int
	warmup, measuring time.Duration
}

func parsePhases(text string) ([]phase, error) {
	var phases []phase
	for part := range strings.SplitSeq(text, ",") {
		var rate, warmup, measuring int
		if _, err := fmt.Sscanf(part, "%d:%d:%d", &rate, &warmup, &measuring); err != nil || rate < 1 || measuring < 1 {
			return nil, fmt.Errorf("phase %q is not rate:seconds of warm-up:seconds measured", part)
		}
		phases = append(phases, phase{rate, time.Duration(warmup) * time.Second, time.Duration(measuring) * time.Second})
	}
	return phases, nil
}

// createTopics makes both topics anew.
func createTopics(ctx context.Context, brokers string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.DeleteTopics(ctx, inTopic, outTopic); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		made, err := adm.CreateTopics(ctx, partitions, 1, nil, inTopic, outTopic)
		if err == nil {
			err = made.Error()
		}
		if err == nil || time.Now().After(end) { // it is there until its deletion is through
			return err
		}
	}
}

// window is the measured part of a phase; times are in nanoseconds since 1970.
type window struct {
	phase      phase
	start, end int64
	sent       int // all inputs in it
	passing    int // those that the filter lets through
	cpu        float64
}

// generator sends bids at a rate by the clock. When it falls behind, it sends what is
// due at once; a record's time is taken just before it is handed to the producer.
type generator struct {
	cl     *kgo.Client
	keys   int
	next   int
	failed atomic.Int64
}

func newGenerator(o options, linger time.Duration) (*generator, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...), kgo.DefaultProduceTopic(inTopic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(linger), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxBufferedRecords(200_000))
	return &generator{cl: cl, keys: o.keys}, err
}

// run sends a phase. window is told at its start.
func (g *generator) run(ctx context.Context, p phase, cpu func() float64, alive func() error) (window, error) {
	w := window{phase: p}
	begin, sent := time.Now(), 0
	for elapsed := time.Duration(0); elapsed < p.warmup+p.measuring; elapsed = time.Since(begin) {
		if err := ctx.Err(); err != nil {
			return w, err
		}
		if err := alive(); err != nil {
			return w, err
		}
		if w.start == 0 && elapsed >= p.warmup {
			w.start, w.cpu = time.Now().UnixNano(), cpu()
		}
		for due := int(float64(p.rate) * elapsed.Seconds()); sent < due; sent++ {
			passes := g.send(ctx)
			if w.start > 0 {
				w.sent++
				w.passing += passes
			}
		}
		time.Sleep(time.Millisecond)
	}
	w.end, w.cpu = time.Now().UnixNano(), cpu()-w.cpu
	return w, nil
}

// send sends the next bid, and returns 1 if the filter lets it through.
func (g *generator) send(ctx context.Context) int {
	n := g.next
	g.next++
	bidder, price := n%g.keys, n*7919%10000
	value := make([]byte, 0, 192)
	value = append(strconv.AppendInt(append(value, `{"auction":`...), int64(n%977), 10), `,"bidder":`...)
	value = append(strconv.AppendInt(value, int64(bidder), 10), `,"price":`...)
	value = append(strconv.AppendInt(value, int64(price), 10), `,"channel":"Google","url":"https://www.nexmark.com/`...)
	value = append(strconv.AppendInt(value, int64(n), 16), `/item.htm?query=1","extra":"`...)
	value = fmt.Appendf(value, `%032x","ts":`, n*31)
	value = append(strconv.AppendInt(value, time.Now().UnixNano(), 10), '}')
	g.cl.Produce(ctx, &kgo.Record{Key: strconv.AppendInt(nil, int64(bidder), 10), Value: value, Partition: int32(bidder % partitions)}, func(_ *kgo.Record, err error) {
		if err != nil {
			g.failed.Add(1)
		}
	})
	if price >= 5000 {
		return 1
	}
	return 0
}

func (g *generator) flush(ctx context.Context) error {
	if err := g.cl.Flush(ctx); err != nil {
		return err
	}
	if n := g.failed.Load(); n > 0 {
		return fmt.Errorf("%d records could not be sent", n)
	}
	return nil
}
