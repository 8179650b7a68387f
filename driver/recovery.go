package driver

import (
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

// Recovery tells how a query came by its state when it was started, or given
// another parallelism, and where the files of its state have come from since.
type Recovery struct {
	CheckpointBatch int64   `json:"checkpointBatch"` // that was restored, or could have been; -1 is the empty state
	StateBatch      int64   `json:"stateBatch"`      // that was gone on from; later than the checkpoint if workers had kept its state
	KeptShards      int64   `json:"keptShards"`      // that workers had kept
	RestoreMs       float64 `json:"restoreMs"`
	ReplayedBatches int64   `json:"replayedBatches"` // run again without output
	ReplayMs        float64 `json:"replayMs"`
	Shards          int64   `json:"shards"`
	Rows            int64   `json:"rows"`
	Bytes           int64   `json:"bytes"`           // of keys and values
	RowsLoaded      int64   `json:"rowsLoaded"`      // that were read at once; the others are read when they are wanted
	LocalFiles      int64   `json:"localFiles"`      // that were on the machine, and were used
	LocalBytes      int64   `json:"localBytes"`      // of those
	RemoteFiles     int64   `json:"remoteFiles"`     // that were opened in the checkpoint's bucket
	RemoteBytes     int64   `json:"remoteBytes"`     // of those
	BytesFetched    int64   `json:"bytesFetched"`    // of files that have been copied from there
	BytesReadRemote int64   `json:"bytesReadRemote"` // that have been read there piece by piece
	DamagedFiles    int64   `json:"damagedFiles"`    // of the machine, that were found damaged and are read from the bucket instead
	EvictedFiles    int64   `json:"evictedFiles"`    // of the machine, that went because of checkpoint.cache-bytes
}

// files takes in where files have come from.
func (r *Recovery) files(u batch.FileUse) {
	r.LocalFiles, r.LocalBytes, r.RemoteFiles, r.RemoteBytes = u.Local, u.LocalBytes, u.Remote, u.RemoteBytes
	r.BytesFetched, r.BytesReadRemote, r.DamagedFiles, r.EvictedFiles = u.Fetched, u.Ranges, u.Damaged, u.Evicted
}

// recovering follows a recovery. It belongs to the loop's goroutine but for shown.
type recovering struct {
	is       Recovery
	restored time.Time // zero: not yet in this life
	replayed batch.ID  // newest that was run again
	over     bool
	shown    atomic.Pointer[Recovery] // of the life, once it is over; nil if nothing had to be recovered
}

// begin forgets the life before.
func (r *recovering) begin() {
	r.is, r.restored, r.replayed, r.over = Recovery{CheckpointBatch: int64(batch.None), StateBatch: int64(batch.None)}, time.Time{}, batch.None, false
	r.shown.Store(nil)
}

// noteRestored is told what the workers hold.
func (q *Query) noteRestored(checkpoint, id batch.ID, kept int64, took time.Duration, h transport.Holding) {
	r := &q.recovery
	r.restored = q.opt.Clock.Now()
	r.is = Recovery{CheckpointBatch: int64(checkpoint), StateBatch: int64(id), KeptShards: kept, RestoreMs: ms(took), Shards: h.Shards, Rows: h.Rows, Bytes: h.Bytes, RowsLoaded: h.RowsLoaded}
	r.is.files(h.Files)
	if id != batch.None {
		q.listen.send(Restored{Batch: id, Took: took, Recovery: r.is})
	}
}

// noteReplay counts the batches that are run again.
func (q *Query) noteReplay(r microbatch.Run) {
	if r.Mode != microbatch.Live && r.Plan.Batch != q.recovery.replayed {
		q.recovery.replayed = r.Plan.Batch
		q.recovery.is.ReplayedBatches++
	}
}

// noteFiles is told where files have come from since.
func (q *Query) noteFiles(u batch.FileUse) {
	r := &q.recovery
	if r.is.files(u); r.over && r.shown.Load() != nil {
		is := r.is
		r.shown.Store(&is)
	}
}

// notePhase sees the end of a recovery.
func (q *Query) notePhase(p microbatch.Phase) {
	r := &q.recovery
	if r.over || r.restored.IsZero() || p == microbatch.Reading || p == microbatch.Recovering || p == microbatch.Ended {
		return
	}
	r.over = true
	if r.is.StateBatch == int64(batch.None) && r.is.ReplayedBatches == 0 {
		return
	}
	r.is.ReplayMs = ms(q.opt.Clock.Now().Sub(r.restored))
	is := r.is
	r.shown.Store(&is)
	q.listen.send(Recovered{Recovery: is})
}

// Recovery tells how the query came by its state when it was last started; not ok
// if it had none, or is not that far.
func (q *Query) Recovery() (r Recovery, ok bool) {
	if p := q.recovery.shown.Load(); p != nil {
		return *p, true
	}
	return Recovery{}, false
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
