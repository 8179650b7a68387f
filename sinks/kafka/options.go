package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/codecs"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
)

var (
	optTopic       = options.Option{Key: "topic", Kind: options.Text, Required: true, Doc: "The topic to write to; it has to be there."}
	optFormat      = options.Option{Key: "format", Kind: options.Enum, Default: "json", Values: append(codecs.Names(), "debezium-json"), Doc: "What a message is: " + codecs.Doc() + " (of a sink the one that is not of the key); debezium-json, a change with the row before and after."}
	optDelivery    = options.Option{Key: "delivery", Kind: options.Enum, Default: "exactly-once", Values: []string{"exactly-once", "at-least-once"}, Doc: "exactly-once: a transaction for each batch, for readers with isolation.level=read_committed; at-least-once: no transaction, and after a failure the last batch may come again."}
	optKeys        = options.Option{Key: "key-columns", Kind: options.Text, Doc: "Columns that make the message's key, separated by commas; by default those of the PRIMARY KEY."}
	optKeyFormat   = options.Option{Key: "key-format", Kind: options.Enum, Default: "json", Values: codecs.Names(), Doc: "What a key is: one of the formats of values, or raw, the text or bytes of its one column."}
	optPartitioner = options.Option{Key: "partitioner", Kind: options.Enum, Default: "key", Values: []string{"key", "round-robin"}, Doc: "Where a message goes: key, by the key's hash as Kafka's own clients do it, and without a key in turn; round-robin, always in turn."}
	optTime        = options.Option{Key: "timestamp-column", Kind: options.Text, Doc: "The column that is the message's timestamp; by default the batch's time."}
	optCompress    = options.Option{Key: "compression", Kind: options.Enum, Default: "none", Values: []string{"none", "gzip", "snappy", "lz4", "zstd"}, Doc: "How messages are compressed."}
	optBatchBytes  = options.Option{Key: "batch-bytes", Kind: options.Bytes, Default: "512KiB", Doc: "Bytes of messages, before compression, that go to a partition at a time; the topic's 'max.message.bytes' has to allow them."}
	optBuffer      = options.Option{Key: "buffer-bytes", Kind: options.Bytes, Default: "1GiB", Doc: "Bytes of encoded messages that may wait in memory for their batch's commit."}
	optIDs         = options.Option{Key: "transactional-ids", Kind: options.Int, Default: "4", Doc: "How many transactional IDs take turns, 1 to 16; it must not change while a batch is unfinished after a crash."}
	optPrefix      = options.Option{Key: "transactional-id-prefix", Kind: options.Text, Default: "sluice", Doc: "Start of the transactional IDs and of the consumer group that keeps the batch ID, for access lists."}
	optTxnTimeout  = options.Option{Key: "transaction-timeout", Kind: options.Duration, Default: "60s", Doc: "After how long the broker gives up a transaction that a crash left open, if the query does not come back before; readers wait for it."}
)

func declared() []options.Option {
	own := append([]options.Option{optTopic, optFormat, optDelivery, optKeys, optKeyFormat, optPartitioner, optTime, optCompress, optBatchBytes, optBuffer, optIDs, optPrefix, optTxnTimeout}, kafkaclient.Options()...)
	return append(own, codecs.Options()...)
}

// Connector returns the connector. Its clients have these options besides their table's.
func Connector(clk clock.Clock, client ...kgo.Opt) sinks.Connector {
	return sinks.Connector{
		Name: "kafka", Doc: "A topic of Kafka, exactly once.", Options: declared(),
		Modes:    []sinks.Mode{sinks.Append, sinks.Update, sinks.Changelog},
		Volatile: true,
		Transactional: func(spec sinks.Spec) bool {
			return !spec.Batch && !strings.EqualFold(spec.Options.Get(optDelivery), "at-least-once")
		},
		Check: func(spec sinks.Spec) error {
			_, err := parse(spec)
			return err
		},
		New: func(_ context.Context, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory, error) {
			t, err := parse(spec)
			if err != nil {
				return nil, nil, err
			}
			t.client = t.client.With(client...)
			return open(t, clk)
		},
	}
}

// target is a checked table.
type target struct {
	spec       sinks.Spec
	client     kafkaclient.Config
	topic      string
	format     string
	once       bool // exactly once
	oneShot    bool // a statement's only batch
	keys       []int
	keyFormat  string
	value, key codecs.Codec // nil for formats with encoders of their own
	roundRobin bool
	time       int // column, -1 for the batch's time
	codec      kgo.CompressionCodec
	codecBits  int16
	batchBytes int
	bytesMax   int64
	ids        int
	prefix     string
	timeout    time.Duration
}

func parse(spec sinks.Spec) (*target, error) {
	what, o := fmt.Sprintf("table %q", spec.Table), spec.Options
	if err := options.Check(what, o, declared()); err != nil {
		return nil, err
	}
	conn, err := kafkaclient.Parse(what, o)
	if err != nil {
		return nil, err
	}
	t := &target{
		spec: spec, client: conn, topic: o.Get(optTopic), format: strings.ToLower(o.Get(optFormat)),
		once: !strings.EqualFold(o.Get(optDelivery), "at-least-once"), oneShot: spec.Batch,
		keyFormat: strings.ToLower(o.Get(optKeyFormat)), roundRobin: strings.EqualFold(o.Get(optPartitioner), "round-robin"),
		time: -1, batchBytes: int(o.Bytes(optBatchBytes)), bytesMax: o.Bytes(optBuffer), ids: int(o.Int(optIDs)), prefix: o.Get(optPrefix), timeout: o.Duration(optTxnTimeout),
	}
	t.codecBits = int16(slices.Index(optCompress.Values, strings.ToLower(o.Get(optCompress))))
	t.codec = []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}[t.codecBits]
	for _, f := range []struct {
		o         options.Option
		v         int64
		low, high int64
	}{
		{optBatchBytes, int64(t.batchBytes), 1, 64 << 20}, {optBuffer, t.bytesMax, 1, 1 << 50}, {optIDs, int64(t.ids), 1, 16},
		{optTxnTimeout, int64(t.timeout), int64(time.Second), int64(15 * time.Minute)},
	} {
		if f.v < f.low || f.v > f.high {
			return nil, t.userError("option '%s' = '%s' is out of bounds", f.o.Key, o.Get(f.o))
		}
	}
	if t.topic == "" {
		return nil, t.userError("option 'topic' is empty")
	}
	if err := t.checkColumns(); err != nil {
		return nil, err
	}
	return t, t.openCodecs()
}

func (t *target) userError(format string, args ...any) error {
	return batch.UserErrorf("table %q: %s", t.spec.Table, fmt.Sprintf(format, args...))
}

// checkColumns finds the columns of the key and of the time, and holds format and mode together.
func (t *target) checkColumns() error {
	o, schema := t.spec.Options, t.spec.Schema
	names := t.spec.Keys
	if v := o.Get(optKeys); v != "" {
		names = strings.Split(v, ",")
	}
	for _, name := range names {
		i, err := t.column(strings.TrimSpace(name), optKeys)
		if err != nil {
			return err
		}
		t.keys = append(t.keys, i)
	}
	if name := o.Get(optTime); name != "" {
		i, err := t.column(name, optTime)
		if err != nil {
			return err
		}
		if schema.Field(i).Type.ID() != arrow.TIMESTAMP {
			return t.userError("option '%s': column %q is no TIMESTAMP", optTime.Key, name)
		}
		t.time = i
	}
	if t.keyFormat == "raw" && len(t.keys) != 1 {
		return t.userError("'key-format' = 'raw' is for a key of one column, this one has %d", len(t.keys))
	}
	switch t.spec.Mode {
	case sinks.Update:
		if t.spec.OneRow && len(t.keys) == 0 {
			return t.userError("output mode update of a result of one row has no column for the message's key: set 'key-columns', or use output mode changelog with 'format' = 'debezium-json'")
		}
		if t.format == "debezium-json" {
			return t.userError("'format' = 'debezium-json' takes output mode changelog or append; upserts are of any other format")
		}
	case sinks.Changelog:
		if t.format != "debezium-json" {
			return t.userError("output mode changelog needs 'format' = 'debezium-json'")
		}
	case sinks.Append:
	case sinks.Complete:
		return t.userError("a topic cannot take output mode complete: what was written stays")
	}
	if t.format == "raw" {
		_, err := t.rawColumn()
		return err
	}
	return nil
}

// rawColumn is the one column that is the value under 'format' = 'raw'.
func (t *target) rawColumn() (int, error) {
	at := -1
	for i, f := range t.spec.Schema.Fields() {
		if i == t.time || len(t.keys) > 0 && slices.Contains(t.keys, i) {
			continue
		}
		if at >= 0 {
			return 0, t.userError("'format' = 'raw' writes one column besides key and time, and %q and %q are two", t.spec.Schema.Field(at).Name, f.Name)
		}
		if at = i; f.Type.ID() != arrow.STRING && f.Type.ID() != arrow.BINARY {
			return 0, t.userError("'format' = 'raw' writes STRING or BINARY, and column %q is %s", f.Name, f.Type)
		}
	}
	if at < 0 {
		return 0, t.userError("'format' = 'raw' needs a column besides key and time")
	}
	return at, nil
}

func (t *target) column(name string, o options.Option) (int, error) {
	for i, f := range t.spec.Schema.Fields() {
		if strings.EqualFold(f.Name, name) {
			return i, nil
		}
	}
	var names []string
	for _, f := range t.spec.Schema.Fields() {
		names = append(names, f.Name)
	}
	return 0, t.userError("option '%s' names %q, which is no column%s", o.Key, name, options.Suggest(name, names))
}

// group names the consumer group whose offset metadata tells the batch.
func (t *target) group() string { return fmt.Sprintf("%s-%s-%s", t.prefix, t.spec.Query, t.spec.Name) }

func (t *target) transactionalID(i int) string { return fmt.Sprintf("%s-%d", t.group(), i) }
