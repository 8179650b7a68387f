package wire

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

func refOut(to transport.NodeID, r transport.StreamRef, tasks ...int) *pb.StreamRef {
	out := &pb.StreamRef{
		To: string(to), Key: r.Key, Batch: int64(r.Batch), Stage: int64(r.Stage), Task: int64(r.Task),
		Partition: int64(r.Partition), Follow: r.Follow, Attempt: int64(r.Attempt),
	}
	if len(tasks) > 0 {
		out.Task = -1 // a program that does not know of lists says that there is no such task
		out.Tasks = each(tasks, toInt64)
	}
	switch a := r.Ask.(type) {
	case nil:
	case transport.ReadState:
		out.Ask = &pb.StreamRef_ReadState{ReadState: &pb.ReadState{Shard: shardOut(a.Shard), Version: int64(a.Version), Keys: a.Keys, Some: a.Keys != nil, Ends: a.Ends}}
	case transport.Look:
		out.Ask = &pb.StreamRef_Look{Look: &pb.Look{
			Source: a.Source, Batch: int64(a.Batch), On: each(a.On, toInt64), Columns: each(a.Columns, toInt64), Some: a.Columns != nil, Keys: a.Keys,
		}}
	case transport.Changes:
		out.Ask = &pb.StreamRef_Changes{Changes: &pb.Changes{Shard: shardOut(a.Shard), Since: int64(a.Since), To: int64(a.To)}}
	case transport.Settle:
		out.Ask = &pb.StreamRef_Settle{Settle: &pb.Settle{Source: a.Source, Batch: int64(a.Batch)}}
	}
	return out
}

func refIn(r *pb.StreamRef) (to transport.NodeID, ref transport.StreamRef) {
	ref = transport.StreamRef{
		Key: r.GetKey(), Batch: batch.ID(r.GetBatch()), Stage: int(r.GetStage()), Task: int(r.GetTask()),
		Partition: int(r.GetPartition()), Follow: r.GetFollow(), Attempt: int(r.GetAttempt()),
	}
	switch a := r.GetAsk().(type) {
	case *pb.StreamRef_ReadState:
		q := transport.ReadState{Shard: shardIn(a.ReadState.GetShard()), Version: batch.ID(a.ReadState.GetVersion()), Keys: a.ReadState.GetKeys(), Ends: a.ReadState.GetEnds()}
		if a.ReadState.GetSome() && q.Keys == nil {
			q.Keys = [][]byte{}
		}
		ref.Ask = q
	case *pb.StreamRef_Look:
		l := a.Look
		q := transport.Look{Source: l.GetSource(), Batch: batch.ID(l.GetBatch()), On: each(l.GetOn(), fromInt64), Columns: each(l.GetColumns(), fromInt64), Keys: l.GetKeys()}
		if l.GetSome() && q.Columns == nil {
			q.Columns = []int{}
		}
		ref.Ask = q
	case *pb.StreamRef_Changes:
		ref.Ask = transport.Changes{Shard: shardIn(a.Changes.GetShard()), Since: batch.ID(a.Changes.GetSince()), To: batch.ID(a.Changes.GetTo())}
	case *pb.StreamRef_Settle:
		ref.Ask = transport.Settle{Source: a.Settle.GetSource(), Batch: batch.ID(a.Settle.GetBatch())}
	}
	return transport.NodeID(r.GetTo()), ref
}

func toInt64(i int) int64   { return int64(i) }
func fromInt64(i int64) int { return int(i) }
