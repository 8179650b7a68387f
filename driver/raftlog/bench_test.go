package raftlog

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// BenchmarkAppend is a batch's two appends, planned and committed, by one or more
// queries at a time, on one driver and on three with disks on one machine.
func BenchmarkAppend(b *testing.B) {
	for _, drivers := range []int{1, 3} {
		for _, queries := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("drivers=%d/queries=%d", drivers, queries), func(b *testing.B) { benchAppend(b, drivers, queries) })
		}
	}
}

func benchAppend(b *testing.B, drivers, queries int) {
	peers := map[string]string{}
	for _, id := range all[:drivers] {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		peers[id] = l.Addr().String()
		must(b, l.Close())
	}
	ctx, cancel := context.WithCancel(b.Context())
	leads := make(chan *Node, 10)
	var work sync.WaitGroup
	for id, addr := range peers {
		n, err := Open(Options{ID: id, Dir: filepath.Join(b.TempDir(), id), Listen: addr, Peers: peers})
		must(b, err)
		defer func() { _ = n.Close(context.Background()) }()
		work.Go(func() {
			_ = n.Lead(ctx, func(ctx context.Context, _ Leadership) error { leads <- n; <-ctx.Done(); return nil })
		})
	}
	n := <-leads
	var logs []*Log
	for i := range queries {
		q, err := n.Create(ctx, Query{Name: fmt.Sprint("q", i)})
		must(b, err)
		l, err := n.Log(ctx, q.ID)
		must(b, err)
		logs = append(logs, l)
	}
	b.ResetTimer()
	var appends sync.WaitGroup
	for i, l := range logs {
		appends.Go(func() {
			for id := batch.ID(0); int(id) < b.N/queries+1; id++ {
				if err := l.Append(ctx, l.Term(), planned(l.Term(), id)); err != nil {
					b.Errorf("query %d: %v", i, err)
					return
				}
				if err := l.Append(ctx, l.Term(), committed(l.Term(), id)); err != nil {
					b.Errorf("query %d: %v", i, err)
					return
				}
			}
		})
	}
	appends.Wait()
	b.StopTimer()
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N/queries+1)*1000, "ms/batch")
	cancel()
	work.Wait()
}
