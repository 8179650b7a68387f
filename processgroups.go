package sluice

import (
	"reflect"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
)

// setGoOf puts the only value of an array into a variable.
func setGoOf[T any](v *T, arr arrow.Array) error {
	return setGo(reflect.ValueOf(v).Elem(), arr, 0)
}

// MapGroups makes a row of all rows of a key, which f gets as values of In (see
// Scan). The columns are the keys and the fields of Out, a struct (see FromSlice).
// Over a stream f is called again for each key that a batch brings rows of, with all
// of them: its result is that over the input so far, and all rows are kept as state.
// The name tells f from other code: change it when f changes.
func MapGroups[In, Out any](k *Keyed, name string, f func(key Row, rows []In) (Out, error)) *DataFrame {
	return groups(k, name, true, func(key Row, rows []In) ([]Out, error) {
		out, err := f(key, rows)
		return []Out{out}, err
	})
}

// FlatMapGroups makes any number of rows of all rows of a key, see MapGroups.
func FlatMapGroups[In, Out any](k *Keyed, name string, f func(key Row, rows []In) ([]Out, error)) *DataFrame {
	return groups(k, name, false, f)
}

func groups[In, Out any](k *Keyed, name string, single bool, f func(key Row, rows []In) ([]Out, error)) *DataFrame {
	if k.err != nil {
		return k.d.failed(k.err)
	}
	t := reflect.TypeFor[Out]()
	if t.Kind() != reflect.Struct || t == timeType {
		return k.d.failed(batch.UserErrorf("groups %q: the result is a %s: want a struct", name, t))
	}
	dt, err := typeOfGo(t)
	if err != nil {
		return k.d.failed(err)
	}
	def, node, err := k.processor(name, arrow.NewSchema(dt.(*arrow.StructType).Fields(), nil), nil)
	if err != nil {
		return k.d.failed(err)
	}
	var indexes [][]int
	for _, x := range reflect.VisibleFields(t) {
		if fieldName(x) != "" {
			indexes = append(indexes, slices.Clone(x.Index))
		}
	}
	def.Groups, def.Single = true, single
	def.New = func() logical.Processor {
		return &processor{def: def, user: &groupProcessor[In, Out]{f: f, indexes: indexes}}
	}
	return &DataFrame{s: k.d.s, node: node}
}

// groupProcessor runs a function over the rows of a key.
type groupProcessor[In, Out any] struct {
	ProcessorBase
	f       func(key Row, rows []In) ([]Out, error)
	indexes [][]int
}

// Process puts out what the function makes of the rows.
func (g *groupProcessor[In, Out]) Process(c *ProcessorContext, key Row, rows *Rows) error {
	in, err := RowsAs[In](rows)
	if err != nil {
		return err
	}
	out, err := g.f(key, in)
	if err != nil {
		return err
	}
	for i := range out {
		v := reflect.ValueOf(&out[i]).Elem()
		for at, b := range c.c.Out.Builders(0) {
			appendGo(b, v.FieldByIndex(g.indexes[at]))
		}
		if err := c.c.Out.Done(0, false); err != nil {
			return err
		}
	}
	return nil
}
