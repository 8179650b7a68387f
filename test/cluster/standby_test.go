package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/proctest"
)

// query is what the driver tells of the query.
func (s *scene) query() (q struct {
	Recovery *sluice.Recovery
	Standbys *sluice.Standbys
}, err error) {
	resp, err := http.Get(s.url + "/api/queries/counting")
	if err != nil {
		return q, err
	}
	defer resp.Body.Close()
	return q, json.NewDecoder(resp.Body).Decode(&q)
}

// followed waits until there are so many copies of shards, which all have the newest
// committed batch.
func (s *scene) followed(copies int64) {
	s.t.Helper()
	proctest.Until(s.t, "the copies have followed", func() (bool, string) {
		q, err := s.query()
		return err == nil && q.Standbys != nil && q.Standbys.Copies == copies && q.Standbys.Batch >= 0 && q.Standbys.Behind == 0, fmt.Sprintf("%+v %v", q.Standbys, err)
	})
}

// Workers are killed one after the other, and their state goes on from its copies on the
// others: nothing is lost or doubled.
func TestCopiesOfStateTakeOver(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.set = "SET 'state.standby-replicas' = '1'; SET 'checkpoint.interval' = '1 hour';"
	s.give(3)
	s.submit()
	names := []string{"w1", "w2", "w3"}
	for i, id := range names {
		if i == 2 { // what copies begin with is the checkpoint at the end of the life without it
			s.check("with two workers")
		}
		s.startWorker(id)
	}
	s.joined(names...)
	taken := 0
	for i := range 4 {
		// On all three workers, and some batches behind the newest checkpoint.
		s.followed(6)
		s.give(4)
		s.check("before a worker is killed")
		s.followed(6)
		if i == 3 { // in the middle of batches it is as right, though not as sure how
			s.give(3)
		}
		victim := names[0]
		names = append(names[1:], fmt.Sprint("w", i+4))
		s.workers[victim].Kill()
		s.joined(names[:2]...)
		s.give(2)
		s.check("after a worker was killed")
		q, err := s.query()
		if err != nil || q.Recovery == nil {
			t.Fatalf("the query says %+v, %v", q, err)
		}
		t.Logf("it has come by its state like this: %+v", *q.Recovery)
		if r := q.Recovery; r.KeptShards == r.Shards && r.Shards > 0 {
			taken++
		}
		s.startWorker(names[2])
		s.joined(names...)
	}
	if taken < 2 {
		t.Errorf("copies were gone on with %d times", taken)
	}
}
