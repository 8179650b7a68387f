package postgres

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

// looking returns look-ups in a table of a database that is away, logged in a folder.
func looking(t *testing.T, dir string, more options.Map) *lookup {
	t.Helper()
	o := options.Map{"url": "postgres://127.0.0.1:1/nothing", "connect-timeout": "1s", "lookup.retries": "0", "lookup.cache-ttl": "1h"}
	for k, v := range more {
		o[k] = v
	}
	made, err := Connector(vfsx.Default, clock.System()).NewOpener(sources.Spec{
		Name: "dim#lookup0", Table: "dim", Dir: dir, Options: o,
		Schema: arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.BinaryTypes.String, Nullable: true}}, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	l := made.(*opener).looking()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.o.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// asked is the question for some keys.
func asked(names ...string) *question {
	q := &question{on: []int{0}, columns: []int{0}}
	for _, n := range names {
		q.keys = append(q.keys, lookedUp{name: n, values: []string{n}})
	}
	return q
}

// A batch is told of a key from the cache, and the database cannot be asked for another
// one. The task that comes next is told the same of the first key, and what it is told
// is in the log: else the batch would be told something else when it runs again.
func TestCachedAnswersAreLoggedWhereAQuestionFails(t *testing.T) {
	dir := t.TempDir()
	l := looking(t, dir, nil)
	rows := []string{packRow([][]byte{[]byte("cached")})}
	l.mu.cache.put("a", rows, time.Now().Add(time.Hour))
	if _, err := l.answer(t.Context(), 3, 1, asked("a", "b")); err == nil {
		t.Fatal("a database that is away has answered")
	}
	found, err := l.answer(t.Context(), 3, 1, asked("a"))
	if err != nil || !slices.Equal(found[0], rows) {
		t.Fatalf("the key was answered %q (%v)", found, err)
	}
	if err := l.o.Settle(t.Context(), 3, 1); err != nil {
		t.Fatal(err)
	}
	logged, err := reopen(t, dir, 2).of(3)
	if err != nil || len(logged) != 1 || logged[0].key != "a" || !slices.Equal(logged[0].rows, rows) {
		t.Errorf("the log has %q (%v): the batch was told of a key", logged, err)
	}
}

// A life of the query with a higher term goes on with what was answered, and the one
// before is refused.
func TestTermsOfLookups(t *testing.T) {
	l := looking(t, t.TempDir(), nil)
	rows := []string{packRow([][]byte{[]byte("cached")})}
	l.mu.cache.put("a", rows, time.Now().Add(time.Hour))
	if _, err := l.answer(t.Context(), 3, 4, asked("a")); err != nil {
		t.Fatal(err)
	}
	l.mu.cache = newCache(0)
	for range 2 { // from the log, and from memory
		if found, err := l.answer(t.Context(), 3, 5, asked("a")); err != nil || !slices.Equal(found[0], rows) {
			t.Fatalf("the next term was answered %q (%v)", found, err)
		}
	}
	if _, err := l.answer(t.Context(), 3, 4, asked("a")); !errors.Is(err, batch.ErrFenced) {
		t.Errorf("a term that is over: %v", err)
	}
	if err := l.o.Settle(t.Context(), 3, 4); !errors.Is(err, batch.ErrFenced) {
		t.Errorf("a term that is over settles: %v", err)
	}
}

// A question that the database is busy with is another task's: who waits for its answers
// is let go when its own task ends.
func TestWhoWaitsForAnotherTaskIsLetGo(t *testing.T) {
	l := looking(t, t.TempDir(), nil)
	held, err := l.turn(t.Context(), 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { <-held.taken }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.answer(ctx, 3, 1, asked("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("a task that has ended: %v", err)
	}
}
