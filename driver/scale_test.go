package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// echoes are workers that do nothing: what is measured beside them is the driver.
type echoes struct {
	wg       sync.WaitGroup
	nodes    []*inproc.Node
	messages atomic.Int64
}

func startEchoes(b *testing.B, net *inproc.Network, n int) (*echoes, []transport.NodeID) {
	e := &echoes{}
	var ids []transport.NodeID
	for i := range n {
		id := transport.NodeID(fmt.Sprintf("worker-%d", i))
		node, err := net.Join(id)
		if err != nil {
			b.Fatal(err)
		}
		e.nodes, ids = append(e.nodes, node), append(ids, id)
		e.wg.Go(func() { e.loop(node) })
	}
	return e, ids
}

func (e *echoes) loop(node *inproc.Node) {
	ctx := context.Background()
	for env := range node.Inbox() {
		e.messages.Add(1)
		switch m := env.Message.(type) {
		case transport.Run:
			s := m.Spec
			res := batch.TaskResult{Task: s.Task, Term: s.Term, NextDue: batch.EndOfTime, Counters: batch.Counters{RowsIn: 10}, OutRows: []int64{10}}
			if len(s.Inputs) > 0 {
				first, end := batch.GroupsOf(s.Task.Partition, s.Parts)
				res.Shards = []batch.ShardDigest{{Shard: batch.Shard{Operator: "count", Partition: s.Task.Partition, FirstGroup: first, EndGroup: end}}}
			}
			_ = node.Send(ctx, env.From, transport.Finished{Result: res})
		case transport.Checkpoint:
			parts := make([][]byte, len(m.Shards))
			for i, s := range m.Shards {
				parts[i], _ = json.Marshal(statestore.Manifest{Shard: s, Version: m.Batch})
			}
			_ = node.Send(ctx, env.From, transport.Checkpointed{Key: m.Key, Batch: m.Batch, Manifests: parts})
		case transport.Restore:
			_ = node.Send(ctx, env.From, transport.Restored{Key: m.Key, Batch: m.Batch})
		}
	}
}

func (e *echoes) stop() {
	for _, n := range e.nodes {
		_ = n.Close()
	}
	e.wg.Wait()
}

// BenchmarkDriverCost measures what a batch costs the driver by the number of its
// workers and of tasks in each of two stages: time, processor time (with that of
// workers which only answer) and messages. bench/results/driver-cost.md makes a model of it.
func BenchmarkDriverCost(b *testing.B) {
	for _, c := range []struct{ workers, tasks int }{{1, 1}, {1, 8}, {1, 64}, {1, 256}, {8, 8}, {8, 64}, {64, 64}, {64, 256}, {256, 256}, {1000, 256}} {
		b.Run(fmt.Sprintf("%dworkers,%dtasks", c.workers, c.tasks), func(b *testing.B) { driverCost(b, c.workers, c.tasks) })
	}
}

func driverCost(b *testing.B, workers, tasks int) {
	log, err := filelog.Open(filelog.Options{Dir: filepath.Join(b.TempDir(), "ck"), Metadata: filelog.Metadata{Name: "bench"}})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	net := inproc.New(inproc.Options{})
	e, ids := startEchoes(b, net, workers)
	defer e.stop()
	node, err := net.Join("driver")
	if err != nil {
		b.Fatal(err)
	}
	defer node.Close()
	src, out := newNumbers(0), newShelf()
	src.splitRows, out.keep = 10, false
	committed := make(chan struct{}, 1)
	q, err := Start(b.Context(), Options{Name: "bench", Query: log.Metadata().Query, Plan: countPlan(), Log: log, Transport: node,
		Workers: ids, Parallelism: tasks, Sources: map[string]sources.Source{"n#0": pushing{src}}, Sinks: map[string]sinks.Sink{"out#0": out},
		Protocol: microbatch.Options{CheckpointInterval: time.Hour},
		Listener: ListenerFunc(func(_ Origin, ev Event) {
			if _, ok := ev.(BatchCommitted); ok {
				committed <- struct{}{}
			}
		})})
	if err != nil {
		b.Fatal(err)
	}
	at := int64(0)
	once := func() {
		at += int64(10 * tasks)
		src.grow(at)
		<-committed
	}
	once()
	messages, cpu := e.messages.Load(), processorTime(b)
	b.ResetTimer()
	for b.Loop() {
		once()
	}
	b.StopTimer()
	b.ReportMetric(float64((processorTime(b)-cpu).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(e.messages.Load()-messages)/float64(b.N), "messages/op")
	if err := q.Stop(b.Context(), false); err != nil {
		b.Fatal(err)
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
