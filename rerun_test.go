package sluice

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// replay runs batches of the query q of a bed's script again.
func (b *stateBed) replay(script, with string, from, to int64) (*ReplayReport, error) {
	return ReplayBatches(b.t.Context(), Options{CheckpointDir: filepath.Join(b.dir, "ck"), Logger: slog.New(slog.DiscardHandler),
		Settings: map[string]string{"parallelism": "2"}}, Replay{Script: script, With: with, Query: "q", From: from, To: to})
}

// TestReplayOfWhatIsKept: batches whose state is kept come out the same, whatever
// the parallelism was, with output as a changelog; others are refused by name, and
// what the refusal says can be run again can.
func TestReplayOfWhatIsKept(t *testing.T) {
	b := newStateBed(t)
	tables := `CREATE TABLE ev (id BIGINT, k STRING, v BIGINT) WITH ('connector'='filesystem','path'='` + b.dir + `/in','format'='csv','max-files-per-trigger'='1');
	CREATE TABLE log (k STRING, n BIGINT, s BIGINT) WITH ('connector'='blackhole');`
	query := `CREATE STREAMING QUERY q OUTPUT MODE changelog AS INSERT INTO log SELECT k, count(*), sum(v) FROM ev GROUP BY k;`
	s := b.session("checkpoint.interval=1ms", "checkpoint.retain=2", "parallelism=1")
	b.exec(s, strings.Split(tables, ";")[1]+";"+query)
	n := 0
	for _, parallelism := range []int{1, 64, 3} {
		b.exec(s, fmt.Sprintf(`ALTER STREAMING QUERY q SET PARALLELISM %d`, parallelism))
		for range 12 { // the log has more than one segment: the first goes
			b.feed(n)
			n++
			b.drained(s, "q")
		}
	}
	q, _ := s.Query("q")
	last := q.Totals().Batches - 1
	b.close(s)
	_, err := b.replay(tables+query, "", 0, 0)
	m := regexp.MustCompile(`batch 0 cannot be run again: .*has the state after batches [0-9, ]+, so the oldest that can is batch ([0-9]+);`).FindStringSubmatch(fmt.Sprint(err))
	if k, _ := batch.KindOf(err); k != batch.User || m == nil {
		t.Fatalf("a batch whose state is gone: %v", err)
	}
	var oldest int64
	if _, err := fmt.Sscan(m[1], &oldest); err != nil {
		t.Fatal(err)
	}
	if _, err := b.replay(tables+query, "", oldest-1, last); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("batch %d cannot be run again", oldest-1)) {
		t.Errorf("the batch before the oldest: %v", err)
	}
	if _, err := b.replay(tables+query, "", last, last+1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("batch %d cannot be run again: it is not committed", last+1)) {
		t.Errorf("a batch that has not been: %v", err)
	}
	if oldest > last {
		t.Fatalf("only the state after batch %d is kept, of two", last)
	}
	rep, err := b.replay(tables+query, "", oldest, last)
	if err != nil || !rep.Same() || len(rep.Batches) != int(last-oldest+1) || rep.State != oldest-1 {
		t.Fatalf("batches %d to %d: %+v %v", oldest, last, rep, err)
	}
	if rows := rep.Batches[0].Rows["log#0"]; rows != 14 {
		t.Errorf("a batch has %d rows, want each key's before and after", rows)
	}
	rep, err = b.replay(tables+query, tables+strings.Replace(query, "GROUP BY", "WHERE k <> 'k0' GROUP BY", 1), oldest, last)
	if err != nil || !rep.Changed || len(rep.Notes) == 0 || rep.Batches[0].Rows["log#0"] != 6 {
		t.Errorf("a changed query: %+v %v", rep, err)
	}
}
