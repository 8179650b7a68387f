package file

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/sinks"
)

// Sink reveals batches. It keeps nothing in memory that the directory does not
// hold, but for what compaction has to choose from.
type Sink struct {
	t  *target
	mu struct {
		sync.Mutex
		revealed string // name of the newest manifest whose files are known to be in their places
		small    *smallFiles
	}
}

var _ sinks.Sink = (*Sink)(nil)

// Commit reveals a batch (W1, W2). It finishes what a crash has cut off.
func (s *Sink) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, empty, err := s.t.manifestOf(id, term, parts)
	if err != nil {
		return err
	}
	if s.t.overwrite {
		return s.overwriteLocked(ctx, m)
	}
	newest, live, err := s.newestLocked(term)
	if err != nil {
		return err
	}
	if newest != nil && newest.To >= id {
		return s.t.repeated(newest, live, m, empty)
	}
	if empty {
		return nil // a batch without rows leaves no trace
	}
	if newest != nil {
		m.After = manifest.NameOf(*newest)
	}
	if m.Replaces {
		if err := s.t.replaceAll(&m, live); err != nil {
			return err
		}
	}
	held, err := s.t.putManifest(m)
	fault.Hit(fault.C7)
	if err != nil {
		return err
	}
	if held != nil { // another driver was there between our look and our write
		if held.Term > term {
			return fmt.Errorf("commit batch %d to %q: term %d has committed it: %w", id, s.t.dir, held.Term, batch.ErrFenced)
		}
		return s.t.same(held, m)
	}
	if err := s.t.reveal(m); err != nil {
		return err
	}
	s.mu.revealed = manifest.NameOf(m)
	return s.tidyLocked(ctx, m)
}

// repeated is a commit of a batch that the directory is past: it holds the very
// same output (K2), or it belongs to another life of the query, as after its
// checkpoint was put back from a copy. To pass over such a batch would lose rows
// that the other life has not shown.
func (t *target) repeated(newest *manifest.Manifest, live []manifest.Entry, m manifest.Manifest, empty bool) error {
	at := slices.IndexFunc(live, func(e manifest.Entry) bool { return e.From <= m.To && m.To <= e.To && (e.Seq == 0 || e.From < e.To) })
	switch {
	case at < 0 && empty:
		return nil
	case at < 0, live[at].From != live[at].To: // a fold does not tell one batch from the next
		return t.ahead(newest, m)
	}
	held, err := manifest.Read(t.fs, t.mdir, live[at].Name)
	if err != nil {
		return outside(err)
	}
	return t.same(&held, m)
}

// same refuses a batch whose output differs from what is shown of it.
func (t *target) same(held *manifest.Manifest, m manifest.Manifest) error {
	if held.Rows != m.Rows || held.Digest != m.Digest {
		return batch.UserErrorf("commit batch %d to %q: it holds %d rows with digest %s for that batch, and this run made %d with %s: the query is not repeatable or its checkpoint is of another time",
			m.To, t.dir, held.Rows, held.Digest, m.Rows, m.Digest)
	}
	return nil // newestLocked has revealed it
}

func (t *target) ahead(newest *manifest.Manifest, m manifest.Manifest) error {
	return batch.UserErrorf("commit batch %d to %q: it holds batch %d of this query already: the checkpoint is older than the output; restore the newer one, or start the query anew with an empty checkpoint and another directory",
		m.To, t.dir, newest.To)
}

// newestLocked returns the newest manifest of the query, its files in place,
// and the live entries. An older term than its is refused (W3).
func (s *Sink) newestLocked(term batch.Term) (*manifest.Manifest, []manifest.Entry, error) {
	live, covered, err := manifest.List(s.t.fs, s.t.mdir)
	if err != nil {
		return nil, nil, outside(err)
	}
	if len(live) == 0 {
		return nil, nil, nil
	}
	last := live[len(live)-1]
	m, err := manifest.Read(s.t.fs, s.t.mdir, last.Name)
	if err != nil {
		return nil, nil, outside(err)
	}
	if m.Term > term && !mutant.On(mutant.SinkUnfenced) {
		return nil, nil, fmt.Errorf("write to %q in term %d: term %d has written, in another process or before the checkpoint was put back from an older copy: %w", s.t.dir, term, m.Term, batch.ErrFenced)
	}
	if s.mu.revealed != last.Name {
		if err := s.t.reveal(m); err != nil {
			return nil, nil, err
		}
		if err := s.t.removeManifests(covered); err != nil {
			return nil, nil, err
		}
		if err := s.t.sweep(m.To, m.Files); err != nil {
			return nil, nil, outside(err)
		}
		s.mu.revealed = last.Name
	}
	return &m, live, nil
}

// manifestOf makes the manifest of a batch from its tasks' handles. empty
// means that there is nothing to commit.
func (t *target) manifestOf(id batch.ID, term batch.Term, parts []batch.Prepared) (m manifest.Manifest, empty bool, err error) {
	m = manifest.Manifest{Query: t.spec.Query, From: id, To: id, Term: term}
	empty = true
	for _, p := range parts {
		m.Rows += p.Rows
		m.Digest = m.Digest.Add(p.Digest)
		if len(p.Payload) == 0 {
			continue
		}
		empty = false
		var h handle
		if err := json.Unmarshal(p.Payload, &h); err != nil {
			return m, false, fmt.Errorf("read the handle of partition %d of batch %d: %w", p.Partition, id, err)
		}
		m.Files = append(m.Files, h.Files...)
	}
	m.Replaces = t.spec.Mode == sinks.Complete
	return m, empty, nil
}

// replaceAll notes in a complete batch's manifest which files it takes away.
func (t *target) replaceAll(m *manifest.Manifest, live []manifest.Entry) error {
	var ms []manifest.Manifest
	for _, e := range live {
		old, err := manifest.Read(t.fs, t.mdir, e.Name)
		if err != nil {
			return outside(err)
		}
		ms = append(ms, old)
	}
	if len(ms) == 0 {
		return nil
	}
	for _, f := range manifest.Fold(ms).Files {
		m.Removed = append(m.Removed, f.Name)
	}
	return nil
}

// Abort removes what was prepared for a batch that will not be committed.
func (s *Sink) Abort(_ context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest, _, err := s.newestLocked(term)
	if err != nil {
		return err
	}
	m, _, err := s.t.manifestOf(id, term, parts)
	if err != nil {
		return err
	}
	committed := map[string]bool{}
	if newest != nil {
		for _, f := range newest.Files {
			committed[f.Staged] = true
		}
	}
	for _, f := range m.Files {
		if committed[f.Staged] {
			continue
		}
		if err := s.t.removeStaged(f.Staged); err != nil {
			return err
		}
	}
	return nil
}

// Holds returns the last batch with rows that the directory holds.
func (s *Sink) Holds(context.Context) (batch.ID, batch.Digest, error) {
	live, _, err := manifest.List(s.t.fs, s.t.mdir)
	if err != nil {
		return batch.None, batch.Digest{}, outside(err)
	}
	for i := len(live) - 1; i >= 0; i-- {
		if live[i].Seq > 0 && live[i].From == live[i].To {
			continue // a compaction
		}
		m, err := manifest.Read(s.t.fs, s.t.mdir, live[i].Name)
		if err != nil {
			return batch.None, batch.Digest{}, outside(err)
		}
		return m.To, m.Digest, nil
	}
	return batch.None, batch.Digest{}, nil
}

// Close has nothing to let go of.
func (s *Sink) Close() error { return nil }
