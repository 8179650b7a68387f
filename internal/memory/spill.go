package memory

import (
	"cmp"
	"slices"
)

// Usage is what one tracker uses: a line of a metric or of a report.
type Usage struct {
	Path    string
	Used    int64
	Peak    int64
	Limit   int64 // 0: none of its own
	Refused int64 // requests that this level's limit has refused
	Spills  int64 // rounds of asking others to let go because this level was full
}

// Usage reports t and everything below it, parents first and in the order of
// their opening.
func (t *Tracker) Usage() []Usage {
	all := []Usage{{
		Path: t.Path(), Used: t.used.Load(), Peak: t.peak.Load(), Limit: t.limit.Load(),
		Refused: t.refused.Load(), Spills: t.spills.Load(),
	}}
	for _, c := range t.childList() {
		all = append(all, c.Usage()...)
	}
	return all
}

func (t *Tracker) childList() []*Tracker {
	t.tree.Lock()
	defer t.tree.Unlock()
	return slices.Clone(t.tree.children)
}

// askToSpill asks the users below t to let go of need bytes, the largest first,
// and returns what they said they freed.
func (t *Tracker) askToSpill(need int64) (freed int64) {
	t.spills.Add(1)
	users := t.spillable(nil)
	slices.SortStableFunc(users, func(a, b spillable) int { return cmp.Compare(b.used, a.used) })
	for _, u := range users {
		if freed >= need {
			break
		}
		freed += max(u.s.f(need-freed), 0)
	}
	return freed
}

type spillable struct {
	s    *spiller
	used int64
}

// spillable collects the registrations of t and of everything below it.
func (t *Tracker) spillable(users []spillable) []spillable {
	t.tree.Lock()
	used := t.used.Load()
	for _, s := range t.tree.spillers {
		users = append(users, spillable{s: s, used: used})
	}
	children := slices.Clone(t.tree.children)
	t.tree.Unlock()
	for _, c := range children {
		users = c.spillable(users)
	}
	return users
}
