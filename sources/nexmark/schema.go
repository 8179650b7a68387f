package nexmark

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
)

// number and text make one field of one event. They are method expressions, so
// that a table of columns can be built once and used by every generator.
type (
	number func(*config, *event) int64
	text   func(*texts, []byte, *event) []byte
)

// column is how one field of one type of event is made: one of number and text.
type column struct {
	name   string
	typ    arrow.DataType
	number number
	text   text
	max    func(*texts) int // longest text in bytes
	// The same for many events, where that is quicker.
	bulk     bulk
	bulkText bulkText
}

var (
	typeID   = arrow.PrimitiveTypes.Int64
	typeText = arrow.BinaryTypes.String
	typeTime = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
)

func atMost(n int) func(*texts) int { return func(*texts) int { return n } }

// tables are the columns of the three types of event, in their order.
var tables = [kinds][]column{
	person: {
		{name: "id", typ: typeID, number: (*config).personID},
		{name: "name", typ: typeText, text: (*texts).personName, max: atMost(16)},
		{name: "emailAddress", typ: typeText, text: (*texts).email, max: atMost(6 + 1 + 4 + 4)},
		{name: "creditCard", typ: typeText, text: (*texts).creditCard, max: atMost(19)},
		{name: "city", typ: typeText, text: (*texts).city, max: atMost(13)},
		{name: "state", typ: typeText, text: (*texts).state, max: atMost(2)},
		{name: "dateTime", typ: typeTime, number: (*config).dateTime, bulk: eventTimes},
		{name: "extra", typ: typeText, text: (*texts).personExtra, max: atMost(extraMax(8, personSize))},
	},
	auction: {
		{name: "id", typ: typeID, number: (*config).auctionID},
		{name: "itemName", typ: typeText, text: (*texts).itemName, max: atMost(itemNameLimit)},
		{name: "description", typ: typeText, text: (*texts).description, max: atMost(describeLimit)},
		{name: "initialBid", typ: typeID, number: (*config).initialBid},
		{name: "reserve", typ: typeID, number: (*config).reserve},
		{name: "dateTime", typ: typeTime, number: (*config).dateTime, bulk: eventTimes},
		{name: "expires", typ: typeTime, number: (*config).expires},
		{name: "seller", typ: typeID, number: (*config).seller},
		{name: "category", typ: typeID, number: (*config).category},
		{name: "extra", typ: typeText, text: (*texts).auctionExtra, max: atMost(extraMax(8+5*8, auctionSize))},
	},
	bid: {
		{name: "auction", typ: typeID, number: (*config).bidAuction, bulk: bidAuctions},
		{name: "bidder", typ: typeID, number: (*config).bidder, bulk: bidBidders},
		{name: "price", typ: typeID, number: (*config).price, bulk: bidPrices},
		{name: "channel", typ: typeText, text: (*texts).channel, max: func(t *texts) int { return t.nameMax }, bulkText: bidChannels},
		{name: "url", typ: typeText, text: (*texts).bidURL, max: func(t *texts) int { return t.urlMax }, bulkText: bidURLs},
		{name: "dateTime", typ: typeTime, number: (*config).dateTime, bulk: eventTimes},
		{name: "extra", typ: typeText, text: (*texts).bidExtra, max: atMost(extraMax(4*8, bidSize)), bulkText: bidExtras},
	},
}

// The columns of the table of all events besides the three structs.
const (
	colType = "event_type"
	colTime = "dateTime"
)

func fieldsOf(k kind) []arrow.Field {
	fields := make([]arrow.Field, len(tables[k]))
	for i, c := range tables[k] {
		fields[i] = arrow.Field{Name: c.name, Type: c.typ, Nullable: true}
	}
	return fields
}

// schemaOf is the schema of a table whose DDL declares no columns.
func schemaOf(k kind) *arrow.Schema {
	if k != all {
		return arrow.NewSchema(fieldsOf(k), nil)
	}
	fields := []arrow.Field{{Name: colType, Type: arrow.PrimitiveTypes.Int32, Nullable: true}}
	for k := range kind(kinds) {
		fields = append(fields, arrow.Field{Name: kindNames[k], Type: arrow.StructOf(fieldsOf(k)...), Nullable: true})
	}
	fields = append(fields, arrow.Field{Name: colTime, Type: typeTime, Nullable: true})
	return arrow.NewSchema(fields, nil)
}

// output is a column of the table as declared: a field of one type of event, a
// struct of such, or one of the two that every event has.
type output struct {
	field    arrow.Field
	kind     kind // all: of every event
	column   column
	children []output // of a struct
}

// compile finds for each declared column what makes it. Columns and the fields of
// structs may be left out or be in another order, and time may be declared
// without zone.
func compile(spec sources.Spec, k kind, schema *arrow.Schema) ([]output, error) {
	out := make([]output, schema.NumFields())
	for i, f := range schema.Fields() {
		o, err := resolve(spec, k, f)
		if err != nil {
			return nil, err
		}
		out[i] = o
	}
	return out, nil
}

func resolve(spec sources.Spec, k kind, f arrow.Field) (output, error) {
	if k != all {
		return resolveIn(spec, k, f, f.Name)
	}
	switch strings.ToLower(f.Name) {
	case colType:
		c := column{name: colType, typ: arrow.PrimitiveTypes.Int32}
		return output{field: f, kind: all, column: c}, sameType(spec, f, f.Name, c.typ)
	case strings.ToLower(colTime):
		c := column{name: colTime, typ: typeTime, number: (*config).dateTime, bulk: eventTimes}
		return output{field: f, kind: all, column: c}, sameType(spec, f, f.Name, c.typ)
	}
	of := kindNamed(strings.ToLower(f.Name))
	if of == all {
		return output{}, unknown(spec, f.Name, append(kindNames[:kinds:kinds], colType, colTime))
	}
	st, ok := f.Type.(*arrow.StructType)
	if !ok {
		return output{}, batch.UserErrorf("%s: column %q is declared %s, the generator has a struct", spec, f.Name, f.Type)
	}
	o := output{field: f, kind: of}
	for _, child := range st.Fields() {
		c, err := resolveIn(spec, of, child, f.Name+"."+child.Name)
		if err != nil {
			return output{}, err
		}
		o.children = append(o.children, c)
	}
	return o, nil
}

func resolveIn(spec sources.Spec, k kind, f arrow.Field, path string) (output, error) {
	names := make([]string, len(tables[k]))
	for i, c := range tables[k] {
		if names[i] = c.name; strings.EqualFold(c.name, f.Name) {
			return output{field: f, kind: k, column: c}, sameType(spec, f, path, c.typ)
		}
	}
	return output{}, unknown(spec, path, names)
}

func unknown(spec sources.Spec, path string, names []string) error {
	last := path[strings.LastIndexByte(path, '.')+1:]
	return batch.UserErrorf("%s: the generator has no column %q%s", spec, path, options.Suggest(last, names))
}

func sameType(spec sources.Spec, f arrow.Field, path string, want arrow.DataType) error {
	if ts, ok := f.Type.(*arrow.TimestampType); ok && want.ID() == arrow.TIMESTAMP && ts.Unit == arrow.Microsecond {
		return nil
	}
	if arrow.TypeEqual(f.Type, want) {
		return nil
	}
	return batch.UserErrorf("%s: column %q is declared %s, the generator has %s", spec, path, f.Type, want)
}
