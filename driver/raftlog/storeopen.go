package raftlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// openStore reads all of the log, checks each byte, and cuts off a torn tail.
func openStore(fs vfsx.FS, dir, disk string, roll int64, fail func(error), watch *watchdog) (s *store, err error) {
	s = &store{fs: fs, dir: dir, disk: disk, roll: roll, fail: fail, watch: watch}
	s.idx.first, s.idx.next, s.idx.values = 1, 1, map[string][]byte{}
	defer func() {
		if err != nil {
			for _, seg := range s.idx.segs {
				err = errors.Join(err, seg.file.Close())
			}
		}
	}()
	numbers, err := listSegments(fs, dir)
	if err != nil {
		return s, err
	}
	newest, err := readNewest(fs, dir)
	if err != nil {
		return s, err
	}
	if len(numbers) == 0 && newest == 0 {
		seg, err := s.begin(1, 1)
		if err != nil {
			return s, explain(err)
		}
		s.write.seq = 1
		s.idx.segs = []*segment{seg}
		return s, nil
	}
	if len(numbers) == 0 || numbers[len(numbers)-1] < newest {
		return s, damagef(fs.PathJoin(dir, segmentFiles.Name(newest)), 0, "the newest segment is missing")
	}
	return s, s.load(numbers)
}

// load replays the segments. What they hold is the state of the first one's first
// group and all that the groups after it say.
func (s *store) load(numbers []uint64) error {
	r := replay{s: s}
	for i, n := range numbers {
		path := s.fs.PathJoin(s.dir, segmentFiles.Name(n))
		if i > 0 && n != numbers[i-1]+1 {
			return damagef(path, 0, "segment %d follows segment %d", n, numbers[i-1])
		}
		data, err := vfsx.ReadFile(s.fs, path, segmentLimit)
		if err != nil {
			return explain(err)
		}
		disk, number, at, err := parseSegmentHeader(data)
		switch {
		case err != nil:
			return damagef(path, 0, "%s", err)
		case disk != s.disk:
			return refuse(fmt.Errorf("%s: %w: it is of disk %s, this one is %s", path, ErrForeignDisk, disk, s.disk))
		case number != n:
			return damagef(path, 0, "it is segment %d under another's name", number)
		}
		r.seg = &segment{path: path, number: n}
		r.groups = 0
		end, err := scanGroups(path, data, at, &s.write.seq, r.group)
		switch {
		case err != nil:
			return err
		case r.groups == 0:
			return damagef(path, end, "its first group is missing")
		case end < int64(len(data)) && i+1 < len(numbers):
			return damagef(path, end, "bytes that are no group, with a segment after them")
		case end < int64(len(data)):
			// Whoever appends after a torn group needs it gone: what it leaves behind
			// the new one could look like damage.
			if err := vfsx.ReplaceFile(s.fs, path, func(w io.Writer) error { _, err := w.Write(slices.Clone(data[:end])); return err }); err != nil {
				return explain(fmt.Errorf("cut the torn end of %s: %w", path, err))
			}
		}
		r.seg.size = end
		if r.seg.file, err = s.fs.OpenReadWrite(path, vfsx.Unspecified); err != nil {
			return explain(fmt.Errorf("open %s: %w", path, err))
		}
		s.idx.segs = append(s.idx.segs, r.seg)
	}
	return r.finish(s.fs.PathJoin(s.dir, segmentFiles.Name(numbers[0])))
}

// replay follows the groups. Entries of segments that are gone are missing in front:
// from lo on they are there.
type replay struct {
	s      *store
	seg    *segment
	groups int
	lo     uint64
	places []place // of lo, lo+1, ..
}

func (r *replay) group(at int64, body []byte) error {
	i := &r.s.idx
	d := &decoder{b: body[1:]}
	r.groups++
	if (r.groups == 1) != (body[0] == groupState) {
		return fmt.Errorf("a group of kind %q", body[0])
	}
	switch body[0] {
	case groupState:
		return r.state(d)
	case groupEntries:
		return visitEntries(body[1:], func(off int, b []byte) error {
			var l raft.Log
			if err := decodeEntry(b, &l); err != nil {
				return err
			}
			if i.first == i.next {
				i.first, i.next, r.lo, r.places = l.Index, l.Index, l.Index, nil
			}
			if l.Index != i.next {
				return fmt.Errorf("entry %d follows entry %d", l.Index, i.next-1)
			}
			r.places = append(r.places, place{r.seg, at + 1 + int64(off), len(b)})
			i.next++
			return nil
		})
	case groupCut:
		from := d.u()
		if d.err == nil && (from < i.first || from >= i.next) {
			return fmt.Errorf("entries from %d on are void, and there are %d to %d", from, i.first, i.next-1)
		}
		r.places = r.places[:max(from, r.lo)-r.lo]
		r.lo, i.next = min(r.lo, from), from
	case groupHead:
		if first := d.u(); first > i.first {
			i.first, i.next = first, max(first, i.next)
			if first > r.lo {
				r.places = r.places[min(first-r.lo, uint64(len(r.places))):]
				r.lo = first
			}
		}
	case groupValue:
		k := d.s()
		i.values[k] = slices.Clone(d.p())
	default:
		return fmt.Errorf("a group of kind %q", body[0])
	}
	return d.end()
}

// state begins with what a segment begins with; a later one has to say what the
// groups before it gave.
func (r *replay) state(d *decoder) error {
	var e encoder
	r.s.stateLocked(&e)
	if len(r.s.idx.segs) > 0 {
		if string(e.b) != string(d.b) {
			return errors.New("it does not go on where the segment before it ends")
		}
		return nil
	}
	i := &r.s.idx
	i.first, i.next = d.u(), d.u()
	r.lo = i.next
	for range d.count() {
		k := d.s()
		i.values[k] = slices.Clone(d.p())
	}
	if err := d.end(); err != nil || i.first > i.next || i.first == 0 {
		return fmt.Errorf("entries %d to %d: %w", i.first, i.next, errors.Join(err, errShort))
	}
	return nil
}

func (r *replay) finish(oldest string) error {
	i := &r.s.idx
	if i.first < r.lo && i.first != i.next {
		return damagef(oldest, 0, "entries %d to %d were in segments that are missing", i.first, r.lo-1)
	}
	if i.first < i.next {
		i.places = slices.Clone(r.places[i.first-r.lo:])
	}
	for _, p := range i.places {
		p.seg.live++
	}
	return nil
}

func listSegments(fs vfsx.FS, dir string) ([]uint64, error) {
	numbers, err := segmentFiles.List(fs, dir)
	return numbers, explain(err)
}

// newestFile holds the number of the newest segment that was begun, as text with a
// checksum.
const newestFile = "NEWEST"

func writeNewest(fs vfsx.FS, dir string, n uint64) error {
	text := strconv.FormatUint(n, 10)
	return vfsx.WriteFileAtomic(fs, fs.PathJoin(dir, newestFile),
		fmt.Appendf(nil, "%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli)))
}

// readNewest returns 0 if there is none.
func readNewest(fs vfsx.FS, dir string) (uint64, error) {
	path := fs.PathJoin(dir, newestFile)
	data, err := vfsx.ReadFile(fs, path, 1<<10)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, explain(err)
	}
	text, sum, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), " ")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || sum != fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli)) {
		return 0, damagef(path, 0, "it is no number with its checksum")
	}
	return n, nil
}
