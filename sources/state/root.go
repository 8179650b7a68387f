package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/statestore"
)

// Root is a state version on disk, and whose it is.
type Root struct {
	Dir       string // of the checkpoint
	Savepoint string // "" for a checkpoint of the log
	Meta      filelog.Metadata
	Info      *PlanInfo // nil if the checkpoint was written without one
	InfoBytes []byte
	Plan      microbatch.Planned
	Commit    microbatch.Committed
	Check     microbatch.Checkpointed
}

// StateDir is the folder of the state's files.
func (r *Root) StateDir(fs vfsx.FS) string { return fs.PathJoin(r.Dir, "state") }

// At is where a source stood after the version.
func (r *Root) At(source string) batch.Offset {
	for _, g := range r.Plan.Ranges {
		if g.Source == source {
			return g.End
		}
	}
	return ""
}

// Manifests decodes the manifests, by operator and then by key group.
func (r *Root) Manifests() ([]statestore.Manifest, error) { return decodeManifests(r.Check.Manifests) }

func decodeManifests(list []microbatch.Manifest) ([]statestore.Manifest, error) {
	out := make([]statestore.Manifest, len(list))
	for i, m := range list {
		if err := json.Unmarshal([]byte(m.Ref), &out[i]); err != nil {
			return nil, fmt.Errorf("read the manifest of %s: %w", m.Shard, err)
		}
	}
	slices.SortFunc(out, func(a, b statestore.Manifest) int {
		if c := strings.Compare(a.Shard.Operator, b.Shard.Operator); c != 0 {
			return c
		}
		return a.Shard.FirstGroup - b.Shard.FirstGroup
	})
	return out, nil
}

// Operators lists the operators that have state, by name.
func (r *Root) Operators() ([]string, error) {
	ms, err := r.Manifests()
	var out []string
	for _, m := range ms {
		if len(out) == 0 || out[len(out)-1] != m.Shard.Operator {
			out = append(out, m.Shard.Operator)
		}
	}
	return out, err
}

// Of returns the manifests of one operator, by key group.
func (r *Root) Of(operator string) ([]statestore.Manifest, error) {
	ms, err := r.Manifests()
	if err != nil {
		return nil, err
	}
	var names []string
	out := slices.DeleteFunc(ms, func(m statestore.Manifest) bool {
		if !slices.Contains(names, m.Shard.Operator) {
			names = append(names, m.Shard.Operator)
		}
		return m.Shard.Operator != operator
	})
	if len(out) == 0 {
		return nil, batch.UserErrorf("checkpoint %s has no state of an operator %q%s; it has %s", r.Dir, operator, options.Suggest(operator, names), strings.Join(names, ", "))
	}
	return out, nil
}

// FindTries is how often a read of a running query's checkpoint is begun anew when
// what it reads was deleted meanwhile.
const FindTries = 5

// Find reads a root: a savepoint if there is a name, else the checkpoint of a batch,
// or of the newest one with batch.None. Nothing is locked.
func Find(fs vfsx.FS, dir, savepoint string, id batch.ID) (*Root, error) {
	return FindIn(fs, FileLogs{FS: fs}, dir, savepoint, id)
}

// Logs reads batch logs without opening them.
type Logs interface {
	// Exists reports whether a folder is a checkpoint's.
	Exists(dir string) bool
	// Records returns whose checkpoint it is and all records of its log.
	Records(dir string) (filelog.Metadata, []microbatch.Record, error)
}

// FileLogs are those that lie in the folders of the checkpoints.
type FileLogs struct{ FS vfsx.FS }

var _ Logs = FileLogs{}

// Exists implements Logs.
func (l FileLogs) Exists(dir string) bool { return filelog.Exists(l.FS, dir) }

// Records implements Logs.
func (l FileLogs) Records(dir string) (filelog.Metadata, []microbatch.Record, error) {
	return filelog.Records(l.FS, dir)
}

// FindIn is Find where batch logs may lie elsewhere. A savepoint stands for itself.
func FindIn(fs vfsx.FS, logs Logs, dir, savepoint string, id batch.ID) (*Root, error) {
	r := &Root{Dir: dir, Savepoint: savepoint}
	if savepoint != "" {
		return r, r.saved(fs)
	}
	if !logs.Exists(dir) {
		return nil, batch.UserErrorf("%w in %s", filelog.ErrNotFound, dir)
	}
	meta, recs, err := logs.Records(dir)
	if err != nil {
		return nil, err
	}
	r.Meta = meta
	if r.InfoBytes, err = ReadPlanBytes(fs, dir); err != nil {
		return nil, err
	}
	if r.InfoBytes != nil {
		if r.Info, err = ReadPlan(fs, dir); err != nil {
			return nil, err
		}
	}
	return r, r.logged(fs, recs, id)
}

func (r *Root) saved(fs vfsx.FS) error {
	sp, err := filelog.ReadSavepoint(fs, r.Dir, r.Savepoint)
	if err != nil {
		return err
	}
	r.Meta = filelog.Metadata{Query: sp.Query, Name: sp.Of, Created: sp.Created, KeyGroups: batch.KeyGroups, Engine: sp.Engine}
	if len(sp.Plan) > 0 {
		info, err := DecodePlan(sp.Plan)
		if err != nil {
			return fmt.Errorf("savepoint %q of %s: %w", r.Savepoint, r.Dir, err)
		}
		r.Info, r.InfoBytes = &info, sp.Plan
	}
	r.Plan, r.Commit, r.Check, err = sp.Root()
	return err
}

// logged finds a checkpoint in the records of a log.
func (r *Root) logged(fs vfsx.FS, recs []microbatch.Record, id batch.ID) error {
	h := ReadHistory(recs)
	for _, c := range slices.Backward(h.Checks) {
		if id != batch.None {
			if c.Batch != id {
				continue
			}
			there, err := Kept(fs, r.Dir, c)
			if err != nil {
				return err
			}
			if !there {
				break
			}
		}
		p, ok1 := h.Plans[c.Batch]
		k, ok2 := h.Commits[c.Batch]
		if !ok1 || !ok2 {
			return fmt.Errorf("the batch log of %s has a checkpoint of batch %d and not the batch", r.Dir, c.Batch)
		}
		r.Plan, r.Commit, r.Check = p, k, c
		return nil
	}
	if len(h.Checks) == 0 {
		return batch.UserErrorf("%s holds no checkpoint of the state yet", r.Dir)
	}
	var have []string
	for _, c := range slices.Backward(h.Checks) {
		there, err := Kept(fs, r.Dir, c)
		if err != nil {
			return err
		}
		if there {
			have = append(have, fmt.Sprint(c.Batch))
		}
	}
	return batch.UserErrorf("%s holds no checkpoint of batch %d; it has those of batches %s (checkpoint.retain and checkpoint.retain-age say how many are kept, a savepoint keeps its own)",
		r.Dir, id, strings.Join(have, ", "))
}

// History is what the records of a log say, for who reads them without a machine.
type History struct {
	Term      batch.Term
	Hash      string // of the plan; "" of a log without a start
	Planned   batch.ID
	Committed batch.ID
	Adopted   batch.ID // the newest whose state another plan or query has made; None if there is none
	Plans     map[batch.ID]microbatch.Planned
	Commits   map[batch.ID]microbatch.Committed
	Checks    []microbatch.Checkpointed // usable ones, oldest first
}

// ReadHistory goes through the records of a log, oldest first.
func ReadHistory(recs []microbatch.Record) *History {
	h := &History{Planned: batch.None, Committed: batch.None, Adopted: batch.None, Plans: map[batch.ID]microbatch.Planned{}, Commits: map[batch.ID]microbatch.Committed{}}
	for _, rec := range recs {
		h.Term = max(h.Term, rec.LogTerm())
		switch rec := rec.(type) {
		case microbatch.Started:
			h.Hash = rec.Identity.PlanHash
		case microbatch.Planned:
			h.Planned, h.Plans[rec.Batch] = rec.Batch, rec
		case microbatch.Committed:
			h.Committed, h.Commits[rec.Batch] = rec.Batch, rec
		case microbatch.Checkpointed:
			h.Checks = slices.DeleteFunc(h.Checks, func(c microbatch.Checkpointed) bool { return c.Batch > rec.Prev })
			h.Checks, h.Hash = append(h.Checks, rec), rec.Identity.PlanHash
		case microbatch.Adopted:
			h.Planned, h.Committed, h.Adopted, h.Hash = rec.Plan.Batch, rec.Plan.Batch, rec.Plan.Batch, rec.Identity.PlanHash
			h.Plans = map[batch.ID]microbatch.Planned{rec.Plan.Batch: rec.Plan}
			h.Commits = map[batch.ID]microbatch.Committed{rec.Plan.Batch: rec.Commit}
			h.Checks = []microbatch.Checkpointed{rec.Checkpointed()}
		}
	}
	return h
}

// Gone reports whether a read failed because files of a running query's checkpoint
// were deleted meanwhile: it is worth another try with a newer one.
func Gone(err error) bool { return errors.Is(err, errGone) }

var errGone = errors.New("a file of the checkpoint was deleted while it was read")
