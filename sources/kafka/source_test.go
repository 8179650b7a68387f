package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/debezium"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is one in this process, with a client that produces.
type broker struct {
	*kfake.Cluster
	cl  *kgo.Client
	adm *kadm.Client
}

func newBroker(t testing.TB, partitions int32, topics ...string) *broker {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := &broker{Cluster: c}
	b.cl = b.client(t)
	b.adm = kadm.NewClient(b.cl)
	return b
}

func (b *broker) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// produce appends n messages {"id":from..} to a partition.
func (b *broker) produce(t testing.TB, cl *kgo.Client, topic string, part int32, from, n int) {
	t.Helper()
	var recs []*kgo.Record
	for i := from; i < from+n; i++ {
		recs = append(recs, record(topic, part, fmt.Sprintf(`{"id":%d,"name":"n%d"}`, i, i)))
	}
	if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func record(topic string, part int32, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: part, Value: []byte(value), Timestamp: time.UnixMilli(1_700_000_000_000)}
}

var rowSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "part", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "off", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "at", Type: instant, Nullable: true},
}, nil)

// specOf is a stream of the topic "in" with the columns of rowSchema; more are options.
func (b *broker) specOf(more ...string) sources.Spec {
	spec := sources.Spec{
		Name: "src#0", Table: "src", Schema: rowSchema, Stream: true, Zone: "UTC",
		Meta:    []sources.MetaColumn{{Column: 2, Key: "partition"}, {Column: 3, Key: "offset"}, {Column: 4, Key: "timestamp"}},
		Options: options.Map{"bootstrap.servers": strings.Join(b.ListenAddrs(), ","), "topic": "in", "discovery-interval": "20ms"},
	}
	for i := 0; i < len(more); i += 2 {
		if spec.Options[more[i]] = more[i+1]; more[i+1] == "" {
			delete(spec.Options, more[i])
		}
	}
	return spec
}

func connector() sources.Connector {
	return Connector(clock.System(), formats.NewRegistry(json.New(), debezium.New()))
}

func openSpec(t testing.TB, spec sources.Spec) (*source, sources.Opener) {
	t.Helper()
	src, op := sourcetest.Open(t, connector(), spec)
	return src.(*source), op
}

func TestConformance(t *testing.T) {
	b := newBroker(t, 3, "in")
	for part := range int32(3) {
		b.produce(t, b.cl, "in", part, int(part)*100, 20)
	}
	sourcetest.Run(t, sourcetest.Case{
		Open: func(t testing.TB) (sources.Source, sources.Opener) {
			src, op := openSpec(t, b.specOf())
			return src, op
		},
		Limit: sources.Limit{Rows: 7}, Rows: 60, Unordered: true,
	})
}

// reading reads a stream batch by batch.
type reading struct {
	t   testing.TB
	src *source
	op  sources.Opener
	at  batch.Offset
	bad []batch.BadRow
}

func (b *broker) read(t testing.TB, spec sources.Spec) *reading {
	t.Helper()
	r := &reading{t: t}
	r.src, r.op = openSpec(t, spec)
	t.Cleanup(func() { _ = r.src.Close() })
	return r
}

// next waits for a batch and returns its rows as text. Waiting ends with the test.
func (r *reading) next() []string {
	r.t.Helper()
	for {
		rows, err := r.try(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if rows != nil {
			return rows
		}
		select {
		case <-r.src.Changed():
		case <-r.t.Context().Done():
			r.t.Fatal("nothing came")
		}
	}
}

// rows waits until n rows came.
func (r *reading) rows(n int) []string {
	r.t.Helper()
	var all []string
	for len(all) < n {
		all = append(all, r.next()...)
	}
	if len(all) != n {
		r.t.Fatalf("%d rows, want %d", len(all), n)
	}
	return all
}

// try takes the batch that is there; nil if there is none.
func (r *reading) try(ctx context.Context) ([]string, error) {
	to, err := r.src.Latest(ctx, r.at, sources.Limit{})
	if err != nil || to == r.at {
		return nil, err
	}
	splits, err := r.src.Plan(ctx, batch.Range{Source: "src#0", Start: r.at, End: to})
	if err != nil {
		return nil, err
	}
	rows := []string{}
	for _, s := range splits {
		got, err := r.split(ctx, s)
		rows = append(rows, got...)
		if err != nil {
			return rows, err
		}
	}
	if err := r.src.Release(ctx, to); err != nil {
		return rows, err
	}
	r.at = to
	return rows, nil
}

func (r *reading) split(ctx context.Context, s batch.Split) (rows []string, err error) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(r.t, 0)
	rd, err := r.op.Open(ctx, s, r.columns(), mem)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rd.Close()) }()
	rd.(sources.Quarantiner).SetAside(func(row batch.BadRow) error {
		row.Raw = slices.Clone(row.Raw)
		r.bad = append(r.bad, row)
		return nil
	})
	for {
		rec, err := rd.Next(ctx)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		for i := range int(rec.NumRows()) {
			var cells []string
			for _, c := range rec.Columns() {
				cells = append(cells, cell(c, i))
			}
			rows = append(rows, strings.Join(cells, " "))
		}
		rec.Release()
	}
}

// columns are all, and the kind of change where rows have one.
func (r *reading) columns() []int {
	if r.src.t.changes == batch.OnlyGrows {
		return nil
	}
	all := make([]int, r.src.t.schema.NumFields()+1)
	for i := range all {
		all[i] = i
	}
	return all
}

func cell(c arrow.Array, i int) string {
	if c.IsNull(i) {
		return "NULL"
	}
	if b, ok := c.(*array.Binary); ok {
		return string(b.Value(i))
	}
	return c.ValueStr(i)
}

func ids(rows []string) []string {
	var out []string
	for _, r := range rows {
		id, _, _ := strings.Cut(r, " ")
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// TestTransactions: what is open is not read, what was given up never is, and the range
// goes on behind the gaps.
func TestTransactions(t *testing.T) {
	b := newBroker(t, 1, "in")
	b.produce(t, b.cl, "in", 0, 0, 1)
	r := b.read(t, b.specOf())
	same(t, "before", ids(r.rows(1)), "0")
	tx := b.client(t, kgo.TransactionalID("tx"))
	var rows []string
	for i, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit, kgo.TryAbort} {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		b.produce(t, tx, "in", 0, 10*(i+1), 2)
		b.produce(t, b.cl, "in", 0, 10*(i+1)+5, 1) // behind what is open
		more, err := r.try(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, more...)
		for _, id := range ids(rows) {
			if id >= fmt.Sprint(10*(i+1)) {
				t.Fatalf("read %s of an open transaction, or behind it", id)
			}
		}
		if err := tx.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "after", ids(append(rows, r.rows(5-len(rows))...)), "15", "20", "21", "25", "35")
	un := b.read(t, b.specOf("isolation-level", "read_uncommitted"))
	if n := len(un.rows(10)); n != 10 {
		t.Errorf("%d rows uncommitted", n)
	}
}

func TestNewPartitionsAndTopics(t *testing.T) {
	b := newBroker(t, 1, "in")
	b.produce(t, b.cl, "in", 0, 0, 1)
	r := b.read(t, b.specOf("topic", "", "topic-pattern", "in.*", "starting-offsets", "latest"))
	if rows := r.next(); len(rows) != 0 {
		t.Fatalf("latest read %q", rows)
	}
	if _, err := b.adm.CreatePartitions(t.Context(), 1, "in"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.adm.CreateTopic(t.Context(), 1, 1, nil, "in-two"); err != nil {
		t.Fatal(err)
	}
	b.cl.PurgeTopicsFromClient("in")
	b.produce(t, b.cl, "in", 1, 1, 1)
	b.produce(t, b.cl, "in-two", 0, 2, 1)
	same(t, "new partition, new topic", ids(r.rows(2)), "1", "2") // kfake empties the old partition then
}

// TestLost: messages that go before they are read.
func TestLost(t *testing.T) {
	cut := func(t *testing.T, b *broker, at int64) {
		o := kadm.Offsets{}
		o.AddOffset("in", 0, at, -1)
		if _, err := b.adm.DeleteRecords(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	again := func(t *testing.T, b *broker) {
		if _, err := b.adm.DeleteTopic(t.Context(), "in"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.adm.CreateTopic(t.Context(), 1, 1, nil, "in"); err != nil {
			t.Fatal(err)
		}
		b.cl.PurgeTopicsFromClient("in")
	}
	t.Run("retention", func(t *testing.T) {
		b := newBroker(t, 1, "in")
		b.produce(t, b.cl, "in", 0, 0, 5)
		r := b.read(t, b.specOf())
		r.rows(5)
		_ = r.src.Close()
		b.produce(t, b.cl, "in", 0, 5, 10)
		cut(t, b, 8)
		strict := b.read(t, b.specOf())
		strict.at = r.at
		if _, err := strict.try(t.Context()); err == nil || !strings.Contains(err.Error(), "offsets 5 to 7 are gone before they were read: the topic has 8 to 15 now") {
			t.Fatalf("got %v", err)
		}
		lax := b.read(t, b.specOf("fail-on-data-loss", "false"))
		lax.at = r.at
		same(t, "behind the gap", ids(lax.rows(7)), "8", "9", "10", "11", "12", "13", "14")
		if !strings.Contains(string(lax.at), `"lost":[{"topic":"in","partition":0,"from":5,"to":8}]`) {
			t.Errorf("the position does not tell of the gap: %s", lax.at)
		}
	})
	t.Run("planned and gone", func(t *testing.T) {
		b := newBroker(t, 1, "in")
		b.produce(t, b.cl, "in", 0, 0, 10)
		for _, fail := range []string{"true", "false"} {
			r := b.read(t, b.specOf("fail-on-data-loss", fail, "bad-rows", "quarantine"))
			p := newPosition()
			details, err := b.adm.ListTopics(t.Context(), "in")
			if err != nil {
				t.Fatal(err)
			}
			p.ids["in"], p.at[lane{"in", 0}] = details["in"].ID, span{0, 10, 0}
			splits, err := r.src.Plan(t.Context(), batch.Range{End: p.offset()})
			if err != nil {
				t.Fatal(err)
			}
			cut(t, b, 4)
			rows, err := r.split(t.Context(), splits[0])
			if fail == "true" {
				if err == nil || !strings.Contains(err.Error(), "offsets 0 to 3 are gone") {
					t.Fatalf("got %q, %v", rows, err)
				}
				continue
			}
			if err != nil || len(rows) != 6 || len(r.bad) != 1 || r.bad[0].Reason != "offsets 0 to 3 were gone before they were read" {
				t.Fatalf("got %q, %v, %v", rows, err, r.bad)
			}
		}
	})
	t.Run("created again", func(t *testing.T) {
		b := newBroker(t, 1, "in")
		b.produce(t, b.cl, "in", 0, 0, 5)
		r := b.read(t, b.specOf())
		r.rows(5)
		_ = r.src.Close()
		again(t, b)
		b.produce(t, b.cl, "in", 0, 100, 9)
		strict := b.read(t, b.specOf())
		strict.at = r.at
		if _, err := strict.try(t.Context()); err == nil || !strings.Contains(err.Error(), `topic "in" was deleted and created again`) || !strings.Contains(err.Error(), "partition 0 was read to offset 5") {
			t.Fatalf("got %v", err)
		}
		lax := b.read(t, b.specOf("fail-on-data-loss", "false"))
		lax.at = r.at
		if rows := lax.rows(9); ids(rows)[0] != "100" {
			t.Errorf("got %q", rows)
		}
	})
	t.Run("created again while it is read", func(t *testing.T) {
		b := newBroker(t, 1, "in")
		b.produce(t, b.cl, "in", 0, 0, 5)
		r := b.read(t, b.specOf())
		r.rows(5)
		again(t, b)
		b.produce(t, b.cl, "in", 0, 100, 9)
		for {
			rows, err := r.try(t.Context())
			if len(rows) > 0 {
				t.Fatalf("rows %q of another topic", rows)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "created again") {
					t.Fatalf("got %v", err)
				}
				return
			}
			<-r.src.Changed()
		}
	})
}

func TestBeginAndEnd(t *testing.T) {
	b := newBroker(t, 2, "in")
	for part := range int32(2) {
		for i := range 10 {
			m := record("in", part, fmt.Sprintf(`{"id":%d}`, int(part)*10+i))
			m.Timestamp = time.UnixMilli(int64(1000 * i))
			if err := b.cl.ProduceSync(t.Context(), m).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		options []string
		want    []string
	}{
		{"offsets", []string{"starting-offsets", `{"in":{"0":8,"1":-1}}`}, []string{"8", "9"}},
		{"both", []string{"starting-offsets", `{"in":{"0":4,"1":6}}`, "ending-offsets", `{"in":{"0":6,"1":7}}`}, []string{"4", "5", "16"}},
		{"time", []string{"starting-offsets", "timestamp", "starting-timestamp", "8000"}, []string{"8", "9", "18", "19"}},
		{"times", []string{"starting-offsets", "timestamp", "starting-timestamp", "1970-01-01T00:00:02Z", "ending-offsets", "timestamp", "ending-timestamp", "4000"}, []string{"2", "3", "12", "13"}},
		{"assigned", []string{"topic", "", "assign", `{"in":[1]}`, "starting-offsets", `{"in":{"1":8}}`}, []string{"18", "19"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, stream := range []bool{true, false} {
				spec := b.specOf(c.options...)
				spec.Stream = stream
				r := b.read(t, spec)
				rows, err := r.try(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for stream && len(rows) < len(c.want) {
					rows = append(rows, r.next()...)
				}
				same(t, fmt.Sprintf("stream %v", stream), ids(rows), c.want...)
				if more, err := r.try(t.Context()); len(more) > 0 || err != nil {
					t.Errorf("and then %q (%v)", more, err)
				}
				if ends := spec.Options["ending-offsets"] != ""; stream && r.src.Ended(r.at) != ends {
					t.Errorf("ended is %v", !ends)
				}
			}
		})
	}
	r := b.read(t, b.specOf("starting-offsets", `{"in":{"0":50}}`))
	if _, err := r.try(t.Context()); err == nil || !strings.Contains(err.Error(), "partition 0 of topic \"in\" has offsets 0 to 10: there is no place to begin or end at 50") {
		t.Errorf("got %v", err)
	}
}

// TestBacklog: far more than the buffer holds comes through it, in order, and the
// buffer keeps its bound.
func TestBacklog(t *testing.T) {
	b := newBroker(t, 2, "in")
	const n = 40_000
	for from := 0; from < n; from += 2000 {
		b.produce(t, b.cl, "in", 0, from, 2000)
		b.produce(t, b.cl, "in", 1, from, 2000)
	}
	r := b.read(t, b.specOf("prefetch-bytes", "256KiB", "max-offsets-per-trigger", "9000"))
	last := map[string]int{"0": -1, "1": -1}
	for got := 0; got < 2*n; {
		rows := r.next()
		if len(rows) > 9000 {
			t.Fatalf("a batch of %d rows", len(rows))
		}
		got += len(rows)
		for _, row := range rows {
			var id int
			var name, part string
			if _, err := fmt.Sscan(row, &id, &name, &part); err != nil {
				t.Fatal(err)
			}
			if id != last[part]+1 {
				t.Fatalf("partition %s: %d follows %d", part, id, last[part])
			}
			last[part] = id
		}
		r.src.feed.mu.Lock()
		for l, buf := range r.src.feed.mu.lanes {
			if buf.bytes > 128<<10+2000*300 { // what was produced at a time comes at a time
				t.Errorf("Q2: %d bytes of %s are in memory", buf.bytes, l)
			}
		}
		r.src.feed.mu.Unlock()
	}
}

func TestMinOffsets(t *testing.T) {
	b := newBroker(t, 1, "in")
	b.produce(t, b.cl, "in", 0, 0, 3)
	r := b.read(t, b.specOf("min-offsets-per-trigger", "5", "max-trigger-delay", "1 hour"))
	if rows, err := r.try(t.Context()); len(rows) > 0 || err != nil {
		t.Fatalf("a batch of %q (%v)", rows, err)
	}
	b.produce(t, b.cl, "in", 0, 3, 2)
	r.rows(5)
	soon := b.read(t, b.specOf("min-offsets-per-trigger", "50", "max-trigger-delay", "30ms"))
	soon.rows(5)
}

func TestGroupIsPublished(t *testing.T) {
	b := newBroker(t, 1, "in")
	b.produce(t, b.cl, "in", 0, 0, 3)
	r := b.read(t, b.specOf("group-id", "lag"))
	r.rows(3)
	r.src.Shown(r.at)
	_ = r.src.Close() // publishes what it has not yet
	got, err := b.adm.FetchOffsets(t.Context(), "lag")
	if o, ok := got.Lookup("in", 0); err != nil || !ok || o.At != 3 {
		t.Errorf("the group says %v, %v", o, err)
	}
}

func TestBadRows(t *testing.T) {
	b := newBroker(t, 1, "in")
	for _, v := range []string{`{"id":1}`, `{"id":"x"}`, `{"id":`, `{"id":4}`} {
		if err := b.cl.ProduceSync(t.Context(), record("in", 0, v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.read(t, b.specOf()).try(t.Context())
	if err == nil || !strings.Contains(err.Error(), `table "src": topic "in", partition 0, offset 1: column 7, field "id": cannot read "\"x\"" as int64`) {
		t.Errorf("fail: %v", err)
	}
	same(t, "null", ids(b.read(t, b.specOf("bad-rows", "null")).rows(4)), "1", "4", "NULL", "NULL")
	r := b.read(t, b.specOf("bad-rows", "quarantine"))
	same(t, "quarantine", ids(r.rows(2)), "1", "4")
	if len(r.bad) != 2 || string(r.bad[0].Raw) != `{"id":"x"}` || r.bad[0].File != "in/0" || r.bad[0].Offset != 1 || r.bad[1].Offset != 2 {
		t.Errorf("bad rows: %+v", r.bad)
	}
}
