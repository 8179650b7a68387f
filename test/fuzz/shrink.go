package fuzz

// shrink makes a query smaller for as long as it still fails. It tries at most
// tries variants.
func shrink(q *query, tries int, fails func(*query) bool) *query {
	for i := 0; tries > 0; {
		c := q.clone()
		ms := (&mutations{}).query(c)
		if i >= len(ms) {
			return q
		}
		ms[i]()
		tries--
		if size(c) < size(q) && fails(c) {
			q, i = c, 0
			continue
		}
		i++
	}
	return q
}

func size(q *query) int { return len(q.text(inSluice)) + len(q.text(inDuckDB)) }

// mutations lists what may be taken out of a query, large parts first. Each
// changes the query in place; a result that makes no sense is refused by both
// engines and so does not fail.
type mutations struct {
	big, small []func()
}

func (m *mutations) query(q *query) []func() {
	m.visit(q)
	return append(m.big, m.small...)
}

func (m *mutations) visit(q *query) {
	if q == nil {
		return
	}
	for i, c := range q.with {
		if c.q != nil {
			m.big = append(m.big, func() { *q = *c.q })
		}
		m.big = append(m.big, func() { q.with = append(q.with[:i:i], q.with[i+1:]...) })
		m.visit(c.q)
	}
	for i, s := range q.sets {
		m.big = append(m.big, func() { q.sel, q.sets = s.s, nil }, func() { q.sets = append(q.sets[:i:i], q.sets[i+1:]...) })
		m.sel(q, s.s)
	}
	if q.limit >= 0 {
		m.small = append(m.small, func() { q.limit, q.offset = -1, 0 })
		m.small = append(m.small, func() { q.offset = 0 })
	} else {
		m.small = append(m.small, func() { q.order = nil })
	}
	for i := range q.order {
		m.small = append(m.small, func() { q.order = append(q.order[:i:i], q.order[i+1:]...) })
	}
	m.sel(q, q.sel)
}

func (m *mutations) sel(q *query, s *sel) {
	if s.from != nil {
		m.from(q, s.from)
	}
	if s.where != nil {
		m.small = append(m.small, func() { s.where = nil })
		m.expr(&s.where)
	}
	if s.having != nil {
		m.small = append(m.small, func() { s.having = nil })
		m.expr(&s.having)
	}
	if s.qualify != nil {
		m.small = append(m.small, func() { s.qualify = nil })
		m.expr(&s.qualify)
	}
	if len(s.on) > 0 {
		m.small = append(m.small, func() { s.on = nil })
	}
	if s.distinct {
		m.small = append(m.small, func() { s.distinct = false })
	}
	if s.grouping != "" {
		m.small = append(m.small, func() { s.grouping = "" })
	}
	for i := range s.sets {
		m.small = append(m.small, func() { s.sets = append(s.sets[:i:i], s.sets[i+1:]...) })
	}
	for i := range s.keys {
		m.small = append(m.small, func() { s.keys = append(s.keys[:i:i], s.keys[i+1:]...) })
		m.expr(&s.keys[i])
	}
	for i := range s.items {
		if len(s.items) > 1 {
			m.small = append(m.small, func() { m.dropItem(q, i) })
		}
		m.expr(&s.items[i].e)
	}
}

// dropItem takes a column out of every operand and out of the order.
func (m *mutations) dropItem(q *query, i int) {
	name := ""
	for _, s := range append([]branch{{s: q.sel}}, q.sets...) {
		if i < len(s.s.items) {
			if name == "" {
				name = s.s.items[i].name
			}
			s.s.items = append(s.s.items[:i:i], s.s.items[i+1:]...)
		}
	}
	for i := len(q.order) - 1; i >= 0; i-- {
		if q.order[i].col == name {
			q.order = append(q.order[:i:i], q.order[i+1:]...)
		}
	}
}

func (m *mutations) from(q *query, f *from) {
	if f.kind != "" {
		m.big = append(m.big, func() { *f = *f.left }, func() { *f = *f.right })
		if f.kind != "INNER" && f.kind != "CROSS" {
			m.small = append(m.small, func() { f.kind = "INNER" })
		}
		m.from(q, f.left)
		m.from(q, f.right)
		if f.on != nil {
			m.expr(&f.on)
		}
	}
	if f.sub != nil {
		m.big = append(m.big, func() { *q = *f.sub })
		m.visit(f.sub)
	}
}

func (m *mutations) expr(e **node) {
	old := *e
	for _, a := range old.args {
		if a.t == old.t {
			m.small = append(m.small, func() { *e = a })
		}
	}
	if len(old.args) > 0 || old.query != nil {
		m.small = append(m.small, func() {
			*e = &node{t: old.t, s: "CAST(NULL AS " + old.t.name(inSluice) + ")", d: "CAST(NULL AS " + old.t.name(inDuckDB) + ")"}
		})
		if old.t.k == kBool {
			m.small = append(m.small, func() { *e = &node{t: old.t, s: "TRUE"} })
		}
	}
	for i := range old.args {
		m.expr(&old.args[i])
	}
	m.visit(old.query)
}
