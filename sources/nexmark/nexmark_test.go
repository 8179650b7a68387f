package nexmark

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func specOf(kv ...string) sources.Spec {
	m := options.Map{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return sources.Spec{Name: "t#0", Table: "t", Stream: true, Options: m, Zone: "UTC"}
}

func openSpec(t testing.TB, spec sources.Spec) (sources.Source, sources.Opener) {
	t.Helper()
	return sourcetest.Open(t, Connector(clock.System()), spec)
}

func TestConformance(t *testing.T) {
	for _, kind := range kindNames {
		t.Run(kind, func(t *testing.T) {
			rows := map[string]int64{"all": 1234, "person": 25, "auction": 75, "bid": 1134}[kind]
			sourcetest.Run(t, sourcetest.Case{
				Open: func(t testing.TB) (sources.Source, sources.Opener) {
					return openSpec(t, specOf("event-type", kind, "events", "1234", "split-events", "100",
						"out-of-order-group", "20", "late-fraction", "0.2"))
				},
				Limit: sources.Limit{Rows: 170}, Rows: rows,
			})
		})
	}
	t.Run("endless", func(t *testing.T) {
		sourcetest.Run(t, sourcetest.Case{
			Open:  func(t testing.TB) (sources.Source, sources.Opener) { return openSpec(t, specOf()) },
			Limit: sources.Limit{Rows: 4500}, Rows: -1, Batches: 2,
		})
	})
}

// table reads events [0, n) of a spec as one record batch.
func table(t testing.TB, spec sources.Spec, n int64) arrow.RecordBatch {
	t.Helper()
	_, o := openSpec(t, spec)
	var recs []arrow.RecordBatch
	sourcetest.Read(t, o, batch.Split{Payload: fmt.Appendf(nil, "0 %d", n)}, nil, func(rec arrow.RecordBatch) {
		rec.Retain()
		recs = append(recs, rec)
	})
	cols := make([]arrow.Array, recs[0].NumCols())
	for c := range cols {
		var parts []arrow.Array
		for _, rec := range recs {
			parts = append(parts, rec.Column(c))
		}
		var err error
		if cols[c], err = array.Concatenate(parts, memory.DefaultAllocator); err != nil {
			t.Fatal(err)
		}
	}
	return array.NewRecordBatch(recs[0].Schema(), cols, -1)
}

func ints(rec arrow.RecordBatch, name string) []int64 {
	switch c := rec.Column(rec.Schema().FieldIndices(name)[0]).(type) {
	case *array.Int64:
		return c.Values()
	case *array.Timestamp:
		out := make([]int64, c.Len())
		for i := range out {
			out[i] = int64(c.Value(i))
		}
		return out
	}
	return nil
}

func strs(rec arrow.RecordBatch, name string) []string {
	c := rec.Column(rec.Schema().FieldIndices(name)[0]).(*array.String)
	out := make([]string, c.Len())
	for i := range out {
		out[i] = c.Value(i)
	}
	return out
}

// near fails unless got is within a relative tolerance of want.
func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s is %v, want %v within %v%%", what, got, want, 100*tolerance)
	}
}

func fraction[T any](values []T, is func(T) bool) float64 {
	n := 0
	for _, v := range values {
		if is(v) {
			n++
		}
	}
	return float64(n) / float64(len(values))
}

func mean(values []string) float64 {
	n := 0
	for _, v := range values {
		n += len(v)
	}
	return float64(n) / float64(len(values))
}

const many = 250_000

func TestPersons(t *testing.T) {
	rec := table(t, specOf("event-type", "person"), many)
	ids := ints(rec, "id")
	if len(ids) != many/50 {
		t.Fatalf("%d persons", len(ids))
	}
	size := 8.0
	for i, id := range ids {
		if id != int64(1000+i) {
			t.Fatalf("person %d has id %d", i, id)
		}
	}
	shapes := map[string]*regexp.Regexp{
		"name":         regexp.MustCompile(`^(Peter|Paul|Luke|John|Saul|Vicky|Kate|Julie|Sarah|Deiter|Walter) (Shultz|Abrams|Spencer|White|Bartels|Walton|Smith|Jones|Noris)$`),
		"emailAddress": regexp.MustCompile(`^[a-z ]{0,6}@[a-z ]{0,4}\.com$`),
		"creditCard":   regexp.MustCompile(`^\d{4} \d{4} \d{4} \d{4}$`),
		"city":         regexp.MustCompile(`^(Phoenix|Los Angeles|San Francisco|Boise|Portland|Bend|Redmond|Seattle|Kent|Cheyenne)$`),
		"state":        regexp.MustCompile(`^(AZ|CA|ID|OR|WA|WY)$`),
		"extra":        regexp.MustCompile("^[H-Z\\[\\\\\\]^_`a-z]+$"),
	}
	for name, shape := range shapes {
		values := strs(rec, name)
		for _, v := range values {
			if !shape.MatchString(v) {
				t.Fatalf("%s is %q", name, v)
			}
		}
		size += mean(values)
	}
	near(t, "average size of a person", size, 200, 0.01)
	near(t, "share of a state", fraction(strs(rec, "state"), func(s string) bool { return s == "OR" }), 1.0/6, 0.1)
	near(t, "share of a city", fraction(strs(rec, "city"), func(s string) bool { return s == "Kent" }), 0.1, 0.1)
	near(t, "share of c in extra", fraction([]byte(strings.Join(strs(rec, "extra"), "")), func(b byte) bool { return b == 'c' }), 1/52.0, 0.03)
	near(t, "share below a in extra", fraction([]byte(strings.Join(strs(rec, "extra"), "")), func(b byte) bool { return b < 'a' }), 0.5*25/26, 0.02)
}

func TestAuctions(t *testing.T) {
	rec := table(t, specOf("event-type", "auction"), many)
	ids, sellers, categories := ints(rec, "id"), ints(rec, "seller"), ints(rec, "category")
	times, expires := ints(rec, "dateTime"), ints(rec, "expires")
	first, reserve := ints(rec, "initialBid"), ints(rec, "reserve")
	if len(ids) != many/50*3 {
		t.Fatalf("%d auctions", len(ids))
	}
	hot, lives := 0, 0.0
	for i := range ids {
		if ids[i] != int64(1000+i) {
			t.Fatalf("auction %d has id %d", i, ids[i])
		}
		last := int64(i / 3)
		if sellers[i]-1000 == last/100*100 {
			hot++
		}
		if sellers[i] < 1000+max(last-999, 0) || sellers[i] > 1000+last+10 {
			t.Fatalf("seller %d at person %d", sellers[i], last+1000)
		}
		if categories[i] < 10 || categories[i] > 14 || reserve[i] < first[i]+100 {
			t.Fatalf("category %d, reserve %d of %d", categories[i], reserve[i], first[i])
		}
		life := expires[i] - times[i]
		if life < 1000 || life > 2*167*1000+1000 {
			t.Fatalf("auction %d lives %d µs", i, life)
		}
		lives += float64(life)
	}
	near(t, "hot sellers", float64(hot)/float64(len(ids)), 0.75, 0.01)
	near(t, "average life", lives/float64(len(ids)), 167_000, 0.02)
	near(t, "category 10", fraction(categories, func(c int64) bool { return c == 10 }), 0.2, 0.03)
	size := 8 + 5*8 + mean(strs(rec, "itemName")) + mean(strs(rec, "description")) + mean(strs(rec, "extra"))
	near(t, "average size of an auction", size, 500, 0.005)
	near(t, "average item name", mean(strs(rec, "itemName")), 11, 0.03)
	near(t, "average description", mean(strs(rec, "description")), 51, 0.03)
	prices(t, first)
}

// prices checks the log-uniform distribution in six decades.
func prices(t *testing.T, values []int64) {
	t.Helper()
	if low, high := slices.Min(values), slices.Max(values); low < 100 || low > 101 || high > 100_000_000 || high < 99_000_000 {
		t.Errorf("prices from %d to %d", low, high)
	}
	for decade := 2; decade < 8; decade++ {
		low, high := math.Pow10(decade), math.Pow10(decade+1)
		in := func(p int64) bool { return float64(p) >= low && float64(p) < high }
		near(t, fmt.Sprintf("prices from 10^%d", decade), fraction(values, in), 1.0/6, 0.03)
	}
}

func TestPriceIsThatOfPow(t *testing.T) {
	for i := range uint64(200_000) {
		d := draw(mix(i))
		want := math.Round(math.Pow(10, 6*(float64(uint64(d)>>11)/(1<<53))) * 100)
		if got := d.price(); math.Abs(float64(got)-want) > 1 {
			t.Fatalf("price of %x is %d, want %v", uint64(d), got, want)
		}
	}
	if got := draw(0).price(); got != 100 {
		t.Errorf("lowest price is %d", got)
	}
	if got := draw(math.MaxUint64).price(); got != 100_000_000 {
		t.Errorf("highest price is %d", got)
	}
}

func TestBids(t *testing.T) {
	rec := table(t, specOf("event-type", "bid"), many)
	auctions, bidders := ints(rec, "auction"), ints(rec, "bidder")
	if len(auctions) != many/50*46 {
		t.Fatalf("%d bids", len(auctions))
	}
	hotAuctions, hotBidders := 0, 0
	for i := range auctions {
		period := int64(i / 46)
		last := period*3 + 2
		if auctions[i]-1000 == last/100*100 {
			hotAuctions++
		} else if auctions[i] < 1000+max(last-100, 0) || auctions[i] > 1000+last+10 {
			t.Fatalf("bid %d on auction %d, the last is %d", i, auctions[i], last+1000)
		}
		if bidders[i]-1000 == period/100*100+1 {
			hotBidders++
		} else if bidders[i] < 1000+max(period-999, 0) || bidders[i] > 1000+period+10 {
			t.Fatalf("bid %d by %d, the last person is %d", i, bidders[i], period+1000)
		}
	}
	near(t, "hot auctions", float64(hotAuctions)/float64(len(auctions)), 0.504, 0.01)
	near(t, "hot bidders", float64(hotBidders)/float64(len(auctions)), 0.75, 0.01)
	prices(t, ints(rec, "price"))
	near(t, "prices that q14 keeps", fraction(ints(rec, "price"), func(p int64) bool {
		return float64(p)*0.908 > 1e6 && float64(p)*0.908 < 5e7
	}), math.Log10(50)/6, 0.01)
	near(t, "average extra", mean(strs(rec, "extra")), 68, 0.015)
	channelsAndURLs(t, rec)
}

func channelsAndURLs(t *testing.T, rec arrow.RecordBatch) {
	t.Helper()
	shape := regexp.MustCompile(`^https://www\.nexmark\.com/[a-z_]{3,4}/[a-z_]{3,4}/[a-z_]{3,4}/item\.htm\?query=1(&channel_id=-?\d+)?$`)
	names, urls := strs(rec, "channel"), strs(rec, "url")
	known := map[string]string{}
	withID := 0
	for i, name := range names {
		if u, ok := known[name]; ok {
			if u != urls[i] {
				t.Fatalf("channel %q has URLs %q and %q", name, u, urls[i])
			}
			continue
		}
		known[name] = urls[i]
		m := shape.FindStringSubmatch(urls[i])
		if m == nil {
			t.Fatalf("URL %q", urls[i])
		}
		k, cold := strings.CutPrefix(name, "channel-")
		n, err := strconv.ParseUint(k, 10, 32)
		if cold != (err == nil) || n >= 10_000 || (!cold && !slices.Contains(hotNames[:], name)) {
			t.Fatalf("channel %q", name)
		}
		if m[1] == "" {
			continue
		}
		if withID++; !cold || m[1] != fmt.Sprintf("&channel_id=%d", channelID(uint32(n))) {
			t.Fatalf("channel %q has URL %q", name, urls[i])
		}
	}
	if len(known) < 9_990 {
		t.Errorf("only %d channels", len(known))
	}
	near(t, "URLs with channel_id", float64(withID)/float64(len(known)), 0.9, 0.02)
	near(t, "hot channels", fraction(names, func(s string) bool { return !strings.HasPrefix(s, "channel-") }), 0.5, 0.01)
	near(t, "one hot channel", fraction(names, func(s string) bool { return s == "Apple" }), 0.125, 0.02)
	if channelID(0) != 0 || channelID(1) != math.MinInt32 || channelID(2) != 1<<30 || channelID(3) != 1<<30 {
		t.Errorf("channel ids %d %d %d %d", channelID(0), channelID(1), channelID(2), channelID(3))
	}
}

func TestEverythingInOneTable(t *testing.T) {
	const n = 10_000
	rec := table(t, specOf(), n)
	types := rec.Column(0).(*array.Int32)
	times := rec.Column(4).(*array.Timestamp)
	base := time.Date(2015, 7, 15, 0, 0, 0, 0, time.UTC)
	var counts [kinds]int
	for i := range n {
		want := []kind{person, auction, auction, auction}
		k := bid
		if i%50 < len(want) {
			k = want[i%50]
		}
		if kind(types.Value(i)) != k {
			t.Fatalf("event %d is of type %d, want %d", i, types.Value(i), k)
		}
		counts[k]++
		for other := range kind(kinds) {
			if rec.Column(int(1+other)).IsValid(i) != (other == k) {
				t.Fatalf("event %d: column %s", i, kindNames[other])
			}
		}
		if got, want := times.Value(i).ToTime(arrow.Microsecond), base.Add(time.Duration(i/10)*time.Millisecond); !got.Equal(want) {
			t.Fatalf("event %d at %v, want %v", i, got, want)
		}
	}
	if counts != [kinds]int{200, 600, 9200} {
		t.Errorf("counts %v", counts)
	}
	for k := range kind(kinds) {
		flat := table(t, specOf("event-type", kindNames[k]), n)
		nested := rec.Column(int(1 + k)).(*array.Struct)
		row := 0
		for i := range n {
			if kind(types.Value(i)) != k {
				continue
			}
			for c := range nested.NumField() {
				if got, want := nested.Field(c).ValueStr(i), flat.Column(c).ValueStr(row); got != want || nested.Field(c).IsNull(i) {
					t.Fatalf("%s %d: field %d is %q, in the flat table %q", kindNames[k], row, c, got, want)
				}
			}
			row++
		}
		if got := nested.Field(0).NullN(); got != n-row {
			t.Errorf("a field of %s has %d NULLs, want %d", kindNames[k], got, n-row)
		}
	}
}

func TestKnobs(t *testing.T) {
	plain := table(t, specOf("event-type", "bid"), 5000)
	t.Run("bidder-offset-bug", func(t *testing.T) {
		rec := table(t, specOf("event-type", "bid", "bidder-offset-bug", "true"), 5000)
		for i, b := range ints(rec, "bidder") {
			if b != ints(plain, "bidder")[i]+1000 {
				t.Fatalf("bidder %d", b)
			}
		}
	})
	t.Run("first-event-id", func(t *testing.T) {
		rec := table(t, specOf("event-type", "person", "first-event-id", "2"), 5000)
		if got := ints(rec, "id")[0]; got != 1001 {
			t.Errorf("first person is %d", got)
		}
	})
	t.Run("seed", func(t *testing.T) {
		rec := table(t, specOf("event-type", "bid", "seed", "1"), 5000)
		if slices.Equal(ints(rec, "price"), ints(plain, "price")) || slices.Equal(strs(rec, "url"), strs(plain, "url")) {
			t.Error("another seed made the same rows")
		}
	})
	t.Run("disorder", func(t *testing.T) {
		rec := table(t, specOf("out-of-order-group", "100"), 5000)
		times := ints(rec, "dateTime")
		if slices.IsSorted(times) {
			t.Error("in order")
		}
		slices.Sort(times)
		in := ints(table(t, specOf(), 5000), "dateTime")
		if !slices.Equal(times, in) {
			t.Error("not a permutation")
		}
		if ids := ints(table(t, specOf("event-type", "person", "out-of-order-group", "100"), 5000), "id"); len(ids) != 100 {
			t.Errorf("%d persons", len(ids))
		}
	})
	t.Run("late", func(t *testing.T) {
		rec := table(t, specOf("event-type", "bid", "late-fraction", "0.1", "late-max", "2s"), 100_000)
		in := ints(table(t, specOf("event-type", "bid"), 100_000), "dateTime")
		late, by := 0, int64(0)
		for i, ts := range ints(rec, "dateTime") {
			if d := in[i] - ts; d != 0 {
				if late++; d < 1000 || d > 2_000_000 {
					t.Fatalf("bid %d is %d µs late", i, d)
				}
				by += d
			}
		}
		near(t, "late bids", float64(late)/float64(len(in)), 0.1, 0.05)
		near(t, "average lateness", float64(by)/float64(late), 1_000_500, 0.03)
	})
	t.Run("rate and base", func(t *testing.T) {
		rec := table(t, specOf("events-per-second", "3", "base-time", "2020-01-01T00:00:00.5Z"), 5)
		base := time.Date(2020, 1, 1, 0, 0, 0, 500_000_000, time.UTC).UnixMicro()
		if got := ints(rec, "dateTime"); !slices.Equal(got, []int64{base, base + 333_000, base + 666_000, base + 1_000_000, base + 1_333_000}) {
			t.Errorf("times %v", got)
		}
	})
}

func TestDeclaredColumns(t *testing.T) {
	spec := specOf()
	ntz := &arrow.TimestampType{Unit: arrow.Microsecond}
	spec.Schema = arrow.NewSchema([]arrow.Field{
		{Name: "DATETIME", Type: ntz, Nullable: true},
		{Name: "bid", Type: arrow.StructOf(arrow.Field{Name: "price", Type: typeID, Nullable: true}, arrow.Field{Name: "auction", Type: typeID, Nullable: true}), Nullable: true},
	}, nil)
	rec := table(t, spec, 1000)
	full := table(t, specOf(), 1000)
	got, want := rec.Column(1).(*array.Struct), full.Column(3).(*array.Struct)
	if !array.Equal(got.Field(0), want.Field(2)) || !array.Equal(got.Field(1), want.Field(0)) {
		t.Error("a struct declared in part has other values")
	}
	if !arrow.TypeEqual(rec.Column(0).DataType(), ntz) || !slices.Equal(ints(rec, "DATETIME"), ints(full, "dateTime")) {
		t.Error("a time declared without zone has other values")
	}
}

func TestFaults(t *testing.T) {
	column := func(kind, name string, typ arrow.DataType) sources.Spec {
		s := specOf("event-type", kind)
		s.Schema = arrow.NewSchema([]arrow.Field{{Name: name, Type: typ}}, nil)
		return s
	}
	static := specOf()
	static.Stream = false
	for _, c := range []struct {
		spec sources.Spec
		want string
	}{
		{specOf("event-type", "bit"), "want one of all, person, auction, bid"},
		{specOf("events", "-1"), "'events' = '-1': want 0 to"},
		{specOf("events-per-second", "0"), "'events-per-second' = '0'"},
		{specOf("out-of-order-group", "1906"), "a multiple of 953"},
		{specOf("late-fraction", "1.5"), "want 0 to 1"},
		{specOf("late-fraction", "NaN"), "want 0 to 1"},
		{specOf("late-fraction", "0.5", "late-max", "1us"), "want at least 1 ms"},
		{specOf("base-time", "yesterday"), "want a time such as"},
		{specOf("evnts", "1"), `did you mean "events"?`},
		{static, "'events' is missing"},
		{column("bid", "prize", typeID), `no column "prize", did you mean "price"?`},
		{column("bid", "price", typeText), `column "price" is declared utf8, the generator has int64`},
		{column("all", "bids", typeID), `did you mean "bid"?`},
		{column("all", "bid", typeID), "the generator has a struct"},
		{column("all", "bid", arrow.StructOf(arrow.Field{Name: "prise", Type: typeID})), `no column "bid.prise", did you mean "price"?`},
	} {
		_, err := Connector(nil).New(t.Context(), c.spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.spec.Options, err, c.want)
			continue
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("%v is of kind %v", err, k)
		}
	}
}

func TestRealTimePacesEvents(t *testing.T) {
	c := clock.NewManual(time.Unix(1000, 0))
	src, err := Connector(c).New(t.Context(), specOf("realtime", "true", "events-per-second", "100"))
	if err != nil {
		t.Fatal(err)
	}
	at := batch.Offset("5000") // as after a restart
	for _, want := range []batch.Offset{"5000", "5100", "5200"} {
		if at, err = src.Latest(t.Context(), at, sources.Limit{}); err != nil || at != want {
			t.Fatalf("latest is %q (%v), want %q", at, err, want)
		}
		c.Advance(time.Second)
	}
}
