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
	n := rec.NumRows()
	switch {
	case n == 0:
		return nil
	case n >= coalesceRows:
		if err := c.flush(tc, write); err != nil {
			return err
		}
		return write(rec)
	}
	rec.Retain()
	c.held = append(c.held, rec)
	if c.rows += n; c.rows >= coalesceRows || len(c.held) >= coalesceBatches {
		return c.flush(tc, write)
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

func (c *coalescer) drop() {
	c.held, c.rows = release(c.held), 0
}
