//go:build synctests

package bubble

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// row is a message of the topic that is read.
type row struct {
	ID int64  `json:"id"`
	K  string `json:"k"`
	V  int64  `json:"v"`
	TS string `json:"ts"`

	at time.Time
}

// user writes what the query reads, and reads what it writes.
type user struct {
	w      *world
	client *kgo.Client
	rows   []row
	at     time.Time // event time
}

const timeText = "2006-01-02 15:04:05.000"

var firstTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newUser(w *world) *user {
	u := &user{w: w, at: firstTime}
	u.client = u.dial(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("in"))
	return u
}

func (u *user) dial(opts ...kgo.Opt) *kgo.Client {
	h := newHost(u.w.net, "user", 0)
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers("127.0.2.1:9092"), kgo.Dialer(h.dial), kgo.DisableClientMetrics())...)
	if err != nil {
		u.w.t.Fatal(err)
	}
	return c
}

func (u *user) close() { u.client.Close() }

const keys = 7

// write produces n rows. Event time goes on with them, not always forward.
func (u *user) write(n int) {
	recs := make([]*kgo.Record, 0, n)
	for range n {
		u.at = u.at.Add(time.Duration(u.w.rng.IntN(600)) * time.Millisecond)
		r := row{ID: int64(len(u.rows)), K: fmt.Sprintf("k%d", u.w.rng.IntN(keys)), V: u.w.rng.Int64N(100), at: u.at.Add(-time.Duration(u.w.rng.IntN(1900)) * time.Millisecond)}
		recs = append(recs, u.record(r, int32(r.K[1]-'0')%2))
	}
	u.produce(recs)
}

// finish writes a last row to each partition, so late that all windows before close.
func (u *user) finish() {
	u.at = u.at.Add(time.Hour)
	var recs []*kgo.Record
	for p := range int32(2) {
		recs = append(recs, u.record(row{ID: int64(len(u.rows)), K: fmt.Sprintf("end%d", p), at: u.at}, p))
	}
	u.produce(recs)
	u.flush()
}

func (u *user) record(r row, partition int32) *kgo.Record {
	r.TS = r.at.Format(timeText)
	r.at = r.at.Truncate(time.Millisecond)
	u.rows = append(u.rows, r)
	b, err := json.Marshal(r)
	if err != nil {
		u.w.t.Fatal(err)
	}
	return &kgo.Record{Partition: partition, Value: b}
}

// produce hands messages over. They go out when the broker is there, in this order.
func (u *user) produce(recs []*kgo.Record) {
	for _, rec := range recs {
		u.client.Produce(context.Background(), rec, func(_ *kgo.Record, err error) {
			if err != nil {
				u.w.violated("produce: %v", err)
			}
		})
	}
}

// flush waits until all has gone out.
func (u *user) flush() {
	if err := u.client.Flush(context.Background()); err != nil {
		u.w.violated("flush: %v", err)
	}
}

// reader reads a topic from its beginning, committed messages alone.
type reader struct {
	client *kgo.Client
	recs   []*kgo.Record
}

func (u *user) reader(topic string, wait time.Duration) *reader {
	return &reader{client: u.dial(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(wait))}
}

// poll takes what comes for some time.
func (r *reader) poll(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for ctx.Err() == nil {
		r.client.PollFetches(ctx).EachRecord(func(rec *kgo.Record) { r.recs = append(r.recs, rec) })
	}
}
