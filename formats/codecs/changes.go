package codecs

import (
	"context"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/debezium"
)

// Changes reads messages that tell of the changes of a table. It is made once for a table
// and used by many goroutines.
type Changes interface {
	// Infer returns the columns of the table's rows, where somebody knows.
	Infer(ctx context.Context) (*arrow.Schema, error)
	// NewDecoder makes changes of the columns of a schema, of which the last may be
	// batch.OpColumn; meta are those that tell of the event, with debezium.Meta's keys.
	NewDecoder(schema *arrow.Schema, meta map[int]string, upsert bool, alloc memory.Allocator) (ChangesDecoder, error)
}

// ChangesDecoder makes changes of messages. It is used by one goroutine.
type ChangesDecoder interface {
	// Decode appends the rows of a message, which may be none or several; of one with an
	// error rows says how many are there all the same.
	Decode(ctx context.Context, key, value []byte) (rows int, err error)
	Rows() int
	Flush() arrow.RecordBatch // the caller owns it
	Release()
}

// ChangesNames lists the formats that tell of changes.
func ChangesNames() []string { return []string{debezium.Name, envelopeName} }

// TellsChanges reports whether a format is one of those.
func TellsChanges(name string) bool { return slices.Contains(ChangesNames(), strings.ToLower(name)) }

// OpenChanges checks a table's options for one of those formats. It asks nobody yet.
func OpenChanges(name string, s Spec) (Changes, error) {
	if strings.EqualFold(name, envelopeName) {
		return openEnvelope(s)
	}
	return events{s}, nil
}

// events are Debezium's in JSON.
type events struct{ s Spec }

func (e events) Infer(context.Context) (*arrow.Schema, error) { return nil, e.s.noColumns() }

func (e events) NewDecoder(schema *arrow.Schema, meta map[int]string, upsert bool, alloc memory.Allocator) (ChangesDecoder, error) {
	d, err := debezium.NewDecoder(formats.ReadSpec{Config: e.s.Config, Schema: schema, Alloc: alloc, Meta: meta})
	if err != nil {
		return nil, err
	}
	if want := e.s.Options[debezium.Changelog] == batch.Upserts.String(); upsert != want {
		d.Release()
		return nil, batch.UserErrorf("%s: the option '%s' and what is asked for differ", e.s.What, debezium.Changelog)
	}
	return eventDecoder{d}, nil
}

type eventDecoder struct{ *debezium.Decoder }

func (d eventDecoder) Decode(_ context.Context, key, value []byte) (int, error) {
	return d.DecodeKeyed(key, value)
}
