package sluice

import (
	"context"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources/state"
)

// queryLog is the batch log of a query, for one of its lives or for all.
type queryLog interface {
	driver.BatchLog
	// Metadata says whose log it is.
	Metadata() filelog.Metadata
	// Term is the life's, where the log hands terms out; 0 where each life takes the one
	// after the newest in the log.
	Term() batch.Term
	// Next begins another life of the query: the log refuses what this one still appends.
	Next(ctx context.Context) (queryLog, error)
}

// queryLogs is where a session's queries keep their batch logs. State, and what sources
// and sinks write down, is in the folder of the checkpoint wherever its log is.
type queryLogs interface {
	state.Logs
	// Open begins a life of the query of a checkpoint's folder, making its log if there
	// is none.
	Open(ctx context.Context, dir string, m filelog.Metadata) (queryLog, error)
}

// fileLogs are logs in the folders of their checkpoints.
type fileLogs struct{ state.FileLogs }

var _ queryLogs = fileLogs{}

func newFileLogs() queryLogs { return fileLogs{state.FileLogs{FS: vfsx.Default}} }

// Open implements queryLogs.
func (fileLogs) Open(_ context.Context, dir string, m filelog.Metadata) (queryLog, error) {
	log, err := filelog.Open(filelog.Options{Dir: dir, Metadata: m})
	if err != nil {
		return nil, err
	}
	return fileLog{log}, nil
}

// fileLog is one that its process has locked: lives follow each other in it.
type fileLog struct{ *filelog.Log }

// Term implements queryLog.
func (fileLog) Term() batch.Term { return 0 }

// Next implements queryLog.
func (l fileLog) Next(context.Context) (queryLog, error) { return l, nil }

// nextLife opens the log for a query's next life, for its driver.
func (q *Query) nextLife(ctx context.Context) (driver.BatchLog, batch.Term, error) {
	next, err := q.log.Next(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("begin another life of query %s: %w", q.def.name, err)
	}
	return next, next.Term(), nil
}
