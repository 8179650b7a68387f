package filelog

import (
	"errors"
	"fmt"
	"os"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

// Report is what a checkpoint holds, as far as it can be read.
type Report struct {
	Dir         string           `json:"dir"`
	Metadata    *Metadata        `json:"metadata,omitempty"` // nil if it is missing or damaged
	Owner       string           `json:"owner,omitempty"`    // who had it open last and did not close it
	Segments    []SegmentInfo    `json:"segments"`
	Terms       []TermInfo       `json:"terms"`
	Batches     []BatchInfo      `json:"batches"` // as far back as the log reaches
	Checkpoints []CheckpointInfo `json:"checkpoints"`
	Sinks       []SinkInfo       `json:"sinks"`
	Adopted     []AdoptedInfo    `json:"adopted,omitempty"`
	// TornBytes is the rest of an append that a crash cut short. The next start
	// cuts it off; it is no damage.
	TornBytes int64    `json:"torn_bytes"`
	Damage    []Damage `json:"damage"`
}

// SegmentInfo describes a file of the log.
type SegmentInfo struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	Groups int    `json:"groups"` // appends
}

// TermInfo is a start of the query.
type TermInfo struct {
	Term     batch.Term      `json:"term"`
	At       batch.EventTime `json:"at"`
	After    batch.ID        `json:"after"` // newest batch planned before
	PlanHash string          `json:"plan_hash"`
}

// BatchInfo is what the log says of a batch.
type BatchInfo struct {
	Batch     batch.ID        `json:"batch"`
	Term      batch.Term      `json:"term"`
	Ranges    []batch.Range   `json:"ranges"`
	Watermark batch.EventTime `json:"watermark"`
	Now       batch.EventTime `json:"now"`
	NoData    bool            `json:"no_data,omitempty"`
	Committed bool            `json:"committed"`
	// The rest is known of a committed batch.
	Counters      batch.Counters   `json:"counters"`
	RowsBySink    map[string]int64 `json:"rows_by_sink,omitempty"`
	NextWatermark batch.EventTime  `json:"next_watermark"`
}

// AdoptedInfo says that the query went on from a state that was made elsewhere.
type AdoptedInfo struct {
	Batch batch.ID   `json:"batch"` // of the state
	Term  batch.Term `json:"term"`
	From  string     `json:"from"`
}

// CheckpointInfo is a checkpoint of the state.
type CheckpointInfo struct {
	Batch     batch.ID              `json:"batch"`
	Term      batch.Term            `json:"term"`
	Bytes     int64                 `json:"bytes"`
	Manifests []microbatch.Manifest `json:"manifests"`
}

// SinkInfo is how far a sink has been brought.
type SinkInfo struct {
	Sink  string   `json:"sink"`
	Batch batch.ID `json:"batch"` // newest committed batch with a part for it
	Rows  int64    `json:"rows"`  // of the batches that the log still holds
}

// Damage is something that a start would refuse.
type Damage struct {
	File string `json:"file"`
	What string `json:"what"`
}

// Exists reports whether a folder looks like a checkpoint.
func Exists(fs vfsx.FS, dir string) bool {
	for _, name := range []string{metadataFile, logDir, ClaimFile} {
		if _, err := fs.Stat(fs.PathJoin(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// inspectTries is how often a report is begun anew because a running query
// removed a segment while it was read.
const inspectTries = 5

// Inspect reads a checkpoint without its lock and changes nothing. Damage is
// reported, not returned; the error is for a folder that is no checkpoint.
func Inspect(fs vfsx.FS, dir string) (*Report, error) {
	if !Exists(fs, dir) {
		return nil, refuse(fmt.Errorf("%w in %s", ErrNotFound, dir))
	}
	if err := claimed(fs, dir); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		r, err := inspect(fs, dir)
		if err == nil || try == inspectTries || !errors.Is(err, os.ErrNotExist) {
			return r, err
		}
	}
}

func inspect(fs vfsx.FS, dir string) (*Report, error) {
	r := &Report{Dir: dir}
	var err error
	if r.Metadata, err = readMetadata(fs, dir); err != nil {
		r.damage(fs.PathJoin(dir, metadataFile), err)
	} else if r.Metadata == nil {
		r.damage(fs.PathJoin(dir, metadataFile), ErrNoMetadata)
	}
	if b, err := vfsx.ReadFile(fs, fs.PathJoin(dir, ownerFile), 1<<10); err == nil {
		r.Owner = string(b)
	}
	logs := fs.PathJoin(dir, logDir)
	numbers, err := listSegments(fs, logs)
	if err != nil {
		return nil, err
	}
	var segs []*segment
	b := builder{report: r, sinks: map[string]int{}}
	whole := true
	for _, n := range numbers {
		path := fs.PathJoin(logs, segmentFiles.Name(n))
		data, err := vfsx.ReadFile(fs, path, segmentLimit)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			r.damage(path, err)
			whole = false
			continue
		}
		s, err := scanSegment(path, data, func(_ group, rec microbatch.Record) error { b.add(rec); return nil })
		if err != nil {
			r.damage(path, err)
			whole = false
			r.Segments = append(r.Segments, SegmentInfo{File: segmentFiles.Name(n), Bytes: int64(len(data))})
			continue
		}
		segs = append(segs, s)
		r.Segments = append(r.Segments, SegmentInfo{File: segmentFiles.Name(n), Bytes: s.size, Groups: s.groups})
	}
	switch {
	case len(numbers) == 0:
		r.damage(logs, ErrNoLog)
	case whole:
		r.join(segs)
	}
	return r, nil
}

// join reports what is wrong between segments.
func (r *Report) join(segs []*segment) {
	query := segs[0].query
	if r.Metadata != nil {
		query = r.Metadata.Query
	}
	if err := joinUp(segs, query); err != nil {
		r.damage(segs[0].file, err)
		return
	}
	for _, s := range segs {
		r.TornBytes += s.size - s.end
	}
}

func (r *Report) damage(file string, err error) {
	r.Damage = append(r.Damage, Damage{File: file, What: err.Error()})
}

// builder gathers records into a report.
type builder struct {
	report *Report
	sinks  map[string]int // position in report.Sinks
}

func (b *builder) add(rec microbatch.Record) {
	r := b.report
	switch rec := rec.(type) {
	case microbatch.Started:
		r.Terms = append(r.Terms, TermInfo{rec.Term, rec.At, rec.Last, rec.Identity.PlanHash})
	case microbatch.Planned:
		r.Batches = append(r.Batches, BatchInfo{Batch: rec.Batch, Term: rec.Term, Ranges: rec.Ranges, Watermark: rec.Watermark, Now: rec.Now, NoData: rec.NoData})
	case microbatch.Committed:
		b.committed(rec)
	case microbatch.Checkpointed:
		c := CheckpointInfo{Batch: rec.Batch, Term: rec.Term, Manifests: rec.Manifests}
		for _, m := range rec.Manifests {
			c.Bytes += m.Bytes
		}
		r.Checkpoints = append(r.Checkpoints, c)
	case microbatch.Adopted:
		b.adopted(rec)
	}
}

// adopted replaces what the log said before: the query goes on from a state that
// was made elsewhere.
func (b *builder) adopted(rec microbatch.Adopted) {
	r := b.report
	r.Terms = append(r.Terms, TermInfo{rec.Term, rec.Plan.Now, rec.Plan.Batch, rec.Identity.PlanHash})
	r.Adopted = append(r.Adopted, AdoptedInfo{rec.Plan.Batch, rec.Term, rec.From})
	r.Checkpoints = nil
	if n := len(r.Batches); n == 0 || r.Batches[n-1].Batch != rec.Plan.Batch {
		b.add(rec.Plan)
		b.committed(rec.Commit)
	}
	b.add(rec.Checkpointed())
}

func (b *builder) committed(rec microbatch.Committed) {
	r := b.report
	n := len(r.Batches) - 1
	for n >= 0 && r.Batches[n].Batch != rec.Batch {
		n--
	}
	if n < 0 { // its plan was truncated
		r.Batches = append(r.Batches, BatchInfo{Batch: rec.Batch, Term: rec.Term, Watermark: batch.NoTime, Now: batch.NoTime})
		n = len(r.Batches) - 1
	}
	info := &r.Batches[n]
	info.Committed, info.Counters, info.NextWatermark = true, rec.Counters, rec.NextWatermark
	info.RowsBySink = map[string]int64{}
	for _, p := range rec.Prepared {
		info.RowsBySink[p.Sink] += p.Rows
		i, ok := b.sinks[p.Sink]
		if !ok {
			i = len(r.Sinks)
			b.sinks[p.Sink] = i
			r.Sinks = append(r.Sinks, SinkInfo{Sink: p.Sink})
		}
		r.Sinks[i].Batch = rec.Batch
		r.Sinks[i].Rows += p.Rows
	}
}
