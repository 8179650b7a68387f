package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

// Workers keep the state of a life that has ended for a while. The next one asks them what
// they have, puts partitions where their state is, and goes on from the newest version that
// is there whole, with the digests of the log. What is missing sends all of it back to the
// checkpoint: the batches since have to run on every partition.

// left is what the workers of a life have from the one before, by worker and shard.
type left map[transport.NodeID]map[batch.Shard]*leftShard

// leftShard is the versions of a shard that a worker has.
type leftShard struct {
	versions map[batch.ID]batch.Digest
	copies   bool // another worker had the shard
}

// add notes what a worker has.
func (l left) add(w transport.NodeID, k transport.Kept) {
	if l[w] == nil {
		l[w] = map[batch.Shard]*leftShard{}
	}
	if l[w][k.Shard] == nil {
		l[w][k.Shard] = &leftShard{versions: map[batch.ID]batch.Digest{}}
	}
	s := l[w][k.Shard]
	s.versions[k.Version], s.copies = k.Digest, k.Copy
}

// has is the digest of a version that a worker holds.
func (l left) has(w transport.NodeID, s batch.Shard, id batch.ID) (batch.Digest, bool) {
	if l[w][s] == nil {
		return batch.Digest{}, false
	}
	d, ok := l[w][s].versions[id]
	return d, ok
}

// newest is the newest version to which a worker holds all of some shards; None if it
// lacks one of them. copies says that some of them are copies.
func (l left) newest(w transport.NodeID, shards []batch.Shard) (out batch.ID, copies bool) {
	out = batch.None
	for i, s := range shards {
		top := batch.None
		if has := l[w][s]; has != nil {
			for id := range has.versions {
				top = max(top, id)
			}
			copies = copies || has.copies
		}
		if out = min(out, top); i == 0 {
			out = top
		}
	}
	return out, copies
}

// survey asks workers what they have kept from the life of a term. Who does not answer in
// time has nothing.
func (q *Query) survey(d *deployment, term batch.Term) left {
	out := left{}
	if q.last == nil || len(d.shards()) == 0 {
		return out
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer q.opt.Clock.AfterFunc(surveyWait, cancel)()
	k := waitKey{"survey", batch.None}
	d.surveyed = func(from transport.NodeID, s transport.Surveyed) {
		if s.Term != term || term == 0 {
			return // of a life whose state others have had since
		}
		for _, k := range s.Kept {
			out.add(from, k)
		}
	}
	d.onLost = func(w transport.NodeID, _ string) {
		if d.markLost(w) {
			d.answer(k, w, nil, nil)
		}
	}
	w := d.expect(k)
	if err := d.toAll(ctx, transport.Survey{Key: d.key, Query: d.query}); err != nil {
		return left{} // the plan will not reach that worker either
	}
	done := make(chan struct{})
	go func() { // joined below
		defer close(done)
		d.receive(ctx)
	}()
	_, _ = d.await(ctx, k, w) // what has come by then counts
	cancel()
	<-done
	return out
}

// surveyWait is how long workers may take to say what they have kept: it is to be faster
// than to load it.
const surveyWait = time.Second

// settle puts partitions where their state is. Loose is said where it is dear to have it
// elsewhere: the batches since the checkpoint would have to run again.
func (d *deployment) settle(l left, loose bool) {
	d.left = l
	if len(l) == 0 {
		return
	}
	byPart := map[int][]batch.Shard{}
	for _, list := range d.shards() {
		for _, s := range list {
			byPart[s.Partition] = append(byPart[s.Partition], s)
		}
	}
	at := func(worker, partition int) (batch.ID, bool) {
		return l.newest(d.workers[worker], byPart[partition])
	}
	d.homes.Places = arrange(d.workers, d.parts, at, loose)
}

// adoptable finds the version to go on from: the newest that is there whole, else the
// checkpoint, some of which may be there as well.
func (d *deployment) adoptable(r microbatch.Restore) (batch.ID, map[transport.NodeID][]transport.Kept) {
	shards := d.shards()
	for _, v := range r.Later {
		want := map[batch.Shard]batch.Digest{}
		for _, s := range v.Shards {
			want[s.Shard] = s.Digest
		}
		if kept, all := d.matching(shards, v.Batch, want); all {
			return v.Batch, kept
		}
	}
	want := map[batch.Shard]batch.Digest{}
	for _, m := range r.Manifests {
		want[m.Shard] = m.Digest
	}
	kept, _ := d.matching(shards, r.Batch, want)
	return r.Batch, kept
}

// matching lists the shards of a version that lie where they are to run.
func (d *deployment) matching(shards map[transport.NodeID][]batch.Shard, id batch.ID, want map[batch.Shard]batch.Digest) (kept map[transport.NodeID][]transport.Kept, all bool) {
	kept, all = map[transport.NodeID][]transport.Kept{}, true
	for w, list := range shards {
		for _, s := range list {
			digest, known := want[s]
			if has, ok := d.left.has(w, s, id); !ok || !known || has != digest {
				all = false
				continue
			}
			kept[w] = append(kept[w], transport.Kept{Shard: s, Version: id, Digest: digest})
		}
	}
	return kept, all
}

// resume makes all workers hold a state version: what they have kept, or what the
// checkpoint has. It returns which version and how many shards were kept.
func (d *deployment) resume(ctx context.Context, r microbatch.Restore) (id batch.ID, shards int64, err error) {
	id, kept := d.adoptable(r)
	for _, list := range kept {
		shards += int64(len(list))
	}
	if shards > 0 {
		if err = d.load(ctx, r, id, kept); err == nil {
			return id, shards, nil
		}
		if ctx.Err() != nil || errors.Is(err, transport.ErrGone) {
			return id, 0, err
		}
		d.listen.send(Warning{Doing: fmt.Sprintf("go on with the state of batch %d that workers have kept", id), Err: err})
	}
	return r.Batch, 0, d.load(ctx, r, r.Batch, nil)
}

// load makes all workers hold a version, some shards of which they keep.
func (d *deployment) load(ctx context.Context, r microbatch.Restore, id batch.ID, kept map[transport.NodeID][]transport.Kept) error {
	shards := d.shards()
	if len(shards) == 0 {
		return nil
	}
	k := waitKey{"restore", id}
	w := d.expect(k)
	refs := refsOf(r.Manifests)
	for _, n := range d.workers {
		m := transport.Restore{Key: d.key, Batch: id, Kept: kept[n], Before: r.Before, Term: r.Term}
		have := map[batch.Shard]bool{}
		for _, s := range m.Kept {
			have[s.Shard] = true
		}
		for _, s := range shards[n] {
			if !have[s] {
				m.Shards = append(m.Shards, s)
			}
		}
		if len(m.Shards) > 0 {
			m.Manifests = refs
		}
		if err := d.tr.Send(ctx, n, m); err != nil {
			return fmt.Errorf("ask worker %s to restore state version %d: %w", n, id, err)
		}
	}
	if _, err := d.await(ctx, k, w); err != nil {
		return fmt.Errorf("restore state version %d: %w", id, err)
	}
	return nil
}
