package slt

import (
	"context"
	"fmt"
	"slices"
)

// plan says how a query streams in this pass. known is true where a pass with
// fewer pieces has cut the same input into the same ones.
func (r *run) plan(rec *Record, q *Query) (plan Plan, known bool) {
	at := slices.Index(pieces, r.pieces)
	total := totalOf(r.feeds)
	if at > 0 && pieces[at-1] >= max(total, 1) && r.only == 0 && !r.alone {
		return Plan{}, true
	}
	feeds := r.feeds
	if r.pieces%2 == 1 && r.pieces > 1 {
		feeds = arrange(feeds)
	}
	plan = Plan{Batches: Cut(feeds, r.pieces), Restart: r.mode == Restart, Turn: rec.Line + at}
	if plan.Restart {
		plan.Turn += 2 // a query that streams in few pieces meets other ways here
	}
	return plan, false
}

// answers are engines that hold the first pieces of the input and no more, as a
// batch does. They are kept from query to query.
type answers map[place]*answer

// place says how much of the input an engine holds.
type place struct{ total, pieces, n int }

type answer struct {
	engine Engine
	next   int // the first record whose statement has not run
}

// checker compares what a stream has put out with the batch answer over the same
// part of the input. After the last piece the rows in the file say what is right.
func (r *run) checker(ctx context.Context, rec *Record, q *Query, plan Plan) func(int, [][]string, bool) error {
	return func(n int, rows [][]string, open bool) error {
		if n >= len(plan.Batches) {
			return nil
		}
		a, err := r.answer(ctx, rec, plan, n)
		if err != nil {
			return err
		}
		_, want, err := a.engine.Query(ctx, q.SQL)
		if err != nil {
			return fmt.Errorf("after %d of %d batches the stream goes on, and the batch fails: %w", n, len(plan.Batches), err)
		}
		sorted := Query{Sort: RowSort}
		got, all := render(&sorted, rows, 0), render(&sorted, want, 0)
		if open && within(got, all) || sameResult(all, got) {
			return nil
		}
		return fmt.Errorf("after %d of %d batches the result is not the batch answer over the input so far: %s", n, len(plan.Batches), difference(all, got))
	}
}

// within reports whether the sorted lines of part are among those of all.
func within(part, all []string) bool {
	for _, line := range all {
		if len(part) > 0 && part[0] == line {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// answer is an engine that has run all statements above rec and holds the first n
// pieces of the plan.
func (r *run) answer(ctx context.Context, rec *Record, plan Plan, n int) (*answer, error) {
	at := place{totalOf(r.feeds), len(plan.Batches), n}
	a := r.answers[at]
	fed := a != nil
	if !fed {
		a = &answer{engine: r.fresh()}
		if r.answers == nil {
			r.answers = answers{}
		}
		r.answers[at] = a
	}
	for ; r.file.Records[a.next].Line < rec.Line; a.next++ {
		above := &r.file.Records[a.next]
		s, ok := above.Step.(*Statement)
		if !ok || s.Error != nil || s.adds() || r.leftOut(above.Skip, above.Only) {
			continue
		}
		if err := a.engine.Exec(ctx, s.SQL); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", r.file.Path, above.Line, err)
		}
	}
	if fed {
		return a, nil
	}
	for _, f := range slices.Concat(plan.Batches[:n]...) {
		if err := r.add(ctx, a.engine, f); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (r *run) add(ctx context.Context, e Engine, f Feed) error {
	if f.SQL != "" {
		return e.Exec(ctx, f.SQL)
	}
	feeder, ok := e.(Feeder)
	if !ok {
		return fmt.Errorf("the engine %s takes no feeds", r.name)
	}
	return feeder.Feed(ctx, f)
}
