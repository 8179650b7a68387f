package driver

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

// tellSources tells those that want to know how far the batch that is shown has read.
func (q *Query) tellSources(ranges []batch.Range) {
	for _, g := range ranges {
		if f, ok := q.opt.Sources[g.Source].(sources.Follower); ok && !isStatic(q.d, g.Source) {
			f.Shown(g.End)
		}
	}
}
