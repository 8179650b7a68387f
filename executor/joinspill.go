package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/executor/gather"
)

// A build side that memory has no room for is cut by hashes of its keys into
// parts on disk, and so is the probe side; then part joins part. A part that is
// still too large is cut again. Where that is no use, because its rows have one
// key or the join has none, the part is taken in pieces, and all its probe rows
// pass every piece.
const (
	graceFan       = 16 // parts of one cut
	graceLevels    = 4  // how often rows are cut at most
	graceRows      = 1 << 16
	graceBytes     = 4 << 20 // what is gathered before it is cut and written
	buildBytesMax  = 1 << 30 // of a build side, without a budget
	buildShare     = 8       // of a budget, for a build side in memory
	pressureShare  = 16      // of that, below which memory being short is not its fault
	graceUnhelpful = 9       // tenths of its rows in one part: cutting was no use
)

// graceJoin holds the parts of both sides that are still to be joined.
type graceJoin struct {
	parts []gracePart // the next one is at the end
	now   gracePart
	build *partReader // of now, while it is taken in pieces
	bytes int64       // written so far
}

// gracePart is what has equal bits of hashes, on both sides.
type gracePart struct {
	build, probe spilled
	level        int
	stuck        bool // cutting it again would be no use
}

// spilled is a list of batches in a file that several lists share.
type spilled struct {
	file   *sharedFile
	frames []exchange.Frame
	rows   int
	bytes  int64 // in memory
}

// sharedFile goes with the last list that lies in it.
type sharedFile struct {
	*exchange.File
	lists int
}

func (s *spilled) drop() {
	if s.file == nil {
		return
	}
	if s.file.lists--; s.file.lists == 0 {
		_ = s.file.Remove() // the task's folder is removed anyhow
	}
	*s = spilled{}
}

func (g *graceJoin) close() {
	if g == nil {
		return
	}
	for i := range g.parts {
		g.parts[i].drop()
	}
	g.now.drop()
	g.parts = nil
}

func (p *gracePart) drop() {
	p.build.drop()
	p.probe.drop()
}

// tooLarge reports whether a build side of so many bytes and rows should spill.
func (j *hashJoin) tooLarge(held int64, rows int) bool {
	tc := j.tc
	if tc.Spill == "" || !immutable(j.n.LeftKeys...) || !immutable(j.n.RightKeys...) {
		return false
	}
	held += int64(rows) * j.build.bytesPerRow()
	limit := int64(buildBytesMax)
	if tc.Budget > 0 {
		limit = min(limit, tc.Budget/buildShare)
	}
	return held > limit || held > limit/pressureShare && tc.Pressure != nil && tc.Pressure()
}

// collect reads batches until stop says that it is enough; more reports that it did.
func collect(ctx context.Context, in batchSource, stop func(held int64, rows int) bool) (recs []arrow.RecordBatch, more bool, err error) {
	held, rows := int64(0), 0
	for {
		rec, err := in.Next(ctx)
		if err == io.EOF {
			return recs, false, nil
		}
		if err != nil {
			return recs, false, err
		}
		recs = append(recs, rec)
		held += gather.BatchBytes(rec)
		rows += int(rec.NumRows())
		if stop(held, rows) {
			return recs, true, nil
		}
	}
}

// startSpill cuts both sides. recs is what is there of the build side.
func (j *hashJoin) startSpill(ctx context.Context, recs []arrow.RecordBatch) error {
	j.spill = &graceJoin{}
	j.ended = true // of a part that is none: the first one comes next
	build := &prefixed{recs: recs, rest: j.build.in}
	parts, err := j.cut(ctx, build, j.probe, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", j, err)
	}
	j.spill.parts = parts
	return nil
}

// prefixed hands out batches, which it takes over, and then those of rest.
type prefixed struct {
	recs []arrow.RecordBatch
	rest batchSource
}

func (p *prefixed) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if len(p.recs) > 0 {
		rec := p.recs[0]
		p.recs = p.recs[1:]
		return rec, nil
	}
	return p.rest.Next(ctx)
}

// cut writes two sides in parts.
func (j *hashJoin) cut(ctx context.Context, build, probe batchSource, level int) ([]gracePart, error) {
	b, err := j.cutSide(ctx, build, j.build.ev, level)
	if err != nil {
		return nil, err
	}
	p, err := j.cutSide(ctx, probe, j.ev, level)
	if err != nil {
		for i := range b {
			b[i].drop()
		}
		return nil, err
	}
	total := 0
	for i := range b {
		total += b[i].rows
	}
	parts := make([]gracePart, len(b))
	for i := range parts {
		last := len(parts) - 1 - i // parts are taken from the end
		parts[last] = gracePart{build: b[i], probe: p[i], level: level + 1, stuck: b[i].rows > total*graceUnhelpful/10}
	}
	return parts, nil
}

func (j *hashJoin) cutSide(ctx context.Context, in batchSource, ev *computed, level int) (lists []spilled, err error) {
	f, err := exchange.CreateFile(j.tc.Spill, "join-*")
	if err != nil {
		return nil, err
	}
	lists = make([]spilled, graceFan)
	file := &sharedFile{File: f, lists: graceFan}
	for i := range lists {
		lists[i].file = file
	}
	defer func() {
		j.spill.bytes += f.Size()
		if err != nil {
			for i := range lists {
				lists[i].drop()
			}
		}
	}()
	enough := func(held int64, rows int) bool { return held >= graceBytes || rows >= graceRows }
	for more := true; more; {
		var recs []arrow.RecordBatch
		recs, more, err = collect(ctx, in, enough)
		if err == nil && len(recs) > 0 {
			err = j.cutBatches(recs, ev, level, lists)
		}
		release(recs)
		if err != nil {
			return nil, err
		}
	}
	return lists, nil
}

// cutBatches writes the rows of some batches, sorted by part.
func (j *hashJoin) cutBatches(recs []arrow.RecordBatch, ev *computed, level int, lists []spilled) error {
	rec, err := oneBatch(j.tc, recs)
	if err != nil {
		return err
	}
	defer rec.Release()
	n := int(rec.NumRows())
	cols, err := ev.run(rec)
	if err != nil {
		return err
	}
	words := make([]uint64, n*j.keys.stride)
	j.keys.words(cols, n, words)
	gather.Release(cols)
	order, starts := j.order(words, n, level)
	sorted, err := gather.Batch(j.tc.Alloc, rec, order)
	if err != nil {
		return err
	}
	defer sorted.Release()
	for p := range lists {
		if starts[p] == starts[p+1] {
			continue
		}
		part := sorted.NewSlice(int64(starts[p]), int64(starts[p+1]))
		frame, err := lists[p].file.Append(part, j.tc.Alloc)
		lists[p].rows += int(part.NumRows())
		lists[p].bytes += gather.BatchBytes(part)
		part.Release()
		if err != nil {
			return err
		}
		lists[p].frames = append(lists[p].frames, frame)
	}
	return nil
}

// order sorts rows by part. Rows without a key go anywhere: they meet nobody.
func (j *hashJoin) order(words []uint64, n, level int) (order []int32, starts [graceFan + 1]int32) {
	part := make([]uint8, n)
	shift := 20 + 4*uint(level) // neither the bits of buckets nor those of tags
	for i := range part {
		h := uint64(0)
		switch j.keys.stride {
		case 1:
			h = mixWord(words[i])
		case 2:
			h = mixPair(words[2*i], words[2*i+1])
		}
		part[i] = uint8(h >> shift & (graceFan - 1))
		starts[part[i]+1]++
	}
	for p := range graceFan {
		starts[p+1] += starts[p]
	}
	next := starts
	order = make([]int32, n)
	for i, p := range part {
		order[next[p]] = int32(i)
		next[p]++
	}
	return order, starts
}

func oneBatch(tc *TaskContext, recs []arrow.RecordBatch) (arrow.RecordBatch, error) {
	if len(recs) == 1 {
		recs[0].Retain()
		return recs[0], nil
	}
	n := 0
	for _, rec := range recs {
		n += int(rec.NumRows())
	}
	cols := make([]arrow.Array, 0, recs[0].NumCols())
	for c := range int(recs[0].NumCols()) {
		parts := make([]arrow.Array, len(recs))
		for i, rec := range recs {
			parts[i] = rec.Column(c)
		}
		arr, err := joined(tc, parts[0].DataType(), parts)
		if err != nil {
			gather.Release(cols)
			return nil, err
		}
		cols = append(cols, arr)
	}
	return newBatch(recs[0].Schema(), cols, n), nil
}

// partReader reads a list of spilled batches.
type partReader struct {
	tc   *TaskContext
	list *spilled
	at   int
}

func (r *partReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.at == len(r.list.frames) {
		return nil, io.EOF
	}
	r.at++
	return r.list.file.Read(r.list.frames[r.at-1], r.tc.Alloc)
}

// nextPart makes the next part of a spilled join ready, or its next piece.
func (j *hashJoin) nextPart(ctx context.Context) (bool, error) {
	g := j.spill
	if g == nil {
		return false, nil
	}
	if j.build.table != nil {
		j.build.table.release()
		j.build.table, j.build.matched = nil, nil
	}
	if j.pass != nil && !j.pass.final {
		return true, j.piece(ctx)
	}
	j.pass, g.build = nil, nil
	for len(g.parts) > 0 {
		g.now.drop()
		last := len(g.parts) - 1
		g.now, g.parts = g.parts[last], g.parts[:last]
		p := &g.now
		if p.build.rows == 0 && !j.pr.keepAlone && !j.pr.anti || p.probe.rows == 0 && !j.br.keepAlone && !j.br.anti {
			continue
		}
		if !j.tooLarge(p.build.bytes, p.build.rows) {
			return true, j.piece(ctx)
		}
		if p.level >= graceLevels || p.stuck || j.keys.stride == 0 {
			j.pass = newPasses(p.probe.rows)
			return true, j.piece(ctx)
		}
		parts, err := j.cut(ctx, &partReader{tc: j.tc, list: &p.build}, &partReader{tc: j.tc, list: &p.probe}, p.level)
		if err != nil {
			return false, fmt.Errorf("%s: %w", j, err)
		}
		g.parts = append(g.parts, parts...)
	}
	g.now.drop()
	return false, nil
}

// piece makes the table of the rows of a part that fit into memory.
func (j *hashJoin) piece(ctx context.Context) error {
	g := j.spill
	if g.build == nil {
		g.build = &partReader{tc: j.tc, list: &g.now.build}
	}
	stop := func(int64, int) bool { return false }
	if j.pass != nil {
		stop = j.tooLarge
	}
	recs, _, err := collect(ctx, g.build, stop)
	defer func() { release(recs) }()
	if err != nil {
		return err
	}
	t, err := j.build.tableMaker.table(j.tc, recs, eachPart)
	if err != nil {
		return err
	}
	j.build.use(t)
	j.bind()
	if j.pass != nil {
		j.pass.start(g.build.at == len(g.now.build.frames))
	}
	j.source = &partReader{tc: j.tc, list: &g.now.probe}
	j.ended, j.rest = false, 0
	return nil
}

// passes is what is known of the probe rows of a part of which the build side is
// taken in pieces. A nil one is a build side in one piece.
type passes struct {
	final bool   // the piece at hand is the last one
	seen  []bool // probe rows that have found a partner
	at    int    // the first row of the batch at hand
}

func newPasses(rows int) *passes { return &passes{seen: make([]bool, rows)} }

func (p *passes) start(final bool) { p.at, p.final = 0, final }

func (p *passes) last() bool { return p == nil || p.final }

// found returns which of the next n probe rows have a partner already.
func (p *passes) found(buf []bool, n int) []bool {
	buf = growBools(buf, n)
	if p != nil {
		copy(buf, p.seen[p.at:p.at+n])
	}
	return buf
}

// keep notes what found says now.
func (p *passes) keep(found []bool) {
	if p == nil {
		return
	}
	p.at += copy(p.seen[p.at:], found)
}
