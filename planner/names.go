package planner

import (
	"fmt"
	"hash/fnv"

	"github.com/sluice-stream/sluice/planner/canon"
	"github.com/sluice-stream/sluice/planner/logical"
)

// operatorName is made from what the operator computes over which input, so
// that a changed query keeps the state of what did not change (Y3). Equal
// operators of one plan are told apart by their order.
func (b *builder) operatorName(kind string, n logical.Node) string { return b.named(kind, n, true) }

// groupName is operatorName of an operator that keeps what it has made of its rows,
// and none of them.
func (b *builder) groupName(kind string, n logical.Node) string { return b.named(kind, n, false) }

// named takes over the name that a checkpoint has for an operator that computes the
// same, whatever plan its builder has made of the query. The text of the optimized plan,
// of which names are made, is another one when the rules change; its canonical form is not.
func (b *builder) named(kind string, n logical.Node, rows bool) string {
	name := fmt.Sprintf("%s-%012x", kind, hashOf(logical.Explain(n)))
	form := ""
	if b.opts.Stream && logical.Streaming(n) {
		form = b.formOf(kind, n, rows)
	}
	if was := b.opts.Names[form]; form != "" && was != "" && was != name && !b.taken[was] {
		name = was
		b.renamed = append(b.renamed, name)
	}
	for base, c := name, 2; b.taken[name]; c++ {
		name = fmt.Sprintf("%s-%d", base, c)
	}
	b.taken[name] = true
	if form != "" {
		b.query.Forms[name] = form
	}
	if ttl := logical.TTLOf(n); ttl != nil {
		b.query.TTL[name] = ttl
	}
	return name
}

// formOf is short for what an operator computes, with a number where several of a plan
// compute the same.
func (b *builder) formOf(kind string, n logical.Node, rows bool) string {
	text := canon.Of(kind, n, rows)
	if text == "" {
		return ""
	}
	if b.opts.Form != nil {
		b.opts.Form(kind, text)
	}
	form := fmt.Sprintf("%012x", hashOf(text))
	key := "form " + form
	b.counts[key]++
	if c := b.counts[key]; c > 1 {
		form = fmt.Sprintf("%s-%d", form, c)
	}
	return form
}

func hashOf(text string) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, text)
	return h.Sum64() & (1<<48 - 1)
}

// Renames reports whether a plan made with the names of a checkpoint would have other ones.
func (q *Query) Renames(names map[string]string) bool {
	for name, form := range q.Forms {
		if was := names[form]; was != "" && was != name {
			return true
		}
	}
	return false
}
