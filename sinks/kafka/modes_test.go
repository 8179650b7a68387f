package kafka

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// messages returns what a batch of changes becomes: key, value or "none", partition.
func messages(t *testing.T, spec sinks.Spec, rec arrow.RecordBatch) []string {
	t.Helper()
	c := newBroker(t)
	over := specOf(c)
	for k, v := range spec.Options {
		over.Options[k] = v
	}
	spec.Options, spec.Name, spec.Table, spec.Query, spec.Schema = over.Options, over.Name, over.Table, over.Query, over.Schema
	s, w := openSpec(t, spec)
	defer s.Close()
	if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rec)); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range readAll(t, c) {
		value := "none"
		if r.Value != nil {
			value = string(r.Value)
		}
		if r.Key != nil && r.Partition != partitionOf(r.Key, 3) {
			t.Errorf("key %q is in partition %d, Kafka's clients look in %d", r.Key, r.Partition, partitionOf(r.Key, 3))
		}
		out = append(out, fmt.Sprintf("%s=%s", r.Key, value))
	}
	slices.Sort(out)
	return out
}

// partitionOf asks the client library, which does as Kafka's own.
func partitionOf(key []byte, n int) int32 {
	p := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	return int32(p.Partition(&kgo.Record{Key: key}, n))
}

func TestModes(t *testing.T) {
	changes := func(ops ...batch.Op) arrow.RecordBatch { return rowsOf(memory.DefaultAllocator, 1, 0, ops...) }
	for _, c := range []struct {
		name string
		spec sinks.Spec
		rec  arrow.RecordBatch
		want []string
	}{
		{"upserts", sinks.Spec{Mode: sinks.Update, Keys: []string{"id"}}, changes(sinks.Insert, sinks.UpdateBefore, sinks.UpdateAfter, sinks.Delete),
			[]string{`{"id":1}={"id":1,"name":"n0"}`, `{"id":2}=none`, `{"id":2}={"id":2,"name":"n2"}`}},
		{"raw", sinks.Spec{Mode: sinks.Update, Keys: []string{"id"}, Options: map[string]string{"format": "raw", "key-format": "raw"}}, changes(sinks.Insert, sinks.UpdateBefore, sinks.UpdateAfter, sinks.Delete),
			[]string{"1=n0", "2=n2", "2=none"}},
		{"changelog", sinks.Spec{Mode: sinks.Changelog, Options: map[string]string{"format": "debezium-json", "key-columns": "id"}},
			changes(sinks.UpdateBefore, sinks.UpdateAfter, sinks.Insert, sinks.UpdateBefore, sinks.UpdateAfter, sinks.Delete),
			[]string{`{"id":1}={"before":{"id":1,"name":"n0"},"after":{"id":1,"name":"n1"},"op":"u"}`,
				// Another key: a deletion and a creation, each under its own.
				`{"id":2}={"before":null,"after":{"id":2,"name":"n2"},"op":"c"}`, `{"id":2}={"before":{"id":2,"name":"n3"},"after":null,"op":"d"}`,
				`{"id":3}={"before":null,"after":{"id":3,"name":"n4"},"op":"c"}`, `{"id":3}={"before":{"id":3,"name":"n5"},"after":null,"op":"d"}`}},
		{"without keys", sinks.Spec{Mode: sinks.Append}, rowsOf(memory.DefaultAllocator, 1, 2), []string{`={"id":1,"name":"n0"}`, `={"id":2,"name":"n1"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := messages(t, c.spec, c.rec); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

// TestCompressionAndBatches: every codec, and more than one record batch for a partition.
func TestCompressionAndBatches(t *testing.T) {
	for _, codec := range optCompress.Values {
		for _, delivery := range optDelivery.Values {
			c := newBroker(t)
			s, w := openSpec(t, specOf(c, "compression", codec, "batch-bytes", "1KiB", "delivery", delivery, "partitioner", "round-robin"))
			for id := range batch.ID(3) {
				if err := s.Commit(t.Context(), id, 1, prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*500, 500))); err != nil {
					t.Fatal(err)
				}
			}
			once(t, readAll(t, c), 1500)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOneShot(t *testing.T) {
	c := newBroker(t)
	spec := specOf(c)
	spec.Batch = true
	for i := range 2 {
		s, w := openSpec(t, spec)
		if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, int64(i)*10, 10))); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	once(t, readAll(t, c), 20)
}

func TestTimestamps(t *testing.T) {
	c := newBroker(t)
	spec := specOf(c, "timestamp-column", "at")
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond}, Nullable: true}}, nil)
	spec.Schema = schema
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{0, 1, 2}, nil)
	b.Field(1).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{5_000_000, 2_000_000, 0}, []bool{true, true, false})
	s, w := openSpec(t, spec)
	defer s.Close()
	if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, b.NewRecordBatch())); err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, r := range readAll(t, c) {
		got = append(got, r.Timestamp.UnixMilli())
	}
	if !slices.Equal(got, []int64{5000, 2000, 1_700_000_000_000}) {
		t.Errorf("times %v", got)
	}
}

func TestRefused(t *testing.T) {
	c := newBroker(t)
	for _, f := range []struct {
		change func(s *sinks.Spec)
		want   string
	}{
		{func(s *sinks.Spec) { s.Mode = sinks.Changelog }, "output mode changelog needs 'format' = 'debezium-json'"},
		{func(s *sinks.Spec) { s.Mode, s.Options["format"] = sinks.Update, "debezium-json" }, "takes output mode changelog or append"},
		{func(s *sinks.Spec) { s.Mode, s.OneRow = sinks.Update, true }, "set 'key-columns'"},
		{func(s *sinks.Spec) { s.Options["key-columns"] = "idd" }, `names "idd", which is no column, did you mean "id"?`},
		{func(s *sinks.Spec) { s.Options["key-format"] = "raw" }, "is for a key of one column"},
		{func(s *sinks.Spec) { s.Options["format"] = "raw" }, `column "id" is int64`},
		{func(s *sinks.Spec) { s.Options["timestamp-column"] = "name" }, `column "name" is no TIMESTAMP`},
		{func(s *sinks.Spec) { s.Options["transactional-ids"] = "0" }, "is out of bounds"},
		{func(s *sinks.Spec) { s.Options["format"] = "orc" }, "want one of json, csv, avro, protobuf, raw, debezium-json"},
		{func(s *sinks.Spec) { s.Options["sasl.password"] = "secret" }, "does not hold the secret but says where it is"},
	} {
		spec := specOf(c)
		f.change(&spec)
		err := Connector(nil).Check(spec)
		if err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("got %v, want %s", err, f.want)
		} else if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("%v is of kind %v", err, k)
		}
	}
}

func TestNoTopic(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c, "topic", "nowhere", "request-timeout", "1s"))
	defer s.Close()
	_, err := w.NewWriter(t.Context(), sinks.Attempt{}, specOf(c).Schema, memory.DefaultAllocator)
	if err == nil || !strings.Contains(err.Error(), `there is no topic "nowhere"`) {
		t.Errorf("got %v", err)
	}
}

// TestTopicIsNew: a broker that does not know of a topic yet is asked again.
func TestTopicIsNew(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	left := 3
	c.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked := req.(*kmsg.MetadataRequest).Topics
		if left--; left < 0 || len(asked) == 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.Version = req.GetVersion()
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic, rt.ErrorCode = asked[0].Topic, kerr.UnknownTopicOrPartition.Code
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 10))); err != nil {
		t.Fatal(err)
	}
	once(t, readAll(t, c), 10)
}
