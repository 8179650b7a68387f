package sluice

import (
	"fmt"
	"testing"
	"time"
)

// TestOneSevenThree: from 1 partition to 7 to 3, and back, by ALTER of a query that runs,
// by a start with another number after a crash, and from a savepoint each time, with the
// checkpoint in a folder and in a bucket: every result is the batch answer.
func TestOneSevenThree(t *testing.T) {
	bucketServer(t, nil)
	for name, place := range map[string]string{"folder": "", "bucket": "s3://lake/ck/"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newStateBed(t)
			if place == "" {
				place = b.dir + "/ck/"
			}
			cache := "checkpoint.cache-dir=" + t.TempDir()
			files, took := 0, time.Duration(0)
			more := func(s *Session, query string) {
				t.Helper()
				b.feed(files, files+1)
				files += 2
				b.drained(s, query)
				b.same(fmt.Sprintf("%s after %d files", query, files), b.rows(s, `SELECT * FROM res`), b.want(files))
			}
			create := func(name, clauses string) string {
				return "CREATE STREAMING QUERY " + name + " OUTPUT MODE update " + clauses + " CHECKPOINT '" + place + name + "'"
			}
			s := b.session("checkpoint.interval=1ms", cache)
			b.exec(s, create("q", "PARALLELISM 1")+" AS "+countQuery)
			more(s, "q")
			for i, n := range []int{7, 3, 1, 3, 7} {
				begun := time.Now()
				b.exec(s, fmt.Sprintf("ALTER STREAMING QUERY q SET PARALLELISM %d", n))
				took += time.Since(begun)
				q, _ := s.Query("q")
				if r, ok := q.Recovery(); !ok || r.Shards != int64(n) || r.Rows != 7 {
					t.Errorf("with %d partitions: %v %+v", n, ok, r)
				}
				more(s, "q")
				b.exec(s, fmt.Sprintf("SAVE STREAMING QUERY q AS s%d", i))
			}
			t.Logf("a change of parallelism takes %s", took/5)
			q, _ := s.Query("q")
			q.Abandon()
			if err := q.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.close(s)
			for _, n := range []int{1, 7, 3} {
				s := b.session("checkpoint.interval=1h", cache) // the next start has to run batches again
				b.exec(s, create("q", fmt.Sprintf("PARALLELISM %d", n))+" AS "+countQuery)
				more(s, "q")
				q, _ := s.Query("q")
				q.Abandon()
				if err := q.Await(t.Context()); err != nil {
					t.Fatal(err)
				}
				b.close(s)
			}
			from := "q' SAVEPOINT s1"
			for i, n := range []int{1, 7, 3} {
				s := b.session("checkpoint.interval=1ms", cache)
				fork := fmt.Sprintf("f%d", i)
				b.exec(s, create(fork, fmt.Sprintf("PARALLELISM %d", n))+" FROM CHECKPOINT '"+place+from+" AS "+countQuery)
				more(s, fork)
				b.exec(s, "SAVE STREAMING QUERY "+fork+" AS s1")
				b.close(s)
				from = fork + "' SAVEPOINT s1"
			}
		})
	}
}
