package sluice

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Savepoint is a checkpoint that stays until it is dropped. A query may be started
// from it: CREATE STREAMING QUERY .. FROM CHECKPOINT 'dir' SAVEPOINT 'name'.
type Savepoint struct {
	Name       string    `json:"name"`
	Checkpoint string    `json:"checkpoint"` // the folder in which it lies
	Query      string    `json:"query"`      // the query's name
	Batch      int64     `json:"batch"`      // whose state it is
	Created    time.Time `json:"created"`
}

// Save makes a savepoint of the newest committed batch while the query runs: its
// checkpoint is written at once, beside the batches.
func (q *Query) Save(ctx context.Context, name string) (Savepoint, error) {
	if err := filelog.CheckSavepointName(name); err != nil {
		return Savepoint{}, err
	}
	if !q.running() {
		if q.log.Term() == 0 {
			return SaveCheckpoint(q.dir, name)
		}
		r, err := state.FindIn(vfsx.Default, q.s.logs, q.dir, "", batch.None)
		if err != nil {
			return Savepoint{}, err
		}
		return writeSavepoint(q.dir, name, r.Meta, driver.Root{Plan: r.Plan, Commit: r.Commit, Check: r.Check})
	}
	var out Savepoint
	err := q.drv.Checkpoint(ctx, func(r driver.Root) error {
		var err error
		out, err = writeSavepoint(q.dir, name, q.log.Metadata(), r)
		return err
	})
	if errors.Is(err, driver.ErrNoBatch) {
		err = batch.UserErrorf("query %s has committed no batch yet, so there is nothing to save", q.Name())
	}
	return out, err
}

func writeSavepoint(dir, name string, m filelog.Metadata, r driver.Root) (Savepoint, error) {
	sp := filelog.NewSavepoint(name, m, r.Plan, r.Commit, r.Check)
	sp.Created, sp.Engine = time.Now().UTC().Truncate(time.Microsecond), Version
	var err error
	if sp.Plan, err = state.ReadPlanBytes(vfsx.Default, dir); err != nil {
		return Savepoint{}, fmt.Errorf("make savepoint %q: %w", name, err)
	}
	if err := filelog.WriteSavepoint(vfsx.Default, dir, sp); err != nil {
		return Savepoint{}, err
	}
	return savepointOf(dir, sp), nil
}

func savepointOf(dir string, sp filelog.Savepoint) Savepoint {
	return Savepoint{Name: sp.Name, Checkpoint: dir, Query: sp.Of, Batch: int64(sp.Batch), Created: sp.Created}
}

// SaveCheckpoint makes a savepoint of the newest checkpoint in a folder that no
// query has open. Batches since, which the log still holds, are not in it.
func SaveCheckpoint(dir, name string) (_ Savepoint, err error) {
	if err := filelog.CheckSavepointName(name); err != nil {
		return Savepoint{}, err
	}
	if isBucket(dir) {
		var sp Savepoint
		err := withCheckpoint(dir, func(folder string) (err error) {
			sp, err = SaveCheckpoint(folder, name)
			sp.Checkpoint = dir
			return err
		})
		return sp, err
	}
	if err := unowned(dir); err != nil {
		return Savepoint{}, err
	}
	if !filelog.Exists(vfsx.Default, dir) {
		return Savepoint{}, batch.UserErrorf("%w in %s", filelog.ErrNotFound, dir)
	}
	log, err := filelog.Open(filelog.Options{Dir: dir})
	if err != nil {
		return Savepoint{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	r, err := state.Find(vfsx.Default, dir, "", batch.None)
	if err != nil {
		return Savepoint{}, err
	}
	return writeSavepoint(dir, name, r.Meta, driver.Root{Plan: r.Plan, Commit: r.Commit, Check: r.Check})
}

// Savepoints lists the savepoints of a checkpoint, by name.
func Savepoints(dir string) ([]Savepoint, error) {
	if isBucket(dir) {
		var out []Savepoint
		err := withCheckpoint(dir, func(folder string) (err error) {
			out, err = Savepoints(folder)
			for i := range out {
				out[i].Checkpoint = dir
			}
			return err
		})
		return out, err
	}
	list, err := filelog.Savepoints(vfsx.Default, dir)
	out := make([]Savepoint, len(list))
	for i, sp := range list {
		out[i] = savepointOf(dir, sp)
	}
	return out, err
}

// DropSavepoint removes a savepoint. A running query deletes the files of its state
// with the next ones that it does not need any more.
func DropSavepoint(dir, name string) error {
	if isBucket(dir) {
		return withCheckpoint(dir, func(folder string) error {
			if err := unowned(folder); err != nil {
				return err
			}
			return DropSavepoint(folder, name)
		})
	}
	return filelog.DropSavepoint(vfsx.Default, dir, name)
}

// saveStatement answers SAVE STREAMING QUERY q AS 'name' and DROP SAVEPOINT 'name' FOR q.
func (s *Session) saveStatement(ctx context.Context, st *ast.SaveStreamingQuery) (*Result, error) {
	q, err := s.namedQuery(nameText(st.Name), st.Name.Pos)
	if err != nil {
		return nil, err
	}
	if st.Drop {
		err := DropSavepoint(q.dir, st.Savepoint)
		if errors.Is(err, filelog.ErrNotFound) && st.IfExists {
			return message("there is no savepoint %s of query %s", st.Savepoint, q.Name()), nil
		}
		if err != nil {
			return nil, s.located(err, st.NamePos)
		}
		return message("savepoint %s of query %s dropped", st.Savepoint, q.Name()), nil
	}
	sp, err := q.Save(ctx, st.Savepoint)
	if k, _ := batch.KindOf(err); err != nil && k == batch.User {
		return nil, s.located(err, st.NamePos)
	}
	if err != nil {
		return nil, err
	}
	return message("savepoint %s of query %s holds the state after batch %d", sp.Name, q.Name(), sp.Batch), nil
}

// savepointRows answers SHOW SAVEPOINTS FOR q.
func (s *Session) savepointRows(n *ast.Name) ([][]string, error) {
	q, err := s.namedQuery(nameText(*n), n.Pos)
	if err != nil {
		return nil, err
	}
	list, err := Savepoints(q.dir)
	var rows [][]string
	for _, sp := range list {
		rows = append(rows, []string{sp.Name, fmt.Sprint(sp.Batch), sp.Created.Format(time.RFC3339)})
	}
	return rows, err
}

// alterStreamingQuery changes what can be changed of a query that runs.
func (s *Session) alterStreamingQuery(ctx context.Context, st *ast.AlterStreamingQuery) (*Result, error) {
	q, err := s.namedQuery(nameText(st.Name), st.Name.Pos)
	if err != nil {
		return nil, err
	}
	if st.Inserts != nil && st.Rename == nil {
		return s.alterText(ctx, q, st)
	}
	c := st.Clauses
	only := c
	only.Parallelism, only.ParallelismAt = 0, ast.Pos{}
	if st.Rename != nil || st.Bootstrap || st.Inserts != nil || c.Parallelism == 0 || only.Trigger != nil || only.OutputMode != "" || only.Checkpoint != "" ||
		only.From != nil || only.Late != nil || only.Emit != nil || len(only.Options) > 0 {
		return nil, ast.Errorf(st.Pos, "of a running query its parallelism (SET PARALLELISM n) and its text (AS INSERT ..) can be changed; for anything else use CREATE OR REPLACE STREAMING QUERY")
	}
	if err := q.SetParallelism(ctx, c.Parallelism); err != nil {
		if k, _ := batch.KindOf(err); k == batch.User {
			return nil, s.located(err, c.ParallelismAt)
		}
		return nil, err
	}
	return message("streaming query %s runs with parallelism %d", q.Name(), c.Parallelism), nil
}

// alterText gives a query another text. Its clauses stay, but for those of the statement.
func (s *Session) alterText(ctx context.Context, q *Query, st *ast.AlterStreamingQuery) (*Result, error) {
	if q.def.stmt == nil {
		return nil, ast.Errorf(st.Name.Pos, "streaming query %q was not declared by CREATE STREAMING QUERY", q.Name())
	}
	c, only := st.Clauses, st.Clauses
	only.Parallelism, only.ParallelismAt, only.Trigger = 0, ast.Pos{}, nil
	if only.OutputMode != "" || only.Checkpoint != "" || only.From != nil || only.Late != nil || only.Emit != nil || len(only.Options) > 0 {
		return nil, ast.Errorf(st.Pos, "with the text of a query its trigger and parallelism can be changed; for anything else use CREATE OR REPLACE STREAMING QUERY")
	}
	changed := *q.def.stmt
	changed.OrReplace, changed.IfNotExists, changed.Inserts, changed.Bootstrap = true, false, st.Inserts, st.Bootstrap
	changed.Clauses.From = nil
	if c.Trigger != nil {
		changed.Clauses.Trigger = c.Trigger
	}
	changed.Clauses.Parallelism = q.def.parallelism
	if c.Parallelism != 0 {
		changed.Clauses.Parallelism = c.Parallelism
	}
	return s.createStreamingQuery(ctx, &changed)
}

// SetParallelism gives the query another number of partitions between two batches,
// and returns when batches run again. It holds until the query is started by its
// statement again, which says what it is then (PARALLELISM n, or the setting).
func (q *Query) SetParallelism(ctx context.Context, n int) error {
	if n < 1 || n > batch.KeyGroups {
		return batch.UserErrorf("parallelism %d is not between 1 and %d", n, batch.KeyGroups)
	}
	if q.running() {
		if err := q.drv.Rescale(ctx, n); err != nil {
			return err
		}
	}
	q.def.setParallelism(n) // START STREAMING QUERY goes on with it
	return nil
}

// Parallelism returns the number of partitions of the query's stages.
func (q *Query) Parallelism() int { return q.drv.Parallelism() }

// startFrom is what CREATE STREAMING QUERY says of the start alone.
type startFrom struct {
	from        *ast.FromCheckpoint
	parallelism int // 0: the setting's
	// boot rebuilds the state that a changed query lacks; nil: state.evolution says.
	boot *bootStart
	// finishing ends the query once what was left is finished; nil for a start.
	finishing *finishing
}

func (f *startFrom) setParallelism(n int) { f.parallelism = n }

// checkpointNamed is the folder that a statement means by a text, as in CHECKPOINT.
func (s *Session) checkpointNamed(text string) string {
	return filepath.Clean(s.dir(&queryDef{checkpoint: text}))
}
