// Command loop is the least that a program can do to filter and project from one topic
// to another with the guarantees of Sluice, without being an engine: what the broker, the
// disk and the clients cost on a machine. It is measured as another engine is:
//
//	go build -o loop ./bench/latency/loop
//	./lat -label loop -committed -- ./loop 127.0.0.1:9092 exactly-once
//	./lat -label loop -- ./loop 127.0.0.1:9092 at-least-once
//
// What it polls is a batch. Exactly once is two durable writes (of a plan, and of a
// commit), and a transaction with the messages and the batch's ID as the metadata of an
// offset, with four transactional IDs in turn; at least once the first write and the messages.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

const (
	inTopic  = "lat_in"
	outTopic = "lat_out"
	turns    = 4   // transactional IDs, and partitions
	walBytes = 300 // about what a plan or a commit takes
)

func main() {
	if len(os.Args) != 3 || os.Args[2] != "exactly-once" && os.Args[2] != "at-least-once" {
		fmt.Fprintln(os.Stderr, "usage: loop BROKERS exactly-once|at-least-once")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(os.Args[1], ","), os.Args[2] == "exactly-once"); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "loop:", err)
		stop()
		os.Exit(1)
	}
}

// loop is a life of it.
type loop struct {
	name string
	once bool
	wal  vfsx.File
	out  [turns]*kgo.Client
}

func run(ctx context.Context, brokers []string, once bool) (err error) {
	dir, err := os.MkdirTemp("", "sluice-bench-loop-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l := &loop{name: fmt.Sprintf("loop-%d", time.Now().UnixNano()), once: once}
	if l.wal, err = vfsx.Default.Create(vfsx.Default.PathJoin(dir, "wal"), vfsx.Unspecified); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.wal.Close()) }()
	in, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(inTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMinBytes(1))
	if err != nil {
		return err
	}
	defer in.Close()
	for i := range l.out {
		opts := []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(outTopic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression())}
		if once {
			opts = append(opts, kgo.TransactionalID(l.id(i)))
		}
		if l.out[i], err = kgo.NewClient(opts...); err != nil {
			return err
		}
		defer l.out[i].Close()
	}
	for n := 0; ctx.Err() == nil; n++ {
		fetched := in.PollFetches(ctx)
		if err := fetched.Err0(); err != nil {
			return err
		}
		if err := l.batch(ctx, n, project(fetched, int32(n%turns))); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) id(turn int) string { return fmt.Sprintf("%s-%d", l.name, turn) }

// project filters and projects a batch.
func project(fetched kgo.Fetches, part int32) (out []*kgo.Record) {
	fetched.EachRecord(func(r *kgo.Record) {
		price := number(r.Value, `"price":`)
		if price < 5000 {
			return
		}
		value := fmt.Appendf(nil, `{"auction":%d,"bidder":%d,"price":%v,"ts":%d}`, number(r.Value, `"auction":`), number(r.Value, `"bidder":`), float64(price)*0.908, number(r.Value, `"ts":`))
		out = append(out, &kgo.Record{Value: value, Partition: part})
	})
	return out
}

// number finds the number behind a key.
func number(v []byte, key string) int64 {
	_, rest, _ := bytes.Cut(v, []byte(key))
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, _ := strconv.ParseInt(string(rest[:end]), 10, 64) // the bench's own digits
	return n
}

// durable stands for a record of the batch log.
func (l *loop) durable() error {
	if _, err := l.wal.Write(make([]byte, walBytes)); err != nil {
		return err
	}
	return l.wal.SyncData()
}

func (l *loop) batch(ctx context.Context, n int, recs []*kgo.Record) error {
	if err := l.durable(); err != nil {
		return err
	}
	if !l.once {
		return l.out[0].ProduceSync(ctx, recs...).FirstErr()
	}
	if err := l.durable(); err != nil {
		return err
	}
	cl := l.out[n%turns]
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		return err
	}
	if err := l.note(ctx, cl, n); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, kgo.TryCommit)
}

// note puts the batch's ID into the transaction.
func (l *loop) note(ctx context.Context, cl *kgo.Client, n int) error {
	id, epoch, err := cl.ProducerID(ctx)
	if err != nil {
		return err
	}
	text := strconv.Itoa(n)
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = l.id(n%turns), l.name, id, epoch, -1
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic = outTopic
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Offset, p.LeaderEpoch, p.Metadata = int64(n), -1, &text
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	for tries := 0; ; tries++ {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		if !kerr.IsRetriable(err) || tries == 1000 {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}
