package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/codecs"
	"github.com/sluice-stream/sluice/formats/debezium"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
)

var (
	optTopic     = options.Option{Key: "topic", Kind: options.Text, Doc: "The topics to read, separated by commas; or set 'topic-pattern' or 'assign'."}
	optPattern   = options.Option{Key: "topic-pattern", Kind: options.Text, Doc: "A regular expression for the whole names of the topics to read; new ones are found while a query runs."}
	optAssign    = options.Option{Key: "assign", Kind: options.Text, Doc: `Partitions to read and no others, as JSON: {"orders":[0,1]}.`}
	optFormat    = options.Option{Key: "format", Kind: options.Enum, Default: "json", Values: append(codecs.Names(), codecs.ChangesNames()...), Doc: "What a message's value is: " + codecs.Doc() + "; debezium-json and debezium-avro, a change of a table as Debezium tells it, in JSON or in Avro with a registry."}
	optStart     = options.Option{Key: "starting-offsets", Kind: options.Text, Default: "earliest", Doc: `Where a query begins at its first start: earliest, latest, timestamp, or JSON such as {"orders":{"0":23,"1":-2}}, where -2 is the earliest and -1 the latest. Partitions that are not named, and those that are new while it runs, are read from their beginning.`}
	optStartTime = options.Option{Key: "starting-timestamp", Kind: options.Text, Doc: "With 'starting-offsets' = 'timestamp': the first message of each partition with this time or a later one, as milliseconds since 1970 or as RFC 3339."}
	optEnd       = options.Option{Key: "ending-offsets", Kind: options.Text, Doc: `Where reading ends: latest (of a query over what is there now, the default), timestamp, or JSON as in 'starting-offsets'. A stream ends there.`}
	optEndTime   = options.Option{Key: "ending-timestamp", Kind: options.Text, Doc: "With 'ending-offsets' = 'timestamp': up to the first message with this time or a later one."}
	optRows      = options.Option{Key: "max-offsets-per-trigger", Kind: options.Int, Default: "500000", Doc: "Most offsets in one micro-batch, of all partitions together, each with its share; 0 is no limit."}
	optBytes     = options.Option{Key: "max-bytes-per-trigger", Kind: options.Bytes, Default: "0", Doc: "About how many bytes of messages a micro-batch takes, judged by the size of those in memory; 0 is no limit."}
	optMin       = options.Option{Key: "min-offsets-per-trigger", Kind: options.Int, Default: "0", Doc: "Fewest offsets for which a micro-batch begins, unless 'max-trigger-delay' has passed. Runs that end when all is read (--once) take such a rest in the next run."}
	optDelay     = options.Option{Key: "max-trigger-delay", Kind: options.Duration, Default: "15 minutes", Doc: "How long fewer than 'min-offsets-per-trigger' may wait."}
	optPrefetch  = options.Option{Key: "prefetch-bytes", Kind: options.Bytes, Default: "32MiB", Doc: "Bytes of messages that a stream fetches ahead of its batches, of all partitions together."}
	optIsolation = options.Option{Key: "isolation-level", Kind: options.Enum, Default: "read_committed", Values: []string{"read_committed", "read_uncommitted"}, Doc: "Whether messages of transactions are read once they are committed, or at once, also if they are given up later."}
	optLoss      = options.Option{Key: "fail-on-data-loss", Kind: options.Boolean, Default: "true", Doc: "Whether messages that were gone before they were read stop the query; if not, it goes on behind them, and the batch log says which they were."}
	optGroup     = options.Option{Key: "group-id", Kind: options.Text, Doc: "A consumer group under which the offsets of committed batches are published, for tools that watch how far behind a reader is. The query itself never reads them."}
	optDiscover  = options.Option{Key: "discovery-interval", Kind: options.Duration, Default: "30s", Doc: "How often new partitions, and topics of a pattern, are looked for."}
	optChangelog = options.Option{Key: "changelog", Kind: options.Enum, Values: []string{"none", "retract", "upsert"}, Doc: "What the messages tell: none, each is a row of the table; retract, rows are added and taken back whole; upsert, a row replaces the one before it with the same PRIMARY KEY, and a message without a value deletes the row of its key. By default retract for the formats of Debezium, else none."}
)

func declared(reg *formats.Registry) []options.Option {
	all := []options.Option{optTopic, optPattern, optAssign, optFormat, optStart, optStartTime, optEnd, optEndTime, optRows, optBytes, optMin, optDelay,
		optPrefetch, optIsolation, optLoss, optGroup, optDiscover, optChangelog, optKeyFormat, optKeyColumns, formats.BadRows, formats.QuarantineTable}
	all = append(all, kafkaclient.Options()...)
	all = append(all, codecs.Options()...)
	for _, name := range []string{debezium.Name} {
		if f, err := reg.Lookup(name); err == nil {
			all = append(all, f.Options...)
		}
	}
	return all
}

// Connector returns the connector over the formats that messages can have. Its clients
// have these options besides their table's.
func Connector(clk clock.Clock, reg *formats.Registry, client ...kgo.Opt) sources.Connector {
	h := &hub{}
	opts := declared(reg)
	return sources.Connector{
		Name: "kafka", Doc: "Topics of Kafka, as a table of what is there now or as a stream.", Options: opts,
		Infer: func(ctx context.Context, spec sources.Spec) (*arrow.Schema, error) {
			t, err := parse(spec, opts)
			if err != nil {
				return nil, err
			}
			if t.schema == nil {
				t.client = t.client.With(client...)
				return t.find(ctx)
			}
			return t.schema, nil
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) {
			t, err := parse(spec, opts)
			if err != nil {
				return nil, err
			}
			t.client = t.client.With(client...)
			return open(t, clk, h)
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			t, err := parse(spec, opts)
			if err != nil {
				return nil, err
			}
			t.client = t.client.With(client...)
			return newOpener(t, h, clk), nil
		},
		Changes: func(spec sources.Spec) (batch.Changes, error) {
			t, err := parse(spec, opts)
			if err != nil {
				return batch.OnlyGrows, err
			}
			return t.changes, nil
		},
		Unbounded: func(spec sources.Spec) bool { return spec.Stream && spec.Options.Get(optEnd) == "" },
	}
}

// table is a checked declaration.
type table struct {
	spec       sources.Spec
	client     kafkaclient.Config
	schema     *arrow.Schema
	meta       map[int]string // key of each metadata column
	format     string
	config     formats.Config
	changes    batch.Changes
	events     codecs.Changes  // nil for formats that tell of no changes
	valueCodec codecs.Codec    // of the others
	keyCodec   codecs.Codec    // nil if no columns come from keys
	keyed      map[string]bool // columns that do

	topics  []string
	pattern *regexp.Regexp
	assign  map[string][]int32

	start, end place
	rows, min  int64
	bytes      int64
	delay      time.Duration
	prefetch   int64
	committed  bool
	failOnLoss bool
	group      string
	discover   time.Duration
	inflate    kgo.Decompressor
}

// Where reading can begin and end.
const (
	earliest = int64(-2)
	latest   = int64(-1)
)

// place says where in each partition something is.
type place struct {
	set    bool
	all    int64 // earliest, latest, or a time where byTime is
	byTime bool
	exact  map[lane]int64 // offsets, earliest or latest
}

// moves reports whether the place is another one when it is looked for later.
func (p place) moves() bool {
	if p.byTime {
		return false
	}
	for _, at := range p.exact {
		if at == latest {
			return true
		}
	}
	return p.exact == nil && p.all == latest
}

func parse(spec sources.Spec, opts []options.Option) (*table, error) {
	o := spec.Options
	if err := options.Check(spec.String(), o, opts); err != nil {
		return nil, err
	}
	conn, err := kafkaclient.Parse(spec.String(), o)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(spec.Zone)
	if err != nil {
		return nil, batch.UserErrorf("%s: time zone %q: %w", spec, spec.Zone, err)
	}
	t := &table{
		spec: spec, client: conn, format: strings.ToLower(o.Get(optFormat)), config: formats.Config{Options: o, Zone: zone},
		rows: o.Int(optRows), bytes: o.Bytes(optBytes), min: o.Int(optMin), delay: o.Duration(optDelay), prefetch: o.Bytes(optPrefetch),
		committed: !strings.EqualFold(o.Get(optIsolation), "read_uncommitted"), failOnLoss: o.Bool(optLoss), group: o.Get(optGroup), discover: o.Duration(optDiscover),
		inflate: kgo.DefaultDecompressor(),
	}
	if t.rows < 0 || t.min < 0 || t.prefetch < 1<<16 || t.discover < 10*time.Millisecond {
		return nil, t.userError("an option is out of bounds: '%s' and '%s' at least 0, '%s' at least 64KiB, '%s' at least 10ms", optRows.Key, optMin.Key, optPrefetch.Key, optDiscover.Key)
	}
	if err := t.parseTopics(); err != nil {
		return nil, err
	}
	if t.start, err = t.place(optStart, optStartTime); err != nil {
		return nil, err
	}
	if t.end, err = t.place(optEnd, optEndTime); err != nil {
		return nil, err
	}
	if t.end.set && !t.end.byTime && t.end.exact == nil && t.end.all == earliest {
		return nil, t.userError("option 'ending-offsets' = 'earliest' leaves nothing to read")
	}
	if err := t.parseChanges(); err != nil {
		return nil, err
	}
	if err := t.parseColumns(); err != nil {
		return nil, err
	}
	return t, t.parseCodecs()
}

func (t *table) userError(format string, args ...any) error {
	return batch.UserErrorf("%s: %s", t.spec, fmt.Sprintf(format, args...))
}

func (t *table) parseTopics() error {
	o := t.spec.Options
	set := 0
	for _, opt := range []options.Option{optTopic, optPattern, optAssign} {
		if o.Get(opt) != "" {
			set++
		}
	}
	if set != 1 {
		return t.userError("set one of the options 'topic', 'topic-pattern' and 'assign'")
	}
	for name := range strings.SplitSeq(o.Get(optTopic), ",") {
		if name = strings.TrimSpace(name); name != "" {
			t.topics = append(t.topics, name)
		}
	}
	if v := o.Get(optPattern); v != "" {
		p, err := regexp.Compile("^(?:" + v + ")$")
		if err != nil {
			return t.userError("option 'topic-pattern': %v", err)
		}
		t.pattern = p
	}
	if v := o.Get(optAssign); v != "" {
		if err := json.Unmarshal([]byte(v), &t.assign); err != nil || len(t.assign) == 0 {
			return t.userError(`option 'assign' = '%s': want JSON such as {"orders":[0,1]}`, v)
		}
		for name := range t.assign {
			t.topics = append(t.topics, name)
		}
	}
	slices.Sort(t.topics)
	t.topics = slices.Compact(t.topics)
	return nil
}

// wants reports whether a partition is one to read.
func (t *table) wants(l lane) bool {
	return t.assign == nil || slices.Contains(t.assign[l.topic], l.part)
}

func (t *table) place(o, when options.Option) (place, error) {
	v, at := t.spec.Options.Get(o), t.spec.Options.Get(when)
	p := place{set: v != ""}
	if at != "" && !strings.EqualFold(v, "timestamp") {
		return p, t.userError("option '%s' needs '%s' = 'timestamp'", when.Key, o.Key)
	}
	switch strings.ToLower(v) {
	case "":
	case "earliest":
		p.all = earliest
	case "latest":
		p.all = latest
	case "timestamp":
		p.byTime = true
		ms, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			var when time.Time
			if when, err = time.Parse(time.RFC3339, at); err == nil {
				ms = when.UnixMilli()
			}
		}
		if err != nil || ms < 0 {
			return p, t.userError("option '%s' = '%s': want milliseconds since 1970, or a time such as 2026-01-31T12:00:00Z", when.Key, at)
		}
		p.all = ms
	default:
		var exact map[string]map[int32]int64
		if err := json.Unmarshal([]byte(v), &exact); err != nil {
			return p, t.userError(`option '%s' = '%s': want earliest, latest, timestamp or JSON such as {"orders":{"0":23,"1":-2}}`, o.Key, v)
		}
		p.all = earliest
		if o.Key == optEnd.Key {
			p.all = latest
		}
		p.exact = map[lane]int64{}
		for topic, parts := range exact {
			for part, at := range parts {
				if part < 0 || at < earliest {
					return p, t.userError("option '%s': %d is no offset of partition %d", o.Key, at, part)
				}
				p.exact[lane{topic, part}] = at
			}
		}
	}
	return p, nil
}

func (t *table) parseChanges() error {
	envelope := codecs.TellsChanges(t.format)
	switch mode := strings.ToLower(t.spec.Options.Get(optChangelog)); {
	case mode == "none" && envelope:
		return t.userError("'changelog' = 'none' does not go with a format that tells of changes; use retract or upsert")
	case mode == "retract" && !envelope:
		return t.userError("'changelog' = 'retract' needs 'format' = 'debezium-json' or 'debezium-avro'")
	case mode == "upsert" && t.format == "raw":
		return t.userError("'changelog' = 'upsert' does not go with 'format' = 'raw'")
	case mode == "upsert":
		t.changes = batch.Upserts
	case envelope:
		t.changes = batch.Retracts
	}
	return nil
}
