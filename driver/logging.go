package driver

import (
	"context"
	"log/slog"
)

// LogTo returns a listener that writes what an operator acts on: one Info line
// for each micro-batch, and every failure.
func LogTo(log *slog.Logger) Listener { return ListenerFunc(logger{log}.on) }

type logger struct{ log *slog.Logger }

func (l logger) on(o Origin, e Event) {
	switch e.(type) {
	case StatusChanged:
		return
	case BatchStarted, BatchPlanned, BatchCommitted, TaskFinished: // many a batch: cost nothing unless asked for
		if !l.log.Enabled(context.Background(), slog.LevelDebug) {
			return
		}
	}
	log := l.log.With("query", o.Name)
	switch e := e.(type) {
	case QueryStarted:
		log.Info("query started", "id", string(o.Query), "run", o.Run, "trigger", e.Trigger, "records", e.Records, "planned", int64(e.Planned))
	case BatchRevealed:
		p := e.Progress
		log.Info("batch done", "batch", p.BatchID, "rows", p.NumInputRows, "out", p.Sink.NumOutputRows, "late", p.LateRows,
			"ms", p.BatchDuration, "watermark", p.EventTime.Watermark, "state_rows", p.stateRows())
	case BatchFailed:
		log.Log(context.Background(), unlessLast(e.Retry), "batch failed", "batch", int64(e.Batch), "attempt", e.Attempt, "retry", e.Retry, "err", e.Err)
	case TaskFailed:
		log.Log(context.Background(), unlessLast(e.Again), "task failed", "batch", int64(e.Task.Batch), "stage", e.Task.Stage, "partition", e.Task.Partition, "attempt", e.Task.Attempt,
			"worker", string(e.Worker), "again", e.Again, "err", e.Err)
	case RevealFailed:
		log.Warn("output not shown yet", "batch", int64(e.Batch), "attempt", e.Try, "retry", e.Retry, "err", e.Err)
	case Restored:
		r := e.Recovery
		log.Info("state restored", "batch", int64(e.Batch), "ms", e.Took.Milliseconds(), "shards", r.Shards, "kept", r.KeptShards, "rows", r.Rows, "loaded", r.RowsLoaded,
			"local_files", r.LocalFiles, "local_bytes", r.LocalBytes, "remote_files", r.RemoteFiles, "remote_bytes", r.RemoteBytes, "damaged_files", r.DamagedFiles)
	case Recovered:
		r := e.Recovery
		log.Info("query recovered", "checkpoint", r.CheckpointBatch, "state", r.StateBatch, "restore_ms", int64(r.RestoreMs), "replayed", r.ReplayedBatches, "replay_ms", int64(r.ReplayMs))
	case Checkpointed:
		log.Info("state checkpointed", "batch", int64(e.Batch), "bytes", e.Bytes, "ms", e.Took.Milliseconds())
	case CheckpointFailed:
		log.Warn("checkpoint failed", "batch", int64(e.Batch), "err", e.Err)
	case Warning:
		log.Warn("warning", "doing", e.Doing, "err", e.Err)
	case WorkersTaken:
		log.Info("query runs on workers", "workers", e.Workers, "parallelism", e.Parallelism)
	case WorkerRefused:
		log.Warn("worker refuses the query", "worker", string(e.Worker), "err", e.Err)
	case WorkerLost:
		log.Warn("worker lost", "worker", string(e.Worker), "reason", e.Reason, "tasks", len(e.Tasks))
	case QueryEnded:
		if e.Err != nil {
			log.Error("query failed", "err", e.Err)
			return
		}
		log.Info("query ended")
	case BatchStarted:
		log.Debug("batch started", "batch", int64(e.Batch), "attempt", e.Attempt, "mode", e.Mode.String())
	case BatchPlanned:
		log.Debug("batch planned", "batch", int64(e.Plan.Batch), "term", uint64(e.Plan.Term))
	case BatchCommitted:
		log.Debug("batch committed", "batch", int64(e.Batch))
	case TaskFinished:
		log.Debug("task finished", "batch", int64(e.Result.Task.Batch), "stage", e.Result.Task.Stage, "partition", e.Result.Task.Partition,
			"rows", e.Result.Counters.RowsIn, "ms", e.Took.Milliseconds())
	case StatusChanged:
	}
}

// unlessLast is the level of a failure: one that ends what it is part of is told
// again by that, with the same cause.
func unlessLast(again bool) slog.Level {
	if again {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
