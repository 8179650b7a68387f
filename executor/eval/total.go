package eval

// Total reports that the condition cannot fail, whatever its rows hold, and that
// its result for a row depends on the row's values alone: it may then be asked of
// values that no row has.
func (pr *Predicate) Total() bool {
	for _, n := range pr.p.nodes {
		if n.perRow || !n.safe {
			return false
		}
	}
	return true
}
