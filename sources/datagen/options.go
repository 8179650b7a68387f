package datagen

import (
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
)

var (
	optRate    = options.Option{Key: "rows-per-second", Kind: options.Int, Doc: "Rows per second of real time; unset or 0, as fast as they are taken."}
	optRows    = options.Option{Key: "number-of-rows", Kind: options.Int, Doc: "Number of rows after which the table ends; unset, it never ends."}
	optTrigger = options.Option{Key: "max-rows-per-trigger", Kind: options.Int, Default: "1000000", Doc: "Most rows in one micro-batch of a stream."}
	optSplit   = options.Option{Key: "split-rows", Kind: options.Int, Default: "65536", Doc: "Rows in one split, the unit of parallel work."}
	optSeed    = options.Option{Key: "seed", Kind: options.Int, Default: "0", Doc: "Seed of everything that is drawn."}

	optKind   = options.Option{Key: "fields.*.kind", Kind: options.Enum, Default: "random", Values: []string{"random", "sequence"}, Doc: "Whether the column is drawn at random or counts up."}
	optMin    = options.Option{Key: "fields.*.min", Kind: options.Text, Doc: "Lowest random value, in the column's type."}
	optMax    = options.Option{Key: "fields.*.max", Kind: options.Text, Doc: "Highest random value, in the column's type."}
	optLength = options.Option{Key: "fields.*.length", Kind: options.Int, Default: "100", Doc: "Length of random text in characters, or of bytes."}
	optStart  = options.Option{Key: "fields.*.start", Kind: options.Text, Doc: "First value of a sequence."}
	optEnd    = options.Option{Key: "fields.*.end", Kind: options.Text, Doc: "Last value of a sequence, after which the table ends."}
	optStep   = options.Option{Key: "fields.*.step", Kind: options.Text, Doc: "Step of a sequence: a number, or a duration for times."}
	optNull   = options.Option{Key: "fields.*.null-rate", Kind: options.Float, Default: "0", Doc: "Fraction of the rows in which the column is NULL, 0 to 1."}
)

var (
	perField = []options.Option{optKind, optMin, optMax, optLength, optStart, optEnd, optStep, optNull}
	declared = append([]options.Option{optRate, optRows, optTrigger, optSplit, optSeed}, perField...)
)

// Limits of the options.
const (
	maxRows   = int64(1) << 53
	maxLength = 1 << 20
	maxRate   = 1_000_000_000
)

// config is a checked WITH clause and what makes each column.
type config struct {
	rate    int64
	rows    int64 // maxRows if it never ends
	bounded bool  // the user said where it ends
	trigger int64
	split   int64
	columns []column
	bytes   int64 // of an average row
}

func parse(spec sources.Spec) (config, error) {
	m := spec.Options
	if err := options.Check(spec.String(), m, declared); err != nil {
		return config{}, err
	}
	if spec.Schema == nil || spec.Schema.NumFields() == 0 {
		return config{}, batch.UserErrorf("%s: the connector 'datagen' makes the columns that the table declares, and it declares none", spec)
	}
	c := config{rate: m.Int(optRate), rows: m.Int(optRows), trigger: m.Int(optTrigger), split: m.Int(optSplit)}
	var faults []string
	within := func(o options.Option, v, low, high int64) {
		if v < low || v > high {
			faults = append(faults, fmt.Sprintf("option '%s' = '%d': want %d to %d", o.Key, v, low, high))
		}
	}
	within(optRate, c.rate, 0, maxRate)
	within(optRows, c.rows, 0, maxRows)
	within(optTrigger, c.trigger, 1, maxRows)
	within(optSplit, c.split, 1, 1<<30)
	if _, c.bounded = m[optRows.Key]; !c.bounded {
		c.rows = maxRows
	}
	faults = append(faults, unknownFields(spec)...)
	for _, f := range spec.Schema.Fields() {
		col, err := newColumn(m, f, uint64(m.Int(optSeed)))
		if err != nil {
			faults = append(faults, fmt.Sprintf("column %q: %v", f.Name, err))
			continue
		}
		c.bounded = c.bounded || col.ends
		c.rows = min(c.rows, col.rows)
		c.bytes += col.bytes
		c.columns = append(c.columns, col)
	}
	if !spec.Stream && !c.bounded && len(faults) == 0 {
		faults = append(faults, fmt.Sprintf("option '%s' is missing: without it the table never ends, and this query reads all of it", optRows.Key))
	}
	if len(faults) > 0 {
		return config{}, batch.UserErrorf("%s: %s", spec, strings.Join(faults, "; "))
	}
	return c, nil
}

// unknownFields reports options of columns that the table does not have.
func unknownFields(spec sources.Spec) []string {
	var names, faults []string
	for _, f := range spec.Schema.Fields() {
		names = append(names, f.Name)
	}
	for _, o := range perField {
		for _, name := range spec.Options.Members(o) {
			if !spec.Schema.HasField(name) {
				faults = append(faults, fmt.Sprintf("option '%s': the table has no column %q%s", o.For(name).Key, name, options.Suggest(name, names)))
			}
		}
	}
	return faults
}
