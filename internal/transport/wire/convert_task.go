package wire

import (
	"github.com/sluice-stream/sluice/batch"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

func taskIDOut(t batch.TaskID) *pb.TaskID {
	return &pb.TaskID{Query: string(t.Query), Batch: int64(t.Batch), Stage: int64(t.Stage), Partition: int64(t.Partition), Attempt: int64(t.Attempt)}
}

func taskIDIn(t *pb.TaskID) batch.TaskID {
	return batch.TaskID{
		Query: batch.QueryID(t.GetQuery()), Batch: batch.ID(t.GetBatch()), Stage: int(t.GetStage()),
		Partition: int(t.GetPartition()), Attempt: int(t.GetAttempt()),
	}
}

func shardOut(s batch.Shard) *pb.Shard {
	return &pb.Shard{Operator: s.Operator, Partition: int64(s.Partition), FirstGroup: int64(s.FirstGroup), EndGroup: int64(s.EndGroup)}
}

func shardIn(s *pb.Shard) batch.Shard {
	return batch.Shard{Operator: s.GetOperator(), Partition: int(s.GetPartition()), FirstGroup: int(s.GetFirstGroup()), EndGroup: int(s.GetEndGroup())}
}

func digestOut(d batch.Digest) *pb.Digest { return &pb.Digest{Hi: d.Hi, Lo: d.Lo} }

func digestIn(d *pb.Digest) batch.Digest { return batch.Digest{Hi: d.GetHi(), Lo: d.GetLo()} }

func specOut(s *batch.TaskSpec) *pb.TaskSpec {
	return &pb.TaskSpec{
		Task: taskIDOut(s.Task), Term: uint64(s.Term), Plan: s.Plan, Parts: int64(s.Parts), Splits: each(s.Splits, splitOut),
		Base: int64(s.Base), Watermark: int64(s.Watermark), Close: int64(s.Close), Now: int64(s.Now), Inputs: each(s.Inputs, inputOut),
		Reveal: s.Reveal, SinkPrefix: []byte(s.SinkPrefix), Quarantine: s.Quarantine, Reads: s.Reads,
	}
}

func specIn(s *pb.TaskSpec) batch.TaskSpec {
	return batch.TaskSpec{
		Task: taskIDIn(s.GetTask()), Term: batch.Term(s.GetTerm()), Plan: s.GetPlan(), Parts: int(s.GetParts()), Splits: each(s.GetSplits(), splitIn),
		Base: batch.ID(s.GetBase()), Watermark: batch.EventTime(s.GetWatermark()), Close: batch.EventTime(s.GetClose()), Now: batch.EventTime(s.GetNow()),
		Inputs: each(s.GetInputs(), inputIn), Reveal: s.GetReveal(), SinkPrefix: string(s.GetSinkPrefix()), Quarantine: s.GetQuarantine(), Reads: s.GetReads(),
	}
}

func splitOut(s batch.Split) *pb.Split {
	return &pb.Split{Source: s.Source, Index: int64(s.Index), Payload: s.Payload, Rows: s.Rows, Bytes: s.Bytes, Partition: []byte(s.Partition)}
}

func splitIn(s *pb.Split) batch.Split {
	return batch.Split{Source: s.GetSource(), Index: int(s.GetIndex()), Payload: s.GetPayload(), Rows: s.GetRows(), Bytes: s.GetBytes(), Partition: string(s.GetPartition())}
}

func inputOut(i batch.Input) *pb.Input {
	return &pb.Input{Stage: int64(i.Stage), Tasks: int64(i.Tasks), Batch: int64(i.Batch), Version: []byte(i.Version)}
}

func inputIn(i *pb.Input) batch.Input {
	return batch.Input{Stage: int(i.GetStage()), Tasks: int(i.GetTasks()), Batch: batch.ID(i.GetBatch()), Version: string(i.GetVersion())}
}

func resultOut(r batch.TaskResult) *pb.TaskResult {
	return &pb.TaskResult{
		Task: taskIDOut(r.Task), Term: uint64(r.Term), Counters: countersOut(r.Counters), Times: each(r.Times, timeOut),
		NextDue: int64(r.NextDue), NextWake: int64(r.NextWake), Shards: each(r.Shards, shardDigestOut), Prepared: each(r.Prepared, preparedOut),
		OutRows: r.OutRows, Millis: r.Millis, OpCounts: opsOut(r.Ops), State: each(r.State, stateOut), LateBy: each(r.LateBy, lateOut),
		Spread:  &pb.TimeSpread{Count: r.Spread.Count, Min: int64(r.Spread.Min), Sum: r.Spread.Sum},
		Arrived: each(r.Arrived, arrivalOut), Observed: each(r.Observed, observedOut), Holds: r.Holds, Hold: int64(r.Hold), Adopted: r.Adopted,
	}
}

func resultIn(r *pb.TaskResult) batch.TaskResult {
	s := r.GetSpread()
	return batch.TaskResult{
		Task: taskIDIn(r.GetTask()), Term: batch.Term(r.GetTerm()), Counters: countersIn(r.GetCounters()), Times: each(r.GetTimes(), timeIn),
		NextDue: batch.EventTime(r.GetNextDue()), NextWake: batch.EventTime(r.GetNextWake()), Shards: each(r.GetShards(), shardDigestIn),
		Prepared: each(r.GetPrepared(), preparedIn), OutRows: r.GetOutRows(), Millis: r.GetMillis(), Ops: opsIn(r.GetOpCounts(), r.GetOps()),
		State: each(r.GetState(), stateIn), LateBy: each(r.GetLateBy(), lateIn),
		Spread:  batch.TimeSpread{Count: s.GetCount(), Min: batch.EventTime(s.GetMin()), Sum: s.GetSum()},
		Arrived: each(r.GetArrived(), arrivalIn), Observed: each(r.GetObserved(), observedIn), Holds: r.GetHolds(), Hold: batch.EventTime(r.GetHold()), Adopted: r.GetAdopted(),
	}
}

func countersOut(c batch.Counters) *pb.Counters {
	return &pb.Counters{
		RowsIn: c.RowsIn, BytesIn: c.BytesIn, RowsOut: c.RowsOut, Late: c.Late, Quarantined: c.Quarantined, Filtered: c.Filtered, Used: c.Used,
		LateEarly: c.LateEarly, BadEarly: c.BadEarly, StateRows: c.StateRows, StateBytes: c.StateBytes,
	}
}

func countersIn(c *pb.Counters) batch.Counters {
	return batch.Counters{
		RowsIn: c.GetRowsIn(), BytesIn: c.GetBytesIn(), RowsOut: c.GetRowsOut(), Late: c.GetLate(), Quarantined: c.GetQuarantined(),
		Filtered: c.GetFiltered(), Used: c.GetUsed(), LateEarly: c.GetLateEarly(), BadEarly: c.GetBadEarly(),
		StateRows: c.GetStateRows(), StateBytes: c.GetStateBytes(),
	}
}

func timeOut(t batch.SourceTime) *pb.SourceTime {
	return &pb.SourceTime{Source: t.Source, Partition: []byte(t.Partition), Max: int64(t.Max)}
}

func timeIn(t *pb.SourceTime) batch.SourceTime {
	return batch.SourceTime{Source: t.GetSource(), Partition: string(t.GetPartition()), Max: batch.EventTime(t.GetMax())}
}

func shardDigestOut(s batch.ShardDigest) *pb.ShardDigest {
	return &pb.ShardDigest{Shard: shardOut(s.Shard), Digest: digestOut(s.Digest)}
}

func shardDigestIn(s *pb.ShardDigest) batch.ShardDigest {
	return batch.ShardDigest{Shard: shardIn(s.GetShard()), Digest: digestIn(s.GetDigest())}
}

func preparedOut(p batch.Prepared) *pb.Prepared {
	return &pb.Prepared{Sink: p.Sink, Partition: int64(p.Partition), Payload: p.Payload, Rows: p.Rows, Digest: digestOut(p.Digest)}
}

func preparedIn(p *pb.Prepared) batch.Prepared {
	return batch.Prepared{Sink: p.GetSink(), Partition: int(p.GetPartition()), Payload: p.GetPayload(), Rows: p.GetRows(), Digest: digestIn(p.GetDigest())}
}
