package datagen

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/bits"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/internal/options"
)

// column makes the values of one column.
type column struct {
	field  arrow.Field
	seed   uint64 // of the column
	nulls  uint64 // of 2^53
	value  func(b array.Builder, row int64, d draw)
	rows   int64 // how many values there are; maxRows if there is no end to them
	ends   bool  // because the user said so
	bytes  int64
	buffer int // bytes of text in a row
}

// draw is a random word; next draws another from it.
type draw uint64

const golden = 0x9e3779b97f4a7c15

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (d draw) below(n uint64) uint64 {
	hi, _ := bits.Mul64(uint64(d), n)
	return hi
}

func newColumn(m options.Map, f arrow.Field, seed uint64) (column, error) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(f.Name)) // a hash never fails
	c := column{field: f, seed: mix(seed+golden) ^ mix(h.Sum64()), bytes: 8, rows: maxRows}
	rate := m.Float(optNull.For(f.Name))
	if !(rate >= 0 && rate <= 1) {
		return c, fmt.Errorf("option '%s' = '%v': want 0 to 1", optNull.For(f.Name).Key, rate)
	}
	if c.nulls = uint64(rate * (1 << 53)); rate > 0 && !f.Nullable {
		return c, errors.New("declared NOT NULL, and has a null-rate")
	}
	if m.Get(optKind.For(f.Name)) == "sequence" {
		return c, c.sequence(m)
	}
	return c, c.random(m)
}

// only refuses options that the column's kind and type do not use.
func (c *column) only(m options.Map, used ...options.Option) error {
	for _, o := range perField {
		key := o.For(c.field.Name).Key
		if _, set := m[key]; !set || o.Key == optKind.Key || o.Key == optNull.Key {
			continue
		}
		known := false
		for _, u := range used {
			known = known || u.Key == o.Key
		}
		if !known {
			return fmt.Errorf("option '%s' has no meaning for a column of type %s and kind %s", key, c.field.Type, m.Get(optKind.For(c.field.Name)))
		}
	}
	return nil
}

// read returns a per-column option's value, or def if it is not set.
func read[T any](c *column, m options.Map, o options.Option, def T, parse func(string) (T, error)) (T, error) {
	key := o.For(c.field.Name).Key
	s, ok := m[key]
	if !ok {
		return def, nil
	}
	v, err := parse(s)
	if err != nil {
		return def, fmt.Errorf("option '%s' = '%s': %w", key, s, err)
	}
	return v, nil
}

func (c *column) random(m options.Map) error {
	switch c.field.Type.ID() {
	case arrow.BOOL:
		c.value = func(b array.Builder, _ int64, d draw) { b.(*array.BooleanBuilder).UnsafeAppend(d>>63 == 1) }
		return c.only(m)
	case arrow.STRING, arrow.BINARY:
		return c.randomText(m)
	case arrow.FLOAT32, arrow.FLOAT64:
		return c.randomFloat(m)
	default:
		return c.randomWhole(m)
	}
}

func (c *column) randomWhole(m options.Map) error {
	w, ok := wholeOf(c.field.Type)
	if !ok {
		return fmt.Errorf("the connector 'datagen' cannot make values of type %s", c.field.Type)
	}
	low, err := read(c, m, optMin, w.low, w.parse)
	if err != nil {
		return err
	}
	high, err := read(c, m, optMax, w.high, w.parse)
	if err != nil {
		return err
	}
	if low > high {
		return errors.New("min is greater than max")
	}
	span := uint64(high) - uint64(low) + 1 // 0 for all 2^64
	c.value = func(b array.Builder, _ int64, d draw) {
		v := uint64(d)
		if span != 0 {
			v = d.below(span)
		}
		w.appendValue(b, int64(uint64(low)+v))
	}
	return c.only(m, optMin, optMax)
}

func (c *column) randomFloat(m options.Map) error {
	parse := func(s string) (float64, error) {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, errors.New("want a number")
		}
		return v, nil
	}
	low, err := read(c, m, optMin, 0.0, parse)
	if err != nil {
		return err
	}
	high, err := read(c, m, optMax, math.Max(1, low), parse)
	if err != nil {
		return err
	}
	if low > high {
		return errors.New("min is greater than max")
	}
	// The two products keep the sum within range even where high - low is not.
	at := func(d draw) float64 {
		u := float64(d>>11) / (1 << 53)
		return float64(low*(1-u)) + float64(high*u)
	}
	if c.field.Type.ID() == arrow.FLOAT32 {
		c.value = func(b array.Builder, _ int64, d draw) { b.(*array.Float32Builder).UnsafeAppend(float32(at(d))) }
	} else {
		c.value = func(b array.Builder, _ int64, d draw) { b.(*array.Float64Builder).UnsafeAppend(at(d)) }
	}
	return c.only(m, optMin, optMax)
}

const hexDigits = "0123456789abcdef"

// randomText makes text of hexadecimal digits, as Flink does, or bytes.
func (c *column) randomText(m options.Map) error {
	o := optLength.For(c.field.Name)
	n := m.Int(o)
	if n < 0 || n > maxLength {
		return fmt.Errorf("option '%s' = '%d': want 0 to %d", o.Key, n, maxLength)
	}
	c.bytes, c.buffer = n+4, int(n)
	text := c.field.Type.ID() == arrow.STRING
	c.value = func(b array.Builder, _ int64, d draw) {
		var scratch [128]byte
		buf := scratch[:0]
		w, left := uint64(d), 0
		for range n {
			if left == 0 {
				w, left = mix(w+golden), 8
			}
			if text {
				buf = append(buf, hexDigits[w>>4&15])
			} else {
				buf = append(buf, byte(w))
			}
			w, left = w>>8|w<<56, left-1
		}
		appendBytes(b, buf)
	}
	return c.only(m, optLength)
}

// appendBytes appends to a builder of text or of bytes, which copies.
func appendBytes(b array.Builder, v []byte) {
	switch b := b.(type) {
	case *array.StringBuilder:
		b.BinaryBuilder.Append(v)
	case *array.BinaryBuilder:
		b.Append(v)
	}
}

func (c *column) sequence(m options.Map) error {
	var w whole
	var ok bool
	switch c.field.Type.ID() {
	case arrow.STRING:
		w, ok = integer(math.MinInt64, math.MaxInt64, func(b array.Builder, v int64) {
			var scratch [20]byte
			appendBytes(b, strconv.AppendInt(scratch[:0], v, 10))
		})
		c.bytes, c.buffer = 12, 12
	case arrow.FLOAT32:
		w, ok = integer(-1<<24, 1<<24, func(b array.Builder, v int64) { b.(*array.Float32Builder).UnsafeAppend(float32(v)) })
	case arrow.FLOAT64:
		w, ok = integer(-1<<53, 1<<53, func(b array.Builder, v int64) { b.(*array.Float64Builder).UnsafeAppend(float64(v)) })
	default:
		w, ok = wholeOf(c.field.Type)
	}
	if !ok {
		return fmt.Errorf("a sequence of type %s is not possible", c.field.Type)
	}
	start, err := read(c, m, optStart, w.from, w.parse)
	if err != nil {
		return err
	}
	step, err := read(c, m, optStep, w.step, w.parseStep)
	if err != nil {
		return err
	}
	last := w.ceil // a sequence without an end stops where its type does
	if step < 0 {
		last = w.floor
	}
	if last, err = read(c, m, optEnd, last, w.parse); err != nil {
		return err
	}
	if c.rows = countTo(start, step, last); c.rows == 0 {
		return errors.New("the sequence has no values: its end lies before its start")
	}
	_, c.ends = m[optEnd.For(c.field.Name).Key]
	c.value = func(b array.Builder, row int64, _ draw) { w.appendValue(b, start+row*step) }
	return c.only(m, optStart, optEnd, optStep)
}

// countTo is how many values a sequence has from start up to last, or down to it.
func countTo(start, step, last int64) int64 {
	var span, by uint64
	switch {
	case step > 0 && last >= start:
		span, by = uint64(last)-uint64(start), uint64(step)
	case step < 0 && last <= start:
		span, by = uint64(start)-uint64(last), -uint64(step)
	default:
		return 0
	}
	return int64(min(span/by, uint64(maxRows-1))) + 1
}
