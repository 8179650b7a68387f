package slt

import (
	"crypto/md5"
	"fmt"
	"slices"
	"strings"
)

// escaper makes any value fit into one line and between two tabs.
var escaper = strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r", "\t", "\\t")

// display prints a value as it stands in a test file.
func display(v string) string {
	if v == "" {
		return "(empty)"
	}
	return escaper.Replace(v)
}

// render turns a result into the lines of a test file: sorted as q says, and as
// a hash when there are more values than threshold (0: never).
func render(q *Query, rows [][]string, threshold int) []string {
	shown := make([][]string, len(rows))
	values := 0
	for i, row := range rows {
		shown[i] = make([]string, len(row))
		for j, v := range row {
			shown[i][j] = display(v)
		}
		values += len(row)
	}
	switch q.Sort {
	case RowSort:
		slices.SortFunc(shown, slices.Compare[[]string])
	case ValueSort:
		var all [][]string
		for _, v := range slices.Sorted(slices.Values(slices.Concat(shown...))) {
			all = append(all, []string{v})
		}
		shown = all
	case NoSort:
	}
	if threshold > 0 && values > threshold {
		return []string{hashLine(shown, values)}
	}
	lines := make([]string, len(shown))
	for i, row := range shown {
		lines[i] = strings.Join(row, "\t")
	}
	return lines
}

// hashLine is the form of sqllogictest: each value and a newline, through MD5.
func hashLine(shown [][]string, values int) string {
	h := md5.New()
	for _, row := range shown {
		for _, v := range row {
			_, _ = fmt.Fprintln(h, v) // a hash never fails to write
		}
	}
	return fmt.Sprintf("%d values hashing to %x", values, h.Sum(nil))
}

// isHash reports whether a test file holds the hash of a result.
func isHash(lines []string) bool {
	return len(lines) == 1 && strings.Contains(lines[0], " values hashing to ")
}

// sameLine compares an expected line with a row's. Without a tab the expected
// line is cut at spaces, so that it can be typed by hand.
func sameLine(expected, got string) bool {
	if expected == got {
		return true
	}
	if strings.Contains(expected, "\t") || !strings.Contains(got, "\t") {
		return false
	}
	return slices.Equal(strings.Fields(expected), strings.Split(got, "\t"))
}

// sameResult compares line by line.
func sameResult(expected, got []string) bool {
	return slices.EqualFunc(expected, got, sameLine)
}

// sortedLines puts expected lines into the order that a rowsort gives the rows.
func sortedLines(lines []string, cols int) []string {
	rows := make([][]string, len(lines))
	for i, line := range lines {
		if rows[i] = strings.Split(line, "\t"); len(rows[i]) == 1 && cols > 1 {
			rows[i] = strings.Fields(line)
		}
	}
	slices.SortFunc(rows, slices.Compare[[]string])
	out := make([]string, len(rows))
	for i, row := range rows {
		out[i] = strings.Join(row, "\t")
	}
	return out
}

// difference prints the rows in which two results differ.
func difference(expected, got []string) string {
	var b strings.Builder
	const contextMax = 40 // lines of a difference that a person will read
	n := 0
	for i := range max(len(expected), len(got)) {
		if i < len(expected) && i < len(got) && sameLine(expected[i], got[i]) {
			continue
		}
		if n++; n > contextMax {
			b.WriteString("  ... and more\n")
			break
		}
		if i < len(expected) {
			fmt.Fprintf(&b, "  row %d want: %s\n", i+1, expected[i])
		}
		if i < len(got) {
			fmt.Fprintf(&b, "  row %d got:  %s\n", i+1, got[i])
		}
	}
	return fmt.Sprintf("want %d rows, got %d\n%s", len(expected), len(got), b.String())
}

// checkTypes holds the columns of a result against the types of the record.
func checkTypes(types string, cols []Column, rows [][]string) error {
	if len(cols) != len(types) {
		return fmt.Errorf("want %d columns (%s), got %d: %s", len(types), types, len(cols), names(cols))
	}
	for i, c := range cols {
		if want := types[i : i+1]; c.Type != "" && want != "?" && c.Type != want {
			return fmt.Errorf("column %d (%s) is of type %s, want %s", i+1, c.Name, c.Type, want)
		}
	}
	for i, row := range rows {
		if len(row) != len(cols) {
			return fmt.Errorf("row %d has %d values in %d columns", i+1, len(row), len(cols))
		}
	}
	return nil
}

func names(cols []Column) string {
	s := make([]string, len(cols))
	for i, c := range cols {
		s[i] = c.Name
	}
	return strings.Join(s, ", ")
}
