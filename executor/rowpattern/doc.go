// Package rowpattern finds the matches of a row pattern in the rows of a
// partition. It decides which rows match, as which variable; it never reads a
// value: what a condition says of a row is asked of Tests.
//
// A pattern is compiled to a program of labels and splits. A search runs all of
// its threads side by side, a row at a time, in the order in which SQL prefers
// what they would match, so that no row is looked at twice by the same thread and
// nothing is ever taken back. Of threads that cannot be told apart by any
// condition still to come, the most preferred one is kept; what a condition can
// ask of the rows taken is therefore declared beforehand, as tracks and sums.
//
// Invariants:
//
//	P1  Of all matches that start at a row, the one found is the first in the
//	    order of preference: greedy before short, left before right.
//	P2  The work for a row is at most MaxThreads steps; a search that needs more
//	    threads is an error, not a wait.
//	P3  A search that meets the end of what is known, while what follows could
//	    change its result, says that it is undecided.
//
// Example:
//
//	prog := rowpattern.Compile(pattern)
//	m := rowpattern.New(prog, rowpattern.History{}, tests)
//	m.Partition(rowpattern.Rows{First: 0, Limit: n, End: n, Closed: true})
//	found, err := m.Find(0)
//	if found == rowpattern.Matched {
//		for _, l := range m.Labels() { fmt.Println(l.Row, l.Var) }
//	}
package rowpattern
