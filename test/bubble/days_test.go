//go:build synctests

package bubble

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/internal/seeds"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// profileRate is how many bytes one sample of the memory profile stands for.
const profileRate = 32 << 10

var days = flag.Float64("days", 0.08, "how many virtual days TestDays lasts")

// TestDays lives on for days at a batch a minute, with a fault now and then: the outputs
// stay right, and nothing that the cluster holds grows, in memory or on disks.
func TestDays(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	defer func(was int) { runtime.MemProfileRate = was }(runtime.MemProfileRate)
	runtime.MemProfileRate = profileRate
	for seed := range seeds.Of(t, 1) {
		var m *month
		w := bubbled(t, seed, "", func(w *world) {
			m = newMonth(w, time.Duration(*days*24*float64(time.Hour)))
			m.run()
		})
		if w.report(t); t.Failed() {
			return
		}
		first, last := m.samples[0], m.samples[len(m.samples)-1]
		t.Logf("%d batches in %s of virtual time, %d rows, %d faults; first %s; last %s", w.ledger.committed(), w.lasted.Round(time.Minute), m.written, len(m.samples), first, last)
	}
}

// month is a life of a world that lasts.
type month struct {
	w       *world
	batches int           // to be committed
	period  time.Duration // between two faults
	written int64

	copies, counts *reader
	next           [keys]int64 // the row of each key that comes next
	counted, total [keys]int64
	ends           kadm.ListedOffsets // of the topics, a period ago
	samples        []sample
}

// newMonth takes a world before it begins and has it look at everything less often: what is
// tried is how long it lasts.
func newMonth(w *world, d time.Duration) *month {
	m := &month{w: w, batches: int(d / time.Minute), period: min(6*time.Hour, d/12)}
	q, err := planned(strings.ReplaceAll(script, "'request-timeout'='4s'", "'request-timeout'='1 minute'"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.query, w.workers, w.partitions, w.skewMax = q, w.workers[:2], 2, 0
	w.heartbeat, w.lease, w.beat, w.disk = time.Minute, time.Minute, 10*time.Second, time.Minute
	w.trigger, w.poll, w.checkpoint = time.Minute, 15*time.Second, 10*time.Minute
	w.broker.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		w.broker.KeepControl()
		if f := r.(*kmsg.FetchRequest); f.MaxWaitMillis == 250 { // the source's, which asks anew all the time
			f.MaxWaitMillis = 45_000
		}
		return nil, nil, false
	})
	return m
}

func (m *month) run() {
	w := m.w
	w.raiseAll()
	m.copies, m.counts = w.user.reader("copies", 45*time.Second), w.user.reader("counts", 45*time.Second)
	for due := time.Now().Add(m.period); w.ledger.committed() < m.batches; {
		m.write(1 + w.rng.Int64N(20))
		pause(time.Minute)
		if time.Now().Before(due) {
			continue
		}
		m.fault()
		if !m.settle() {
			break
		}
		due = time.Now().Add(m.period)
	}
	w.user.finish()
	m.windows()
	m.flat()
	m.copies.client.Close()
	m.counts.client.Close()
	w.end()
}

// rowOf is a row of the input: each can be told again from its number.
func rowOf(id int64) row {
	late := time.Duration(uint64(id)*2654435761%1900) * time.Millisecond
	return row{ID: id, K: fmt.Sprintf("k%d", id%keys), V: (id * 7919) % 100, at: firstTime.Add(time.Duration(id)*5*time.Second - late)}
}

func (m *month) write(n int64) {
	var recs []*kgo.Record
	for id := m.written; id < m.written+n; id++ {
		recs = append(recs, m.w.user.record(rowOf(id), int32(id%keys)%2))
	}
	m.written += n
	m.w.user.rows = m.w.user.rows[:0]
	m.w.user.at = firstTime.Add(time.Duration(m.written) * 5 * time.Second)
	m.w.user.produce(recs)
}

// fault breaks something for some minutes.
func (m *month) fault() {
	w := m.w
	f := faults[w.rng.IntN(len(faults))]
	w.note("fault: %s", f.name)
	w.count(f.name)
	mend := f.do(w)
	for range w.rng.IntN(5) {
		pause(time.Minute)
		m.write(3)
	}
	if mend != nil {
		mend()
	}
	w.note("mended: %s", f.name)
	w.raiseAll()
}

// settle waits until all rows have come out and looks at what everything holds.
func (m *month) settle() bool {
	w := m.w
	for begun := time.Now(); !m.read(); {
		if time.Since(begun) > 5*healing {
			w.violated("%s after a fault, of %d rows the next copies are %v, and counted are %v", 5*healing, m.written, m.next, m.counted)
			return false
		}
		w.raiseAll()
		pause(10 * time.Second)
	}
	m.forget()
	pause(3 * time.Minute) // what is older is collected, followers have caught up
	m.samples = append(m.samples, m.sample())
	return len(w.mu.broken) == 0
}

// read takes what has come out and holds it against the input, and reports whether it is all.
func (m *month) read() (all bool) {
	m.copies.poll(looks)
	m.counts.poll(looks)
	for _, rec := range m.copies.recs {
		var c row
		if err := json.Unmarshal(rec.Value, &c); err != nil || c.ID < 0 || c.ID >= m.written {
			m.w.violated("copies: %s: %v", rec.Value, err)
			continue
		}
		if in, next := rowOf(c.ID), &m.next[c.ID%keys]; in.K != c.K || in.V != c.V || c.ID != *next*keys+c.ID%keys {
			m.w.violated("row %d came out as %s, and %d of its key came before", c.ID, rec.Value, *next)
		}
		m.next[c.ID%keys]++
	}
	for _, rec := range m.counts.recs {
		var c count
		k := int64(0)
		err := json.Unmarshal(rec.Value, &c)
		if _, serr := fmt.Sscanf(c.K, "k%d", &k); err != nil || serr != nil || c.N <= m.counted[k] || c.N > m.rowsOf(k) {
			m.w.violated("counts: %s: %v, and counted were %v", rec.Value, err, m.counted)
			continue
		}
		for ; m.counted[k] < c.N; m.counted[k]++ {
			m.total[k] += rowOf(m.counted[k]*keys + k).V
		}
		if c.Total != m.total[k] {
			m.w.violated("counts: %s, and the rows make %d", rec.Value, m.total[k])
		}
	}
	m.copies.recs, m.counts.recs = nil, nil
	for k := range int64(keys) {
		if m.next[k] != m.rowsOf(k) || m.counted[k] != m.rowsOf(k) {
			return false
		}
	}
	return true
}

// rowsOf is how many rows of a key were written.
func (m *month) rowsOf(k int64) int64 { return (m.written - k + keys - 1) / keys }

// forget has the broker forget messages that nobody needs: those of a period ago.
func (m *month) forget() {
	adm := kadm.NewClient(m.w.user.client)
	if m.ends != nil {
		if _, err := adm.DeleteRecords(context.Background(), m.ends.Offsets()); err != nil {
			m.w.violated("delete messages: %v", err)
		}
	}
	ends, err := adm.ListEndOffsets(context.Background(), "in", "copies", "counts")
	if err != nil {
		m.w.violated("ask for offsets: %v", err)
	}
	m.ends = ends
}

// windows waits until all windows are there, and each is right and once.
func (m *month) windows() {
	w := m.w
	at := w.user.at
	w.user.rows = w.user.rows[:0]
	for id := range m.written {
		r := rowOf(id)
		r.at = r.at.Truncate(time.Millisecond)
		w.user.rows = append(w.user.rows, r)
	}
	w.user.at = at
	want := w.expectedWindows()
	var got []string
	for begun := time.Now(); ; pause(time.Minute) {
		if got = w.windows(); len(got) >= len(want) || time.Since(begun) > 5*healing {
			break
		}
	}
	for _, line := range got {
		if !want[line] {
			w.violated("window %s is there twice, or wrong", line)
		}
		delete(want, line)
	}
	if len(want) > 0 {
		w.violated("%d windows are missing", len(want))
	}
}

// sample is what the cluster holds at a quiet moment.
type sample struct {
	heap            int64 // bytes, about
	goroutines      int
	files, ckBytes  int64 // of checkpoints and staged rows
	logs, logsBytes int64 // of the drivers' disks
	out             int64 // bytes of the output's files, which stay
}

func (s sample) String() string {
	return fmt.Sprintf("%d KiB of memory, %d goroutines, %d files with %d KiB of checkpoints, %d files with %d KiB of logs, %d KiB of output",
		s.heap>>10, s.goroutines, s.files, s.ckBytes>>10, s.logs, s.logsBytes>>10, s.out>>10)
}

func (m *month) sample() (s sample) {
	_, s.out = held(m.w.shared, "out")
	s.files, s.ckBytes = held(m.w.shared, "ck")
	for _, d := range m.w.drivers {
		n, b := held(m.w.disks[d], "node")
		s.logs, s.logsBytes = s.logs+n, s.logsBytes+b
	}
	s.heap, s.goroutines = engineHeap(), runtime.NumGoroutine()
	return s
}

// engineHeap is how much memory is in use that is not the broker's, which forgets nothing,
// the disks', whose files are counted, the network's or the checkers'.
func engineHeap() (bytes int64) {
	runtime.GC()
	runtime.GC() // a profile is that of the collection before
	var records []runtime.MemProfileRecord
	for n, ok := runtime.MemProfile(nil, false); !ok; {
		records = make([]runtime.MemProfileRecord, n+64)
		if n, ok = runtime.MemProfile(records, false); ok {
			records = records[:n]
		}
	}
	for _, r := range records {
		if n := r.InUseObjects(); n > 0 && !aside(r.Stack()) {
			size := float64(r.InUseBytes()) / float64(n)
			bytes += int64(float64(r.InUseBytes()) / (1 - math.Exp(-size/profileRate)))
		}
	}
	return bytes
}

func aside(stack []uintptr) bool {
	for frames := runtime.CallersFrames(stack); ; {
		f, more := frames.Next()
		for _, part := range []string{"/pkg/kfake.", "/pebble/v2/vfs.", "/test/bubble.(*fabric)", "/test/bubble.(*ledger)", "/test/bubble.(*end)"} {
			if strings.Contains(f.Function, part) {
				return true
			}
		}
		if !more {
			return false
		}
	}
}

// held adds up the files of a folder.
func held(fs vfsx.FS, dir string) (files, bytes int64) {
	names, err := fs.List(dir)
	if err != nil {
		return 0, 0
	}
	for _, name := range names {
		p := path.Join(dir, name)
		if info, err := fs.Stat(p); err == nil && !info.IsDir() {
			files, bytes = files+1, bytes+info.Size()
		} else if err == nil {
			n, b := held(fs, p)
			files, bytes = files+n, bytes+b
		}
	}
	return files, bytes
}

// flat compares the second half of the samples with the first.
func (m *month) flat() {
	var most [2]sample
	for i, s := range m.samples {
		w := &most[2*i/len(m.samples)]
		w.heap, w.goroutines = max(w.heap, s.heap), max(w.goroutines, s.goroutines)
		w.files, w.ckBytes, w.logs, w.logsBytes = max(w.files, s.files), max(w.ckBytes, s.ckBytes), max(w.logs, s.logs), max(w.logsBytes, s.logsBytes)
	}
	a, b := most[0], most[1]
	grows := func(a, b, small int64) bool { return b > max(a*5/4, small) } // small is what fills up in the first hours
	if grows(a.heap, b.heap, 12<<20) || grows(int64(a.goroutines), int64(b.goroutines), 250) || grows(a.files, b.files, 24) || grows(a.ckBytes, b.ckBytes, 128<<10) ||
		grows(a.logs, b.logs, 60) || grows(a.logsBytes, b.logsBytes, 1<<20) {
		m.w.violated("what is held grows: in the first half at most %s, in the second %s; all: %v", a, b, m.samples)
	}
}
