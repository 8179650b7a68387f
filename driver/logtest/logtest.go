package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/microbatch"
)

// Subject is a place where one query's log lies.
type Subject interface {
	// Open begins another life: the log as the one before left it, and a term of its
	// own for what is appended. The life before has been closed.
	Open(t *testing.T) (driver.BatchLog, batch.Term)
}

// Tests are the tests by name. Each wants a new and empty log.
var Tests = map[string]func(*testing.T, Subject){
	"what is appended is replayed":           replays,
	"the same group again is nothing":        repeats,
	"older terms are fenced":                 fences,
	"what is truncated is gone, and no more": truncates,
	"a reader sees what was there":           reads,
	"each life goes on where one ended":      lives,
}

// Run runs the tests.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for name, test := range Tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// Planned is a plan of a batch.
func Planned(term batch.Term, id batch.ID) microbatch.Record {
	return microbatch.Planned{Batch: id, Term: term, PlanHash: "h", Watermark: batch.NoTime, Close: batch.NoTime,
		Ranges: []batch.Range{{Source: "s#0", Start: batch.Offset(fmt.Sprint(id)), End: batch.Offset(fmt.Sprint(id + 1))}}}
}

// Committed is a commit of a batch.
func Committed(term batch.Term, id batch.ID) microbatch.Record {
	return microbatch.Committed{Batch: id, Term: term, Counters: batch.Counters{RowsIn: 2}, NextWatermark: 7,
		Prepared: []batch.Prepared{{Sink: "out#0", Payload: []byte("f"), Rows: 2}}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// all returns the records of a replay, encoded, for comparing.
func all(t *testing.T, l driver.BatchLog, from batch.ID) (recs []string) {
	t.Helper()
	for r, err := range l.Replay(t.Context(), from) {
		must(t, err)
		recs = append(recs, string(microbatch.EncodeRecord(r)))
	}
	return recs
}

func texts(recs ...microbatch.Record) (out []string) {
	for _, r := range recs {
		out = append(out, string(microbatch.EncodeRecord(r)))
	}
	return out
}

// whole appends whole batches, as group commits do, and returns what that should give.
func whole(t *testing.T, l driver.BatchLog, term batch.Term, from, to batch.ID) (want []string) {
	t.Helper()
	for id := from; id < to; id++ {
		if id%2 == 0 {
			must(t, l.Append(t.Context(), term, Planned(term, id), Committed(term, id)))
		} else {
			must(t, l.Append(t.Context(), term, Planned(term, id)))
			must(t, l.Append(t.Context(), term, Committed(term, id)))
		}
		want = append(want, texts(Planned(term, id), Committed(term, id))...)
	}
	return want
}

func replays(t *testing.T, s Subject) {
	l, term := s.Open(t)
	if got := all(t, l, 0); len(got) > 0 {
		t.Fatalf("a new log holds %d records", len(got))
	}
	must(t, l.Append(t.Context(), term)) // nothing
	must(t, l.Append(t.Context(), term, microbatch.Started{Term: term, Last: batch.None, Identity: microbatch.Identity{Query: "q", PlanHash: "h"}}))
	want := whole(t, l, term, 0, 30)
	got := all(t, l, 0)
	if len(got) != 61 || !slices.Equal(got[1:], want) {
		t.Fatalf("%d records come back, want 61, or they differ", len(got))
	}
	if got := all(t, l, 28); !slices.Equal(got, want[56:]) {
		t.Fatalf("from batch 28 on %d records come back", len(got))
	}
	for range l.Replay(t.Context(), 0) {
		break // stopping early is fine
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range l.Replay(ctx, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a replay that nobody wants goes on: %v", err)
		}
	}
	must(t, l.Close())
	must(t, l.Close())
	if l.Append(t.Context(), term, Planned(term, 30)) == nil {
		t.Error("a closed log takes records")
	}
}

func repeats(t *testing.T, s Subject) {
	l, term := s.Open(t)
	for range 3 {
		must(t, l.Append(t.Context(), term, Planned(term, 0)))
	}
	for range 3 {
		must(t, l.Append(t.Context(), term, Committed(term, 0), Planned(term, 1)))
	}
	if got := all(t, l, 0); !slices.Equal(got, texts(Planned(term, 0), Committed(term, 0), Planned(term, 1))) {
		t.Errorf("%d records", len(got))
	}
	must(t, l.Close())
}

func fences(t *testing.T, s Subject) {
	l, term := s.Open(t)
	must(t, l.Append(t.Context(), term, Planned(term, 0)))
	must(t, l.Close())
	l, newer := s.Open(t)
	if newer <= term {
		t.Fatalf("term %d after term %d", newer, term)
	}
	must(t, l.Append(t.Context(), newer, Committed(newer, 0)))
	if err := l.Append(t.Context(), term, Planned(term, 1)); !errors.Is(err, batch.ErrFenced) {
		t.Errorf("an older term appends: %v", err)
	}
	if got := all(t, l, 0); !slices.Equal(got, texts(Planned(term, 0), Committed(newer, 0))) {
		t.Errorf("%d records", len(got))
	}
	must(t, l.Close())
}

func truncates(t *testing.T, s Subject) {
	l, term := s.Open(t)
	want := whole(t, l, term, 0, 20)
	must(t, l.Append(t.Context(), term, microbatch.Checkpointed{Batch: 15, Prev: batch.None, Term: term, Manifests: []microbatch.Manifest{{Ref: "m"}}}))
	for range 2 {
		must(t, l.Truncate(t.Context(), 15))
		got := all(t, l, 15)
		if len(got) != 11 || !slices.Equal(got[:10], want[30:]) {
			t.Fatalf("truncated before batch 15, %d records from it on", len(got))
		}
		for r, err := range l.Replay(t.Context(), 0) {
			must(t, err)
			if _, ok := r.(microbatch.Planned); !ok {
				t.Fatalf("what is left begins with %T", r)
			}
			break
		}
	}
	must(t, l.Close())
	l, term = s.Open(t)
	if got := all(t, l, 15); len(got) != 11 {
		t.Fatalf("opened again, %d records from batch 15 on", len(got))
	}
	must(t, l.Append(t.Context(), term, Planned(term, 20)))
	must(t, l.Close())
}

func reads(t *testing.T, s Subject) {
	l, term := s.Open(t)
	want := whole(t, l, term, 0, 10)
	var got []string
	next := batch.ID(10)
	for r, err := range l.Replay(t.Context(), 0) {
		must(t, err)
		got = append(got, string(microbatch.EncodeRecord(r)))
		if len(got)%4 == 0 { // what comes meanwhile does not disturb
			whole(t, l, term, next, next+1)
			next++
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	must(t, l.Close())
}

func lives(t *testing.T, s Subject) {
	var want []string
	for life := range batch.ID(4) {
		l, term := s.Open(t)
		if got := all(t, l, 0); !slices.Equal(got, want) {
			t.Fatalf("life %d begins with %d records, want %d", life, len(got), len(want))
		}
		want = append(want, whole(t, l, term, life*5, life*5+5)...)
		must(t, l.Close())
	}
}
