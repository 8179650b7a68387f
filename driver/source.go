package driver

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources"
)

// stepsMax bounds how many positions a source is asked for to find the end of
// what is there. A source that has more than that is drained as far as that:
// one that makes rows faster than it is asked would never end.
const stepsMax = 10_000

// sourceLoop asks one source. Its asks and its pushes are on one goroutine, so
// that an answer "nothing" is never told after a push that was found later.
type sourceLoop struct {
	name   string
	src    sources.Source
	limit  sources.Limit
	static bool
	asks   chan microbatch.Ask
	post   func(microbatch.Event)

	last  batch.Offset // From of the newest ask
	asked bool
	// steps are the positions up to the end that was told to a drain: a source
	// is then never read past it, and in the pieces that its limits make. A life that
	// goes on with a drain takes them over.
	steps []batch.Offset
}

// asksWaiting is how many asks may wait while one is answered: a newer one makes
// the older ones void, so there are never many.
const asksWaiting = 8

func newSourceLoop(name string, src sources.Source, limit sources.Limit, static bool, post func(microbatch.Event)) *sourceLoop {
	return &sourceLoop{name: name, src: src, limit: limit, static: static, asks: make(chan microbatch.Ask, asksWaiting), post: post}
}

// ask queues an ask and never waits, also when the source hangs: a newer ask
// makes the older ones void, so the oldest gives way. Only the loop calls it.
func (l *sourceLoop) ask(a microbatch.Ask) {
	for {
		select {
		case l.asks <- a:
			return
		default:
		}
		select {
		case <-l.asks:
		default:
		}
	}
}

// run ends when ctx is done.
func (l *sourceLoop) run(ctx context.Context) {
	var changed <-chan struct{}
	if n, ok := l.src.(sources.Notifier); ok && !l.static {
		changed = n.Changed()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-l.asks:
			l.answer(ctx, a)
		case _, ok := <-changed:
			if !ok {
				changed = nil // it ended; asks go on
				continue
			}
			l.push(ctx)
		}
	}
}

func (l *sourceLoop) answer(ctx context.Context, a microbatch.Ask) {
	ev := microbatch.SourceAvailable{Source: l.name, Ask: a.Seq, From: a.From, To: a.From}
	var err error
	switch {
	case a.Static:
		ev.Pin, err = pinOf(ctx, l.src)
	case a.All:
		l.last, l.asked = a.From, true
		ev.To, err = l.all(ctx, a.From)
	default:
		l.last, l.asked = a.From, true
		ev.To, ev.More, err = l.next(ctx, a)
	}
	if !a.Static {
		ev.Ended = l.ended(ev.To)
	}
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		_, retry := batch.KindOf(err)
		l.post(microbatch.SourceFailed{Source: l.name, Ask: a.Seq, Err: err, Retry: retry})
		return
	}
	l.post(ev)
}

// ended reports whether nothing will ever come after a position.
func (l *sourceLoop) ended(at batch.Offset) bool {
	b, ok := l.src.(sources.Bounded)
	return ok && b.Ended(at)
}

// all walks to the end of what is there and keeps the steps.
func (l *sourceLoop) all(ctx context.Context, from batch.Offset) (batch.Offset, error) {
	l.steps = append(l.steps[:0], from)
	for at := from; len(l.steps) <= stepsMax; {
		to, err := l.src.Latest(ctx, at, l.limit)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", err
		}
		if to == at {
			break
		}
		l.steps = append(l.steps, to)
		at = to
	}
	return l.steps[len(l.steps)-1], nil
}

// next returns the next position after a.From and whether more is known to follow.
func (l *sourceLoop) next(ctx context.Context, a microbatch.Ask) (batch.Offset, bool, error) {
	if a.Until != "" {
		if i := slices.Index(l.steps, a.From); i >= 0 && i+1 < len(l.steps) && l.steps[len(l.steps)-1] == a.Until {
			to, more := l.steps[i+1], i+2 < len(l.steps)
			// What lies behind is not asked for again, but for one step: a life that ends before
			// a plan is durable leaves it to the next.
			l.steps = slices.Delete(l.steps, 0, max(i-1, 0))
			return to, more, nil
		}
		return a.From, false, fmt.Errorf("source %q: position %q is not on the way to %q", l.name, a.From, a.Until)
	}
	l.steps = nil
	limit := l.limit
	if a.Rows > 0 && (limit.Rows == 0 || a.Rows < limit.Rows) {
		limit.Rows = a.Rows
	}
	to, err := l.src.Latest(ctx, a.From, limit)
	if err != nil || to == a.From || a.Rows == 0 {
		return to, false, err
	}
	beyond, err := l.src.Latest(ctx, to, limit)
	return to, beyond != to, err
}

// push tells the machine of data that came by itself after the newest ask. At a
// failure, or the end, the machine asks and is told: no other push may follow.
func (l *sourceLoop) push(ctx context.Context) {
	if !l.asked || l.steps != nil {
		return
	}
	to, err := l.src.Latest(ctx, l.last, l.limit)
	if err != nil || to == l.last {
		if err != nil && ctx.Err() == nil || err == nil && l.ended(to) {
			l.post(microbatch.SourceChanged{Source: l.name})
		}
		return
	}
	l.post(microbatch.SourceAvailable{Source: l.name, From: l.last, To: to})
}

// splitsOf cuts the ranges of a plan into splits, by stage.
func splitsOf(ctx context.Context, d *deployment, ranges []batch.Range, skip map[int]kept) (map[int][]batch.Split, error) {
	bySource := make(map[string]batch.Range, len(ranges))
	for _, g := range ranges {
		bySource[g.Source] = g
	}
	out := map[int][]batch.Split{}
	for _, s := range d.plan.Stages {
		if _, ok := skip[s.ID]; ok {
			continue
		}
		for _, name := range s.Sources {
			g, ok := bySource[name]
			if !ok {
				return nil, fmt.Errorf("stage %d reads source %q, which the batch's plan does not", s.ID, name)
			}
			if _, pins := d.opt.Sources[name].(sources.Pinner); isStatic(d, name) && !pins {
				g.Start, g.End = "", batch.Offset(g.Pin) // a pin is the position that Latest gave
			}
			if g.Start == g.End && g.Pin == "" {
				continue
			}
			splits, err := d.opt.Sources[name].Plan(ctx, g)
			if err != nil {
				return nil, fmt.Errorf("cut source %q from %q to %q into splits: %w", name, g.Start, g.End, err)
			}
			for i := range splits {
				splits[i].Source = name
			}
			out[s.ID] = append(out[s.ID], splits...)
		}
	}
	return out, nil
}

// pinOf is the version of a static table: the source's own pin, else the
// position that Latest gives, to be read from the beginning.
func pinOf(ctx context.Context, src sources.Source) (string, error) {
	if p, ok := src.(sources.Pinner); ok {
		return p.Pin(ctx)
	}
	at := batch.Offset("")
	for range stepsMax {
		to, err := src.Latest(ctx, at, sources.Limit{})
		if err != nil || to == at {
			return string(at), err
		}
		at = to
	}
	return string(at), nil
}

func isStatic(d *deployment, source string) bool {
	for _, s := range d.plan.Sources {
		if s.Name == source {
			return !s.Stream
		}
	}
	return false
}
