package executor

import (
	"github.com/apache/arrow-go/v18/arrow"
)

// Filters and joins hand on batches of a few rows where they drop most. What
// follows costs something for each batch, so an exchange puts small ones together.
const (
	// coalesceRows is from how many rows on a batch is not small.
	coalesceRows = 4 << 10
	// coalesceBatches is how many wait at most: a batch of one row may be a slice
	// that holds a large one in memory.
	coalesceBatches = 64
)

// coalescer collects small batches.
type coalescer struct {
	held []arrow.RecordBatch
	rows int64
}

// add hands rec, borrowed, to write now or later, in order.
func (c *coalescer) add(tc *TaskContext, rec arrow.RecordBatch, write func(rec arrow.RecordBatch) error) error {
	return c.hold(rec, write, func() error { return c.flush(tc, write) })
}

// addApart is add for who puts batches together by itself.
func (c *coalescer) addApart(rec arrow.RecordBatch, write func(recs []arrow.RecordBatch) error) error {
	alone := func(rec arrow.RecordBatch) error { return write([]arrow.RecordBatch{rec}) }
	return c.hold(rec, alone, func() error { return c.flushApart(write) })
}

// hold keeps a small batch and hands on a large one.
func (c *coalescer) hold(rec arrow.RecordBatch, write func(rec arrow.RecordBatch) error, flush func() error) error {
	n := rec.NumRows()
	switch {
	case n == 0:
		return nil
	case n >= coalesceRows:
		if err := flush(); err != nil {
			return err
		}
		return write(rec)
	}
	rec.Retain()
	c.held = append(c.held, rec)
	if c.rows += n; c.rows >= coalesceRows || len(c.held) >= coalesceBatches {
		return flush()
	}
	return nil
}

// flush writes what is held as one batch.
func (c *coalescer) flush(tc *TaskContext, write func(rec arrow.RecordBatch) error) error {
	if len(c.held) == 0 {
		return nil
	}
	defer c.drop()
	one, err := oneBatch(tc, c.held)
	if err == nil {
		defer one.Release()
		return write(one)
	}
	// Dictionaries may have too many values together: then each stays alone.
	for _, rec := range c.held {
		if err := write(rec); err != nil {
			return err
		}
	}
	return nil
}

// flushApart writes what is held, together.
func (c *coalescer) flushApart(write func(recs []arrow.RecordBatch) error) error {
	if len(c.held) == 0 {
		return nil
	}
	defer c.drop()
	return write(c.held)
}

func (c *coalescer) drop() {
	c.held, c.rows = release(c.held), 0
}
