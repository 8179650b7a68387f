package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// Widened says which types of a form hold more than they did, "" if its rows cannot
// be made of those of the old form by that alone.
func Widened(old, now physical.StateForm) string {
	if !Typed(old) || old.Kind != now.Kind || !physical.Reads(now.Detail, old.Detail) || len(old.Keys) != len(now.Keys) || len(old.Values) != len(now.Values) {
		return ""
	}
	var notes []string
	same := func(what string, a, b []arrow.Field) bool {
		for i := range b {
			if arrow.TypeEqual(a[i].Type, b[i].Type) {
				continue
			}
			if !Widens(a[i].Type, b[i].Type) {
				return false
			}
			notes = append(notes, fmt.Sprintf("%s %s was %s and is %s", what, b[i].Name, expr.TypeName(a[i].Type), expr.TypeName(b[i].Type)))
		}
		return true
	}
	if !same("key", old.Keys, now.Keys) {
		return ""
	}
	for i := range now.Values {
		if len(old.Values[i]) != len(now.Values[i]) || !same("column", old.Values[i], now.Values[i]) {
			return ""
		}
	}
	return strings.Join(notes, ", ")
}

// convertRows is how many rows are converted at once.
const convertRows = 4096

// Converter makes rows of a form of those of an older one whose types hold less. Keys
// are encoded anew, and with them the key group and the digests that are part of keys.
type Converter struct {
	old, now physical.StateForm
	keys     *rowkey.Encoder
	values   []*rowkey.ValueCodec
	newKeys  *rowkey.Encoder
	newVals  []*rowkey.ValueCodec
	order    []int // of a key column, its place in GROUP BY
	blocks   []convertBlock
	hasher   rowkey.Hasher
	put      func(key, value []byte) error
}

// convertBlock holds rows of one input.
type convertBlock struct {
	keys, values *array.RecordBuilder
	counts       []uint64
	tails        []string // of rows that were stored together
	rows         int
}

// NewConverter makes a converter that hands rows to put, which copies them. Release it.
func NewConverter(old, now physical.StateForm, alloc memory.Allocator, put func(key, value []byte) error) (*Converter, error) {
	c := &Converter{old: old, now: now, put: put}
	var errs [2]error
	c.keys, errs[0] = rowkey.NewEncoder(typesOf(old.Keys))
	c.newKeys, errs[1] = rowkey.NewEncoder(typesOf(now.Keys))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if now.EndKey >= 0 {
		c.order = append(c.order, now.EndKey)
	}
	for i := range now.Keys {
		if i != now.EndKey {
			c.order = append(c.order, i)
		}
	}
	for i := range old.Values {
		a, err1 := rowkey.NewValueCodec(typesOf(old.Values[i]))
		b, err2 := rowkey.NewValueCodec(typesOf(now.Values[i]))
		if err := errors.Join(err1, err2); err != nil {
			c.Release()
			return nil, err
		}
		c.values, c.newVals = append(c.values, a), append(c.newVals, b)
		c.blocks = append(c.blocks, convertBlock{
			keys:   array.NewRecordBuilder(alloc, nullables(old.Keys)),
			values: array.NewRecordBuilder(alloc, nullables(old.Values[i])),
		})
	}
	return c, nil
}

func nullables(fields []arrow.Field) *arrow.Schema {
	out := make([]arrow.Field, len(fields))
	for i, f := range fields {
		out[i] = arrow.Field{Name: f.Name, Type: f.Type, Nullable: true}
	}
	return arrow.NewSchema(out, nil)
}

// Release frees what was not handed on.
func (c *Converter) Release() {
	for _, b := range c.blocks {
		b.keys.Release()
		b.values.Release()
	}
}

// Add takes a row of the old form.
func (c *Converter) Add(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("convert a row of %s: %w: no key", c.old.Operator, rowkey.ErrDamaged)
	}
	if c.old.Kind == physical.RowState && len(value) == 0 { // a mark, which has no columns
		return c.put(key, value)
	}
	key = key[1:]
	if c.old.Kind != physical.RowState {
		return c.add(0, key, nil, value, 0)
	}
	at := len(key) - rowTail
	if at < 0 || int(key[at]) >= len(c.blocks) {
		return fmt.Errorf("convert a row of %s: %w", c.old.Operator, rowkey.ErrDamaged)
	}
	// Rows of several batches may be equal, and the digests of those that stand by
	// themselves are those of their rows alone: one that was stored together with others
	// is told apart by where it was, too.
	together, n := rowkey.Together(value), uint64(0)
	return rowkey.EachStored(value, func(count int64, row []byte) error {
		var tail []byte
		if n++; together {
			tail = binary.AppendUvarint(append(tail, key[at+1:]...), n)
		}
		return c.add(int(key[at]), key[:at], tail, row, count)
	})
}

func (c *Converter) add(input int, key, tail, value []byte, count int64) error {
	b := &c.blocks[input]
	if err := c.keys.Decode(key, b.keys.Fields()); err != nil {
		return fmt.Errorf("convert a row of %s: %w", c.old.Operator, err)
	}
	if err := c.values[input].Decode(value, b.values.Fields()); err != nil {
		return fmt.Errorf("convert a row of %s: %w", c.old.Operator, err)
	}
	b.counts, b.tails = append(b.counts, uint64(count)), append(b.tails, string(tail))
	if b.rows++; b.rows == convertRows {
		return c.flush(input)
	}
	return nil
}

// Flush hands on what was added.
func (c *Converter) Flush() error {
	for i := range c.blocks {
		if err := c.flush(i); err != nil {
			return err
		}
	}
	return nil
}

func (c *Converter) flush(input int) error {
	b := &c.blocks[input]
	n := b.rows
	if n == 0 {
		return nil
	}
	keys, err := widenAll(b.keys, c.now.Keys)
	defer releaseArrays(keys)
	if err != nil {
		return fmt.Errorf("convert the keys of %s: %w", c.old.Operator, err)
	}
	values, err := widenAll(b.values, c.now.Values[input])
	defer releaseArrays(values)
	if err != nil {
		return fmt.Errorf("convert the rows of %s: %w", c.old.Operator, err)
	}
	given := make([]arrow.Array, len(keys))
	for at, i := range c.order {
		given[i] = keys[at]
	}
	hashes, groups := make([]uint64, n), make([]uint8, n)
	c.hasher.Hash(given, hashes)
	rowkey.Groups(hashes, groups)
	var rows, vals rowkey.Rows
	if err := c.newKeys.EncodeGrouped(groups, keys, &rows); err != nil {
		return err
	}
	if err := c.newVals[input].Encode(values, n, &vals); err != nil {
		return err
	}
	var key, value []byte
	for i := range n {
		key, value = rows.Row(i), vals.Row(i)
		if c.now.Kind == physical.RowState {
			sum := xxh3.Hash128(vals.Row(i)).Bytes()
			if tail := b.tails[i]; tail != "" {
				sum = xxh3.Hash128(append([]byte(tail), vals.Row(i)...)).Bytes()
				value = rowkey.AppendTogether(nil, b.counts[i], value)
			} else {
				value = append(binary.AppendUvarint(nil, b.counts[i]), value...)
			}
			key = append(append(append(make([]byte, 0, len(key)+rowTail), key...), byte(input)), sum[:]...)
		}
		if err := c.put(key, value); err != nil {
			return err
		}
	}
	b.rows, b.counts, b.tails = 0, b.counts[:0], b.tails[:0]
	return nil
}

func widenAll(b *array.RecordBuilder, to []arrow.Field) ([]arrow.Array, error) {
	out := make([]arrow.Array, len(to))
	for i, f := range b.Fields() {
		arr := f.NewArray()
		var err error
		out[i], err = widen(arr, to[i].Type)
		arr.Release()
		if err != nil {
			return out, fmt.Errorf("column %s: %w", to[i].Name, err)
		}
	}
	return out, nil
}

func releaseArrays(list []arrow.Array) {
	for _, a := range list {
		if a != nil {
			a.Release()
		}
	}
}
