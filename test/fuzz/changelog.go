package fuzz

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// change is one row of a changelog.
type change struct {
	op  string
	row []string
}

// makeChanges turns the rows of a table into a changelog: they are added in their
// order, and in between rows that are there, each of a bag, are deleted and updated.
// With upsert the first columns are the key, and of a deleted row the key is given.
func (t *table) makeChanges(r *rand.Rand, upsert bool) {
	t.key = 0
	if upsert {
		t.key = 1 + r.IntN(2)
	}
	often := 1 + r.IntN(3)
	add := func(op string, row []string) { t.changes = append(t.changes, change{op, row}) }
	for _, row := range t.rows {
		add(pickOp(r, "+I", "I", "c"), row)
		for r.IntN(3) < often {
			there := current(t.changes, t.key)
			if len(there) == 0 {
				break
			}
			old := there[r.IntN(len(there))]
			t.changeOne(r, old, add)
		}
	}
}

func (t *table) changeOne(r *rand.Rand, old []string, add func(string, []string)) {
	fresh := slices.Clone(old)
	for i, c := range t.cols {
		if i < t.key || r.IntN(2) == 0 {
			continue
		}
		if fresh[i] = null; r.IntN(6) > 0 {
			fresh[i] = value(r, c.t, t.extreme)
		}
	}
	switch gone := r.IntN(2) == 0; {
	case t.key == 0 && gone:
		add(pickOp(r, "-D", "D", "d"), old)
	case t.key == 0:
		add("-U", old)
		add(pickOp(r, "+U", "U", "u"), fresh)
	case gone:
		row := slices.Clone(old)
		for i := t.key; i < len(row); i++ {
			row[i] = null
		}
		add(pickOp(r, "-D", "D", "d"), row)
	default:
		add(pickOp(r, "+U", "U", "c"), fresh)
	}
}

func pickOp(r *rand.Rand, ops ...string) string { return ops[r.IntN(len(ops))] }

// current are the rows that changes leave.
func current(changes []change, key int) [][]string {
	var rows [][]string
	for _, c := range changes {
		gone := strings.HasPrefix(c.op, "-") || strings.EqualFold(c.op, "d")
		at := slices.IndexFunc(rows, func(o []string) bool {
			if key > 0 {
				return slices.Equal(o[:key], c.row[:key])
			}
			return gone && slices.Equal(o, c.row)
		})
		if at >= 0 {
			rows = slices.Delete(rows, at, at+1)
		}
		if !gone {
			rows = append(rows, c.row)
		}
	}
	return rows
}

// fileRows are the rows of a table's file as they are written, with the kind of
// change in front if it has any.
func (t *table) fileRows(i, cut int) [][]string {
	if t.changes == nil {
		return part(t, i, cut)
	}
	n := len(t.changes)
	var rows [][]string
	for _, c := range t.changes[n*i/cut : n*(i+1)/cut] {
		rows = append(rows, append([]string{c.op}, c.row...))
	}
	return rows
}

// after are the rows that a table holds when so many of its files have come.
func (t *table) after(files, cut int) [][]string {
	if t.changes == nil {
		return t.rows[:len(t.rows)*files/cut]
	}
	return current(t.changes[:len(t.changes)*files/cut], t.key)
}

// changelogOptions are those of a table that is one.
func (t *table) changelogOptions() string {
	switch {
	case t.changes == nil:
		return ""
	case t.key > 0:
		return ", 'changelog.op-column'='op', 'changelog'='upsert'"
	}
	return ", 'changelog.op-column'='op'"
}

// primaryKey declares the columns that rows replace each other by.
func (t *table) primaryKey() string {
	if t.key == 0 {
		return ""
	}
	names := make([]string, t.key)
	for i := range names {
		names[i] = t.cols[i].name
	}
	return fmt.Sprintf(", PRIMARY KEY (%s) NOT ENFORCED", strings.Join(names, ", "))
}

// deltas are the changes of a file as rows that are added and taken back; of upserts
// those that are left of what the file says of a key.
func (t *table) deltas(i, cut int) []change {
	if t.changes == nil {
		var out []change
		for _, row := range part(t, i, cut) {
			out = append(out, change{"+I", row})
		}
		return out
	}
	n := len(t.changes)
	if t.key == 0 {
		return t.changes[n*i/cut : n*(i+1)/cut]
	}
	var out []change
	before, now := current(t.changes[:n*i/cut], t.key), current(t.changes[:n*(i+1)/cut], t.key)
	missing := func(row []string, in [][]string) bool {
		return !slices.ContainsFunc(in, func(o []string) bool { return slices.Equal(o, row) })
	}
	for _, row := range before {
		if missing(row, now) {
			out = append(out, change{"-U", row})
		}
	}
	for _, row := range now {
		if missing(row, before) {
			out = append(out, change{"+U", row})
		}
	}
	return out
}

// rowsOfFile are the rows of a file without their kinds of change.
func (t *table) rowsOfFile(i, cut int) [][]string {
	rows := t.fileRows(i, cut)
	for j := range rows {
		if t.changes != nil {
			rows[j] = rows[j][1:]
		}
	}
	return rows
}
