package raftlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// An image is the state machine as a stream: what a snapshot holds and what a new
// member is sent. It carries its own checksums, so that it is proved from the state
// it was made of to the state that is made of it.

const (
	imageMagic = "SLRSTAT\x02"
	imageFirst = "SLRSTAT\x01" // knew no pipelines
	frameMax   = commandMax + 1<<20
	framePart  = 256 << 10 // bytes of records that share a frame
)

const (
	frameHead    = 'h'
	frameQuery   = 'q'
	frameRecords = 'r'
	framePipe    = 'p'
	frameEnd     = 'e'
)

// writeImage writes the state. The same state gives the same bytes.
func (s *state) writeImage(w io.Writer) error {
	out := &imageWriter{w: bufio.NewWriterSize(w, 64<<10)}
	out.bytes([]byte(imageMagic))
	out.frame(frameHead, func(e *encoder) {
		e.s(s.cluster)
		e.u(uint64(len(s.queries)))
		e.u(uint64(len(s.drivers)))
		for _, d := range s.members() {
			d.encode(e)
		}
		e.u(uint64(len(s.pipelines)))
	})
	for _, id := range slices.Sorted(maps.Keys(s.queries)) {
		q := s.queries[id]
		out.frame(frameQuery, func(e *encoder) {
			q.query.encode(e)
			e.i(int64(q.planned))
			e.i(int64(q.committed))
			e.u(q.again.Hi)
			e.u(q.again.Lo)
			e.u(uint64(len(q.recs)))
		})
		for recs := q.recs; len(recs) > 0; {
			n, size := 0, 0
			for n < len(recs) && (n == 0 || size+len(recs[n].b) <= framePart) {
				size += len(recs[n].b)
				n++
			}
			out.frame(frameRecords, func(e *encoder) {
				e.u(uint64(n))
				for _, r := range recs[:n] {
					e.p(r.b)
				}
			})
			recs = recs[n:]
		}
	}
	for _, p := range s.scripts() {
		out.frame(framePipe, p.encode)
	}
	frames := out.frames
	out.frame(frameEnd, func(e *encoder) { e.u(frames) })
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return out.err
}

type imageWriter struct {
	w      *bufio.Writer
	e      encoder
	frames uint64
	err    error
}

func (o *imageWriter) bytes(b []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(b)
	}
}

func (o *imageWriter) frame(kind byte, fill func(*encoder)) {
	o.e.b = append(o.e.b[:0], 0, 0, 0, 0, 0, 0, 0, 0, kind)
	fill(&o.e)
	binary.LittleEndian.PutUint32(o.e.b, uint32(len(o.e.b)-8))
	binary.LittleEndian.PutUint32(o.e.b[4:], crc32.Checksum(o.e.b[8:], castagnoli))
	o.bytes(o.e.b)
	o.frames++
}

// readImage makes a state of an image, or says what is wrong with it.
func readImage(r io.Reader) (*state, error) {
	in := &imageReader{r: bufio.NewReaderSize(r, 64<<10)}
	magic := make([]byte, len(imageMagic))
	if _, err := io.ReadFull(in.r, magic); err != nil || string(magic) != imageMagic && string(magic) != imageFirst {
		return nil, errors.New("it is no image of this version of the state machine")
	}
	s := newState()
	d, err := in.frame(frameHead)
	if err != nil {
		return nil, err
	}
	s.cluster = d.s()
	queries, drivers := d.u(), d.u()
	for range min(drivers, uint64(len(d.b))) {
		v := decodeDriver(d)
		s.drivers[v.ID] = v
	}
	pipelines := uint64(0)
	if string(magic) != imageFirst {
		pipelines = d.u()
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	if queries > queriesMax || pipelines > pipelinesMax || uint64(len(s.drivers)) != drivers {
		return nil, fmt.Errorf("head: %d queries, %d pipelines, %d drivers", queries, pipelines, drivers)
	}
	for range queries {
		if err := in.query(s); err != nil {
			return nil, err
		}
	}
	for range pipelines {
		if err := in.pipeline(s); err != nil {
			return nil, err
		}
	}
	frames := in.frames
	if d, err = in.frame(frameEnd); err != nil {
		return nil, err
	}
	if n := d.u(); d.end() != nil || n != frames {
		return nil, fmt.Errorf("it ends after %d frames and says %d", frames, n)
	}
	if _, err := in.r.ReadByte(); err != io.EOF {
		return nil, errors.New("there are bytes after its end")
	}
	return s, nil
}

type imageReader struct {
	r      *bufio.Reader
	frames uint64
}

// frame reads the next frame, which has to be of the given kind.
func (in *imageReader) frame(kind byte) (*decoder, error) {
	var head [8]byte
	if _, err := io.ReadFull(in.r, head[:]); err != nil {
		return nil, fmt.Errorf("frame %d: %w", in.frames, err)
	}
	n := int64(binary.LittleEndian.Uint32(head[:]))
	if n == 0 || n > frameMax {
		return nil, fmt.Errorf("frame %d has %d bytes", in.frames, n)
	}
	body, err := io.ReadAll(io.LimitReader(in.r, n)) // grows with what is really there
	if err != nil || int64(len(body)) < n {
		return nil, fmt.Errorf("frame %d is cut short: %w", in.frames, errors.Join(err, errShort))
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("frame %d: the checksum is wrong", in.frames)
	}
	if body[0] != kind {
		return nil, fmt.Errorf("frame %d is of kind %q, not %q", in.frames, body[0], kind)
	}
	in.frames++
	return &decoder{b: body[1:]}, nil
}

func (in *imageReader) pipeline(s *state) error {
	d, err := in.frame(framePipe)
	if err != nil {
		return err
	}
	p := decodePipeline(d)
	if err := d.end(); err != nil {
		return fmt.Errorf("pipeline %q: %w", p.Name, err)
	}
	if _, ok := s.pipelines[p.Name]; ok {
		return fmt.Errorf("pipeline %q is there twice", p.Name)
	}
	s.pipelines[p.Name] = p
	return nil
}

func (in *imageReader) query(s *state) error {
	d, err := in.frame(frameQuery)
	if err != nil {
		return err
	}
	q := &queryState{query: decodeQuery(d)}
	q.planned, q.committed = batch.ID(d.i()), batch.ID(d.i())
	q.again = xxh3.Uint128{Hi: d.u(), Lo: d.u()}
	left := d.u()
	if err := d.end(); err != nil {
		return fmt.Errorf("query %q: %w", q.query.Name, err)
	}
	for left > 0 {
		d, err := in.frame(frameRecords)
		if err != nil {
			return fmt.Errorf("query %q: %w", q.query.Name, err)
		}
		n := d.count()
		if n == 0 || uint64(n) > left {
			return fmt.Errorf("query %q: %d records, %d are left", q.query.Name, n, left)
		}
		for range n {
			b := d.p()
			r, err := microbatch.DecodeRecord(b)
			if err != nil {
				return fmt.Errorf("query %q: %w", q.query.Name, errors.Join(err, d.err))
			}
			q.recs = append(q.recs, stored{r.ID(), b})
		}
		if err := d.end(); err != nil {
			return fmt.Errorf("query %q: %w", q.query.Name, err)
		}
		left -= uint64(n)
	}
	name := strings.ToLower(q.query.Name)
	if _, ok := s.names[name]; ok || s.queries[q.query.ID] != nil {
		return fmt.Errorf("query %q is there twice", q.query.Name)
	}
	s.queries[q.query.ID], s.names[name] = q, q.query.ID
	return nil
}
