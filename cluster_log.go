package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources/state"
)

// driverLogs are batch logs that several drivers keep. The folders of the checkpoints are
// shared, and hold state, and what sources and sinks write down. Only who leads opens a
// log, and a folder is taken for the cluster before its query is run.
type driverLogs struct {
	node  *raftlog.Node
	files queryLogs
	// buckets knows what folders here stand for: all drivers know a bucket by its URL.
	buckets *buckets
}

// in returns the logs for a session.
func (l *driverLogs) in(b *buckets) *driverLogs { return &driverLogs{l.node, l.files, b} }

var _ queryLogs = (*driverLogs)(nil)

// find returns the query whose checkpoint is in a folder.
func (l *driverLogs) find(dir string) (raftlog.Query, bool) {
	known, name := l.node.Known(), l.buckets.shown(dir)
	i := slices.IndexFunc(known, func(q raftlog.Query) bool { return q.Checkpoint == name })
	if i < 0 {
		return raftlog.Query{}, false
	}
	return known[i], true
}

// Exists implements state.Logs.
func (l *driverLogs) Exists(dir string) bool {
	_, ok := l.find(dir)
	return ok || l.files.Exists(dir)
}

// Records implements state.Logs.
func (l *driverLogs) Records(dir string) (filelog.Metadata, []microbatch.Record, error) {
	q, ok := l.find(dir)
	if !ok {
		return l.files.Records(dir)
	}
	recs, err := l.node.Records(q.ID)
	if err == nil && len(recs) == 0 && l.unclaimed(dir) {
		return l.files.Records(dir) // it is taken over when it is opened
	}
	return metadataOf(q), recs, err
}

func (l *driverLogs) unclaimed(dir string) bool {
	meta, err := filelog.ReadMetadata(vfsx.Default, dir)
	claim, cerr := filelog.ReadClaim(vfsx.Default, dir)
	return meta != nil && claim == nil && err == nil && cerr == nil
}

func metadataOf(q raftlog.Query) filelog.Metadata {
	return filelog.Metadata{Query: q.ID, Name: q.Name, Created: q.Created, PlanHash: q.PlanKey, SQL: q.SQL, Sources: q.Sources, Sinks: q.Sinks,
		KeyGroups: q.KeyGroups, Engine: q.Engine}
}

// hold takes what is written down in a bucket for this driver: whatever one that led
// before still writes there is refused. Who holds it alone deletes state. nil for a folder.
func (l *driverLogs) hold(dir string) (io.Closer, error) {
	p := l.buckets.of(dir)
	if p == nil {
		return nil, l.buckets.failure(dir)
	}
	return p.place.Lock(dir)
}

// release gives a bucket back.
func release(held io.Closer) error {
	if held == nil {
		return nil
	}
	return held.Close()
}

// Open implements queryLogs.
func (l *driverLogs) Open(ctx context.Context, dir string, m filelog.Metadata) (queryLog, error) {
	held, err := l.hold(dir)
	if err != nil {
		return nil, err
	}
	log, err := l.open(ctx, dir, m, held)
	if err != nil {
		return nil, errors.Join(err, release(held))
	}
	log.held = held
	return log, nil
}

// open opens a log. Each of its steps may be the last one of a driver: the next one to
// lead goes on from what it finds.
func (l *driverLogs) open(ctx context.Context, dir string, m filelog.Metadata, held io.Closer) (*driverLog, error) {
	status, err := l.node.Status()
	if err != nil {
		return nil, err
	}
	claim, err := filelog.ReadClaim(vfsx.Default, dir)
	if err != nil {
		return nil, err
	}
	q, known := l.find(dir)
	if known && q.Wanted == raftlog.Dropped { // its driver ended before it was forgotten
		if err := l.drop(ctx, q, dir); err != nil {
			return nil, err
		}
		known, claim = false, nil
	}
	switch {
	case claim != nil && claim.Cluster != status.Cluster:
		return nil, batch.UserErrorf("%w: %s is of query %q of cluster %s, and this is cluster %s; give this query a checkpoint of its own",
			filelog.ErrForeign, dir, claim.Name, claim.Cluster, status.Cluster)
	case !known && claim != nil:
		return nil, batch.UserErrorf("%w: %s is of query %q (ID %s), which the drivers have forgotten; remove the folder to start the query anew",
			filelog.ErrNoMetadata, dir, claim.Name, claim.Query)
	case known && !strings.EqualFold(q.Name, m.Name):
		return nil, batch.UserErrorf("%w: %s is of query %q (ID %s), and this is query %q; give this query a checkpoint of its own",
			filelog.ErrForeign, dir, q.Name, q.ID, m.Name)
	case !known:
		if q, err = l.create(ctx, dir, m); err != nil {
			return nil, err
		}
	}
	log, err := l.node.Log(ctx, q.ID)
	if err != nil {
		return nil, err
	}
	if claim == nil {
		if err := l.take(ctx, dir, q, log, status.Cluster, held != nil); err != nil {
			return nil, err
		}
		// What was taken over has been written in this life's term.
		if log, err = l.node.Log(ctx, q.ID); err != nil {
			return nil, err
		}
	}
	if held == nil {
		if err := renewFiles(filelog.SourcesDir(vfsx.Default, dir, "")); err != nil {
			return nil, fmt.Errorf("take over what sources wrote down: %w", err)
		}
	}
	return &driverLog{Log: log, logs: l, meta: metadataOf(q)}, nil
}

// create enters a query into the catalog, under the ID that it has if it ran on one
// driver alone: sinks know what they hold by it.
func (l *driverLogs) create(ctx context.Context, dir string, m filelog.Metadata) (raftlog.Query, error) {
	q := raftlog.Query{Name: m.Name, KeyGroups: m.KeyGroups, Engine: m.Engine, Spec: raftlog.Spec{SQL: m.SQL, Checkpoint: l.buckets.shown(dir), PlanKey: m.PlanHash,
		Sources: m.Sources, Sinks: m.Sinks, Wanted: raftlog.Running}}
	was, err := filelog.ReadMetadata(vfsx.Default, dir)
	if err != nil {
		return q, err
	}
	if was != nil {
		q.ID, q.Created, q.KeyGroups, q.Engine = was.Query, was.Created, was.KeyGroups, was.Engine
	}
	made, err := l.node.Create(ctx, q)
	if errors.Is(err, raftlog.ErrExists) {
		return q, batch.UserErrorf("query %s has its batch log with checkpoint %s; for one with checkpoint %s have the drivers forget it first (sluice drivers forget %s), or give it another name",
			m.Name, made.Checkpoint, l.buckets.shown(dir), m.Name)
	}
	return made, err
}

// take takes a folder for the cluster, with the batches of a log that lies in it.
func (l *driverLogs) take(ctx context.Context, dir string, q raftlog.Query, log *raftlog.Log, cluster string, held bool) error {
	recs, err := l.node.Records(q.ID)
	if err != nil {
		return err
	}
	meta, err := filelog.ReadMetadata(vfsx.Default, dir)
	if err != nil {
		return err
	}
	switch h := state.ReadHistory(recs); {
	case meta != nil && meta.Query != q.ID:
		return batch.UserErrorf("%w: %s is of query %q (ID %s), and this is query %q (ID %s)", filelog.ErrForeign, dir, meta.Name, meta.Query, q.Name, q.ID)
	case meta != nil && h.Planned == batch.None:
		if err := l.takeOver(ctx, dir, q, log, held); err != nil {
			return err
		}
	case meta == nil && h.Committed != batch.None:
		return batch.UserErrorf("query %s has committed batches to %d, and its checkpoint %s is not there: is the folder mounted? To start it anew have the drivers forget it first (sluice drivers forget %s)",
			q.Name, h.Committed, dir, q.Name)
	}
	mine := filelog.Claim{Cluster: cluster, Query: q.ID, Name: q.Name, Since: time.Now().UTC().Truncate(time.Second)}
	got, err := filelog.WriteClaim(vfsx.Default, dir, mine)
	if err == nil && (got.Cluster != mine.Cluster || got.Query != mine.Query) {
		err = batch.UserErrorf("%w: cluster %s has taken %s for query %q", filelog.ErrForeign, got.Cluster, dir, got.Name)
	}
	return err
}

// takeOver goes on from a log of files, which must be that of a query that was stopped.
func (l *driverLogs) takeOver(ctx context.Context, dir string, q raftlog.Query, log *raftlog.Log, held bool) (err error) {
	if !held {
		file, err := filelog.Open(filelog.Options{Dir: dir, Metadata: filelog.Metadata{Name: q.Name}}) // for its lock
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
	}
	_, recs, err := l.files.Records(dir)
	if err != nil {
		return err
	}
	h := state.ReadHistory(recs)
	if h.Planned == batch.None {
		return nil
	}
	r, err := state.FindIn(vfsx.Default, l.files, dir, "", batch.None)
	if err != nil || h.Planned > h.Committed || r.Check.Batch != h.Committed {
		return batch.UserErrorf("query %s ran on one driver, and batch %d is in no checkpoint of its state: start it once more as it was, stop it in good order, and then let several drivers go on with it%s",
			q.Name, h.Planned, because(err))
	}
	rec := microbatch.Adopted{Term: log.Term(), From: "one driver's log of checkpoint " + dir, Identity: r.Check.Identity, Plan: r.Plan, Commit: r.Commit, Manifests: r.Check.Manifests}
	rec.Plan.Term, rec.Commit.Term = log.Term(), log.Term()
	return log.Append(ctx, log.Term(), rec)
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// renewFiles puts a copy in the place of each file below a folder. A driver that led
// before, and wakes up, goes on writing into the one that has no name any more (C17).
func renewFiles(dir string) error {
	fs := vfsx.Default
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist) || strings.HasSuffix(name, vfsx.TempSuffix):
		case err != nil:
			return err
		case info.IsDir():
			err = renewFiles(path)
		default:
			err = filelog.CopyFile(fs, path, path)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Forget removes a query that does not run, with its batch log. Its folder is nobody's then.
func (l *driverLogs) Forget(ctx context.Context, name string) error {
	known := l.node.Known()
	i := slices.IndexFunc(known, func(q raftlog.Query) bool { return strings.EqualFold(q.Name, name) })
	if i < 0 {
		return batch.UserErrorf("the drivers know no query %q", name)
	}
	q := known[i]
	if q.Wanted != raftlog.Dropped {
		q.Wanted = raftlog.Dropped
		var err error
		if q, err = l.node.Alter(ctx, q.ID, q.Revision, q.Spec); err != nil {
			return err
		}
	}
	if !isBucket(q.Checkpoint) {
		return l.drop(ctx, q, q.Checkpoint)
	}
	dir := l.buckets.folder(q.Checkpoint)
	if err := l.buckets.take(ctx, dir); err != nil {
		return err
	}
	held, err := l.hold(dir)
	if err != nil {
		return err
	}
	return errors.Join(l.drop(ctx, q, dir), release(held))
}

// drop forgets a query that is wanted so. Its folder is given back before: one that is
// claimed for a query that nobody knows is nobody's to use. Of what lies in it savepoints
// stay, with the state that they name.
func (l *driverLogs) drop(ctx context.Context, q raftlog.Query, dir string) error {
	fs := vfsx.Default
	names, err := fs.List(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget query %s: %w", q.Name, err)
	}
	for _, name := range names {
		if slices.Contains(stayForgotten, name) {
			continue
		}
		if err := fs.RemoveAll(fs.PathJoin(dir, name)); err != nil {
			return fmt.Errorf("forget query %s: %w", q.Name, err)
		}
	}
	if err := filelog.DropClaim(vfsx.Default, dir); err != nil {
		return err
	}
	return l.node.Forget(ctx, q.ID, q.Revision)
}

// stayForgotten are the parts of a checkpoint that stay when its query is forgotten, until
// the claim goes at last.
var stayForgotten = []string{"state", "savepoints", filelog.ClaimFile}

// driverLog is a life's.
type driverLog struct {
	*raftlog.Log
	logs *driverLogs
	meta filelog.Metadata
	held io.Closer // a bucket; nil for a folder, and for a life that Next has begun
}

// Metadata implements queryLog.
func (l *driverLog) Metadata() filelog.Metadata { return l.meta }

// Next implements queryLog.
func (l *driverLog) Next(ctx context.Context) (queryLog, error) {
	log, err := l.logs.node.Log(ctx, l.meta.Query)
	if err != nil {
		return nil, err
	}
	return &driverLog{Log: log, logs: l.logs, meta: l.meta}, nil
}

// Close implements queryLog.
func (l *driverLog) Close() error { return errors.Join(l.Log.Close(), release(l.held)) }
