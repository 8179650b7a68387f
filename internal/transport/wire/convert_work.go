package wire

import (
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// opsOut makes columns: a task with hundreds of operators is some bytes each.
func opsOut(ops []batch.OpCount) *pb.OpCounts {
	if len(ops) == 0 {
		return nil
	}
	column := func(of func(batch.OpCount) int64) []int64 {
		if !slices.ContainsFunc(ops, func(o batch.OpCount) bool { return of(o) != 0 }) {
			return nil
		}
		return each(ops, of)
	}
	out := &pb.OpCounts{
		Rows:    each(ops, func(o batch.OpCount) int64 { return o.Rows }),
		Batches: column(func(o batch.OpCount) int64 { return o.Batches }),
		Bytes:   column(func(o batch.OpCount) int64 { return o.Bytes }),
		Nanos:   column(func(o batch.OpCount) int64 { return o.Nanos }),
		Memory:  column(func(o batch.OpCount) int64 { return o.Memory }),
		Spilled: column(func(o batch.OpCount) int64 { return o.Spilled }),
	}
	for i, o := range ops {
		for _, n := range o.Notes {
			out.Notes = append(out.Notes, &pb.OpNote{Operator: uint32(i), Name: n.Name, Value: n.Value})
		}
	}
	return out
}

// opsIn takes them, or what a build before has in their place.
func opsIn(c *pb.OpCounts, former []*pb.OpWork) []batch.OpCount {
	if c == nil {
		return each(former, func(o *pb.OpWork) batch.OpCount {
			return batch.OpCount{Rows: o.GetRows(), Bytes: o.GetBytes(), Nanos: o.GetNanos()}
		})
	}
	out := each(c.GetRows(), func(rows int64) batch.OpCount { return batch.OpCount{Rows: rows} })
	column := func(from []int64, to func(*batch.OpCount) *int64) {
		for i := range min(len(from), len(out)) {
			*to(&out[i]) = from[i]
		}
	}
	column(c.GetBatches(), func(o *batch.OpCount) *int64 { return &o.Batches })
	column(c.GetBytes(), func(o *batch.OpCount) *int64 { return &o.Bytes })
	column(c.GetNanos(), func(o *batch.OpCount) *int64 { return &o.Nanos })
	column(c.GetMemory(), func(o *batch.OpCount) *int64 { return &o.Memory })
	column(c.GetSpilled(), func(o *batch.OpCount) *int64 { return &o.Spilled })
	for _, n := range c.GetNotes() {
		if at := n.GetOperator(); uint64(at) < uint64(len(out)) {
			out[at].Notes = append(out[at].Notes, batch.OpNote{Name: n.GetName(), Value: n.GetValue()})
		}
	}
	return out
}

func stateOut(s batch.StateWork) *pb.StateWork {
	return &pb.StateWork{
		Operator: s.Operator, Rows: s.Rows, Bytes: s.Bytes, Updated: s.Updated, Removed: s.Removed,
		CommitNanos: s.CommitNanos, UpdateNanos: s.UpdateNanos, RemoveNanos: s.RemoveNanos, Expired: s.Expired,
		Hot: s.Hot, Cold: s.Cold, Runs: s.Runs, InMemory: s.InMemory, Read: s.Read, Evictions: s.Evictions,
		Windows: s.Windows, Ends: each(s.Ends, func(t batch.EventTime) int64 { return int64(t) }),
	}
}

func stateIn(s *pb.StateWork) batch.StateWork {
	return batch.StateWork{
		Operator: s.GetOperator(), Rows: s.GetRows(), Bytes: s.GetBytes(), Updated: s.GetUpdated(), Removed: s.GetRemoved(),
		CommitNanos: s.GetCommitNanos(), UpdateNanos: s.GetUpdateNanos(), RemoveNanos: s.GetRemoveNanos(), Expired: s.GetExpired(),
		Hot: s.GetHot(), Cold: s.GetCold(), Runs: s.GetRuns(), InMemory: s.GetInMemory(), Read: s.GetRead(), Evictions: s.GetEvictions(),
		Windows: s.GetWindows(), Ends: each(s.GetEnds(), func(t int64) batch.EventTime { return batch.EventTime(t) }),
	}
}

func lateOut(l batch.LateWork) *pb.LateWork { return &pb.LateWork{Operator: l.Operator, Rows: l.Rows} }

func lateIn(l *pb.LateWork) batch.LateWork {
	return batch.LateWork{Operator: l.GetOperator(), Rows: l.GetRows()}
}

func arrivalOut(a batch.Arrival) *pb.Arrival { return &pb.Arrival{At: int64(a.At), Rows: a.Rows} }

func arrivalIn(a *pb.Arrival) batch.Arrival {
	return batch.Arrival{At: batch.EventTime(a.GetAt()), Rows: a.GetRows()}
}

func observedOut(o batch.Observed) *pb.Observed {
	return &pb.Observed{Name: o.Name, At: int64(o.At), Stage: int64(o.Stage), Partition: int64(o.Partition), State: o.State}
}

func observedIn(o *pb.Observed) batch.Observed {
	return batch.Observed{Name: o.GetName(), At: int(o.GetAt()), Stage: int(o.GetStage()), Partition: int(o.GetPartition()), State: o.GetState()}
}

func keptOut(k transport.Kept) *pb.Kept {
	return &pb.Kept{Shard: shardOut(k.Shard), Version: int64(k.Version), DigestHi: k.Digest.Hi, DigestLo: k.Digest.Lo, Copy: k.Copy}
}

func keptIn(k *pb.Kept) transport.Kept {
	return transport.Kept{Shard: shardIn(k.GetShard()), Version: batch.ID(k.GetVersion()), Digest: batch.Digest{Hi: k.GetDigestHi(), Lo: k.GetDigestLo()}, Copy: k.GetCopy()}
}
