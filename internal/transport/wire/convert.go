package wire

import (
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// errFrame is wrapped where what came is no message of this protocol.
var errFrame = errors.New("the message is damaged or of another protocol")

// each converts a list; none stays nil.
func each[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}

// envelope makes a message ready to travel.
func envelope(from, to transport.NodeID, m transport.Message) (*pb.Envelope, error) {
	e := &pb.Envelope{From: string(from), To: string(to)}
	switch m := m.(type) {
	case transport.Deploy:
		d, err := deployOut(m)
		if err != nil {
			return nil, err
		}
		e.Message = &pb.Envelope_Deploy{Deploy: d}
	case transport.Deployed:
		e.Message = &pb.Envelope_Deployed{Deployed: &pb.Deployed{Key: m.Key, Err: errorOut(m.Err)}}
	case transport.Undeploy:
		e.Message = &pb.Envelope_Undeploy{Undeploy: &pb.Undeploy{Key: m.Key, Keep: m.Keep}}
	case transport.Survey:
		e.Message = &pb.Envelope_Survey{Survey: &pb.Survey{Key: m.Key, Query: string(m.Query)}}
	case transport.Surveyed:
		e.Message = &pb.Envelope_Surveyed{Surveyed: &pb.Surveyed{Key: m.Key, Term: uint64(m.Term), Kept: each(m.Kept, keptOut)}}
	case transport.Run:
		e.Message = &pb.Envelope_Run{Run: runOut(m)}
	case transport.Cancel:
		e.Message = &pb.Envelope_Cancel{Cancel: &pb.Cancel{Task: taskIDOut(m.Task)}}
	case transport.Finished:
		e.Message = &pb.Envelope_Finished{Finished: &pb.Finished{Result: resultOut(m.Result)}}
	case transport.Failed:
		e.Message = &pb.Envelope_Failed{Failed: &pb.Failed{Task: taskIDOut(m.Task), Term: uint64(m.Term), Err: errorOut(m.Err)}}
	case transport.Checkpoint:
		e.Message = &pb.Envelope_Checkpoint{Checkpoint: &pb.Checkpoint{Key: m.Key, Batch: int64(m.Batch), Shards: each(m.Shards, shardOut)}}
	case transport.Checkpointed:
		e.Message = &pb.Envelope_Checkpointed{Checkpointed: &pb.Checkpointed{
			Key: m.Key, Batch: int64(m.Batch), Manifests: m.Manifests, Holding: holdingOut(m.Holding), Err: errorOut(m.Err),
		}}
	case transport.Restore:
		e.Message = &pb.Envelope_Restore{Restore: &pb.Restore{
			Key: m.Key, Batch: int64(m.Batch), Shards: each(m.Shards, shardOut), Manifests: m.Manifests,
			Kept: each(m.Kept, keptOut), Before: uint64(m.Before), Term: uint64(m.Term),
		}}
	case transport.Restored:
		e.Message = &pb.Envelope_Restored{Restored: &pb.Restored{Key: m.Key, Batch: int64(m.Batch), Holding: holdingOut(m.Holding), Err: errorOut(m.Err)}}
	case transport.Prune:
		e.Message = &pb.Envelope_Prune{Prune: &pb.Prune{Key: m.Key, Oldest: int64(m.Oldest), Live: m.Live, Collects: m.Live != nil, Committed: int64(m.Committed)}}
	case transport.Follow:
		e.Message = &pb.Envelope_Follow{Follow: &pb.Follow{Key: m.Key, Batch: int64(m.Batch), Manifests: m.Manifests}}
	case transport.Followed:
		e.Message = &pb.Envelope_Followed{Followed: &pb.Followed{Key: m.Key, Batch: int64(m.Batch)}}
	case transport.Needless:
		e.Message = &pb.Envelope_Needless{Needless: &pb.Needless{Key: m.Key, Files: m.Files}}
	case transport.Reset, transport.Lost:
		return nil, fmt.Errorf("send %T: a node is told that by its own transport alone", m)
	}
	return e, nil
}

// message is the inverse of envelope.
func message(e *pb.Envelope) (transport.Message, error) {
	switch m := e.Message.(type) {
	case *pb.Envelope_Deploy:
		return deployIn(m.Deploy)
	case *pb.Envelope_Deployed:
		return transport.Deployed{Key: m.Deployed.GetKey(), Err: errorIn(m.Deployed.GetErr())}, nil
	case *pb.Envelope_Undeploy:
		return transport.Undeploy{Key: m.Undeploy.GetKey(), Keep: m.Undeploy.GetKeep()}, nil
	case *pb.Envelope_Survey:
		return transport.Survey{Key: m.Survey.GetKey(), Query: batch.QueryID(m.Survey.GetQuery())}, nil
	case *pb.Envelope_Surveyed:
		s := m.Surveyed
		return transport.Surveyed{Key: s.GetKey(), Term: batch.Term(s.GetTerm()), Kept: each(s.GetKept(), keptIn)}, nil
	case *pb.Envelope_Run:
		return runIn(m.Run)
	case *pb.Envelope_Cancel:
		return transport.Cancel{Task: taskIDIn(m.Cancel.GetTask())}, nil
	case *pb.Envelope_Finished:
		return transport.Finished{Result: resultIn(m.Finished.GetResult())}, nil
	case *pb.Envelope_Failed:
		f := m.Failed
		return transport.Failed{Task: taskIDIn(f.GetTask()), Term: batch.Term(f.GetTerm()), Err: errorIn(f.GetErr())}, nil
	case *pb.Envelope_Checkpoint:
		c := m.Checkpoint
		return transport.Checkpoint{Key: c.GetKey(), Batch: batch.ID(c.GetBatch()), Shards: each(c.GetShards(), shardIn)}, nil
	case *pb.Envelope_Checkpointed:
		c := m.Checkpointed
		return transport.Checkpointed{
			Key: c.GetKey(), Batch: batch.ID(c.GetBatch()), Manifests: c.GetManifests(), Holding: holdingIn(c.GetHolding()), Err: errorIn(c.GetErr()),
		}, nil
	case *pb.Envelope_Restore:
		r := m.Restore
		return transport.Restore{
			Key: r.GetKey(), Batch: batch.ID(r.GetBatch()), Shards: each(r.GetShards(), shardIn), Manifests: r.GetManifests(),
			Kept: each(r.GetKept(), keptIn), Before: batch.Term(r.GetBefore()), Term: batch.Term(r.GetTerm()),
		}, nil
	case *pb.Envelope_Restored:
		r := m.Restored
		return transport.Restored{Key: r.GetKey(), Batch: batch.ID(r.GetBatch()), Holding: holdingIn(r.GetHolding()), Err: errorIn(r.GetErr())}, nil
	case *pb.Envelope_Follow:
		f := m.Follow
		return transport.Follow{Key: f.GetKey(), Batch: batch.ID(f.GetBatch()), Manifests: f.GetManifests()}, nil
	case *pb.Envelope_Followed:
		return transport.Followed{Key: m.Followed.GetKey(), Batch: batch.ID(m.Followed.GetBatch())}, nil
	case *pb.Envelope_Prune:
		p := transport.Prune{Key: m.Prune.GetKey(), Oldest: batch.ID(m.Prune.GetOldest()), Live: m.Prune.GetLive(), Committed: batch.ID(m.Prune.GetCommitted())}
		if m.Prune.GetCollects() && p.Live == nil {
			p.Live = [][]byte{}
		}
		return p, nil
	case *pb.Envelope_Needless:
		return transport.Needless{Key: m.Needless.GetKey(), Files: m.Needless.GetFiles()}, nil
	default:
		return nil, fmt.Errorf("a message of type %T: %w", e.Message, errFrame)
	}
}

func deployOut(d transport.Deploy) (*pb.Deploy, error) {
	out := &pb.Deploy{Key: d.Key, Query: string(d.Query), Parts: int64(d.Parts), StateDir: []byte(d.StateDir), Elsewhere: each(d.Elsewhere, shardOut),
		Weight: int64(d.Quota.Weight), Memory: d.Quota.Memory, Follows: each(d.Follows, shardOut), Measure: d.Measure}
	for _, n := range d.Homes.Workers {
		out.Workers = append(out.Workers, string(n))
	}
	for _, p := range d.Homes.Places {
		out.Places = append(out.Places, uint32(p))
	}
	switch p := d.Plan.(type) {
	case nil:
	case transport.PlanText:
		out.Plan = &pb.PlanText{Key: p.Key, Query: p.Query, Definitions: p.Definitions, Settings: p.Settings}
	default:
		return nil, fmt.Errorf("deploy %s: a plan of type %T does not travel, its text does", d.Key, d.Plan)
	}
	return out, nil
}

func deployIn(d *pb.Deploy) (transport.Deploy, error) {
	out := transport.Deploy{
		Key: d.GetKey(), Query: batch.QueryID(d.GetQuery()), Parts: int(d.GetParts()), StateDir: string(d.GetStateDir()), Elsewhere: each(d.GetElsewhere(), shardIn), Follows: each(d.GetFollows(), shardIn),
		Quota: transport.Quota{Weight: int(d.GetWeight()), Memory: d.GetMemory()}, Measure: d.GetMeasure(),
	}
	if p := d.GetPlan(); p != nil {
		out.Plan = transport.PlanText{Key: p.GetKey(), Query: p.GetQuery(), Definitions: p.GetDefinitions(), Settings: p.GetSettings()}
	}
	for _, n := range d.GetWorkers() {
		out.Homes.Workers = append(out.Homes.Workers, transport.NodeID(n))
	}
	for i, p := range d.GetPlaces() {
		if int(p) >= len(d.GetWorkers()) {
			return transport.Deploy{}, fmt.Errorf("deploy %s: task %d at worker %d of %d: %w", out.Key, i, p, len(d.GetWorkers()), errFrame)
		}
		out.Homes.Places = append(out.Homes.Places, int(p))
	}
	return out, nil
}

// runOut writes the name of each node once, however many tasks ran there.
func runOut(r transport.Run) *pb.Run {
	out := &pb.Run{Spec: specOut(&r.Spec), Placed: r.Where != nil}
	at := map[transport.NodeID]uint32{}
	for _, w := range r.Where {
		p := &pb.Places{Set: w != nil, At: make([]uint32, len(w))}
		for i, n := range w {
			x, ok := at[n]
			if !ok {
				x = uint32(len(out.Nodes))
				at[n] = x
				out.Nodes = append(out.Nodes, string(n))
			}
			p.At[i] = x
		}
		out.Where = append(out.Where, p)
	}
	return out
}

func runIn(r *pb.Run) (transport.Run, error) {
	out := transport.Run{Spec: specIn(r.GetSpec())}
	if r.GetPlaced() {
		out.Where = make([][]transport.NodeID, len(r.GetWhere()))
	}
	for i, p := range r.GetWhere() {
		if out.Where == nil || !p.GetSet() {
			continue
		}
		w := make([]transport.NodeID, len(p.GetAt()))
		for k, x := range p.GetAt() {
			if int(x) >= len(r.GetNodes()) {
				return transport.Run{}, fmt.Errorf("task %s: a place at node %d of %d: %w", out.Spec.Task, x, len(r.GetNodes()), errFrame)
			}
			w[k] = transport.NodeID(r.GetNodes()[x])
		}
		out.Where[i] = w
	}
	return out, nil
}

func holdingOut(h transport.Holding) *pb.Holding {
	f := h.Files
	return &pb.Holding{Shards: h.Shards, Rows: h.Rows, Bytes: h.Bytes, RowsLoaded: h.RowsLoaded, Files: &pb.FileUse{
		Local: f.Local, LocalBytes: f.LocalBytes, Remote: f.Remote, RemoteBytes: f.RemoteBytes,
		Fetched: f.Fetched, Ranges: f.Ranges, Damaged: f.Damaged, Evicted: f.Evicted,
	}}
}

func holdingIn(h *pb.Holding) transport.Holding {
	f := h.GetFiles()
	return transport.Holding{Shards: h.GetShards(), Rows: h.GetRows(), Bytes: h.GetBytes(), RowsLoaded: h.GetRowsLoaded(), Files: batch.FileUse{
		Local: f.GetLocal(), LocalBytes: f.GetLocalBytes(), Remote: f.GetRemote(), RemoteBytes: f.GetRemoteBytes(),
		Fetched: f.GetFetched(), Ranges: f.GetRanges(), Damaged: f.GetDamaged(), Evicted: f.GetEvicted(),
	}}
}
