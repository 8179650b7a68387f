package parquet

import (
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/parquet/file"
)

// leaf reads one column chunk after the other, record by record.
type leaf struct {
	n    *node
	in   file.ColumnChunkReader
	vals values

	// Levels held: those of the records handed out, then those read ahead.
	defs, reps []int16
	levels     int // held; defs and reps are as long unless the column has none
	// Of the batch in hand.
	used     int // levels
	usedVals int
}

var errShort = errors.New("the column ends before its row group does")

// read makes the next n records the batch in hand.
func (l *leaf) read(n int) error {
	l.shift()
	if l.n.rep == 0 {
		for l.levels < n {
			if got, err := l.more(n - l.levels); err != nil {
				return err
			} else if got == 0 {
				return errShort
			}
		}
		l.used = n
		l.usedVals = l.present(n)
		return l.agree()
	}
	return l.readRepeated(n)
}

// readRepeated finds the end of the nth record: the start of the one behind it, or the chunk's end.
func (l *leaf) readRepeated(n int) error {
	starts, at := 0, 0
	for {
		for ; at < l.levels; at++ {
			if l.reps[at] == 0 {
				if starts == n {
					l.used, l.usedVals = at, l.present(at)
					return l.agree()
				}
				starts++
			}
		}
		got, err := l.more(max(n, 1024))
		if err != nil {
			return err
		}
		if got == 0 {
			if starts < n {
				return errShort
			}
			l.used, l.usedVals = l.levels, l.present(l.levels)
			return l.agree()
		}
		if l.reps[0] != 0 {
			return errors.New("the column does not start with a new record")
		}
	}
}

// agree checks the definition levels against the values that came with them.
func (l *leaf) agree() error {
	if held := l.vals.count(); held < l.usedVals {
		return fmt.Errorf("%d values where the levels declare %d", held, l.usedVals)
	}
	return nil
}

// present counts the values among the first n levels.
func (l *leaf) present(n int) int {
	if l.n.def == 0 {
		return n
	}
	c := 0
	for _, d := range l.defs[:n] {
		if d == l.n.def {
			c++
		}
	}
	return c
}

// shift forgets the batch handed out before.
func (l *leaf) shift() {
	if l.used == 0 {
		return
	}
	if l.n.def > 0 {
		l.defs = l.defs[:copy(l.defs, l.defs[l.used:])]
	}
	if l.n.rep > 0 {
		l.reps = l.reps[:copy(l.reps, l.reps[l.used:])]
	}
	l.levels -= l.used
	l.vals.drop(l.usedVals)
	l.used, l.usedVals = 0, 0
}

// more reads at most n levels of the current page; 0 is the chunk's end.
func (l *leaf) more(n int) (int, error) {
	if !l.in.HasNext() {
		return 0, l.in.Err()
	}
	var defs, reps []int16
	if l.n.def > 0 {
		l.defs = slices.Grow(l.defs, n)[:l.levels+n]
		defs = l.defs[l.levels:]
	}
	if l.n.rep > 0 {
		l.reps = slices.Grow(l.reps, n)[:l.levels+n]
		reps = l.reps[l.levels:]
	}
	got, err := l.vals.read(n, defs, reps)
	if err != nil {
		return 0, err
	}
	l.levels += got
	if l.n.def > 0 {
		l.defs = l.defs[:l.levels]
	}
	if l.n.rep > 0 {
		l.reps = l.reps[:l.levels]
	}
	return got, nil
}
