package debezium

import (
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// Row is which row of an event a change is about.
type Row int

// The rows that an event may have.
const (
	Before Row = iota
	After
	Key
)

// Change is one thing that an event does.
type Change struct {
	Op  batch.Op
	Row Row
}

// ChangesOf says what an event does, by its op and the rows that it has: all[:n]. Of upserts
// the row before is not needed, and of a deleted row its key will do.
func ChangesOf(op string, before, after, key, upsert bool) (all [2]Change, n int, err error) {
	add := func(c batch.Op, r Row) {
		all[n] = Change{c, r}
		n++
	}
	switch op {
	case "c", "r", "u":
		if op == "u" && !before && !upsert {
			return all, 0, noBefore(op, upsert)
		}
		if !after {
			return all, 0, fmt.Errorf("an event with op %q has no row \"after\" it", op)
		}
		if op != "u" {
			add(batch.Insert, After)
			break
		}
		if before {
			add(batch.UpdateBefore, Before)
		}
		add(batch.UpdateAfter, After)
	case "d":
		switch {
		case before:
			add(batch.Delete, Before)
		case upsert && key:
			add(batch.Delete, Key)
		default:
			return all, 0, noBefore(op, upsert)
		}
	case "m": // a message in the log of the database is about no row
	case "t":
		err = errors.New("the table was truncated in the database (op \"t\"), and which rows are gone is not told: take a new snapshot into a new table")
	case "":
		err = errors.New("it is no event of Debezium: it has no \"op\"")
	default:
		err = fmt.Errorf("op %q is unknown: want c, r, u or d", op)
	}
	return all, n, err
}

// noBefore says what to do about a row that is taken back and not told.
func noBefore(op string, upsert bool) error {
	if upsert {
		return fmt.Errorf("an event with op %q has neither the row \"before\" it nor a key", op)
	}
	return fmt.Errorf("an event with op %q does not tell the row \"before\" it: let the database log whole rows (PostgreSQL: ALTER TABLE .. REPLICA IDENTITY FULL), "+
		"or declare a PRIMARY KEY and set 'changelog' = 'upsert'", op)
}
