package sluice

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// stopping is a disk that takes nothing while it is on, and notes that it was asked.
type stopping struct {
	on  atomic.Bool
	err error

	mu  sync.Mutex
	hit chan struct{} // closed when it has refused something
}

// begin makes the disk refuse, and returns what says that it has.
func (d *stopping) begin() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hit = make(chan struct{})
	d.on.Store(true)
	return d.hit
}

func (d *stopping) fault(op vfsx.Op) error {
	err := vfsx.FullDisk(&d.on, d.err).MaybeError(op)
	if err == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.hit:
	default:
		close(d.hit)
	}
	return err
}

// TestDiskThatStopsTaking: a disk below a checkpoint becomes full or read-only in the
// middle, for a moment or until the query has ended. It goes on by itself or ends with
// an error that says so, and started again it goes on; the result is always right (E4).
func TestDiskThatStopsTaking(t *testing.T) {
	for name, fault := range map[string]error{"full": syscall.ENOSPC, "over quota": syscall.EDQUOT, "read-only": syscall.EROFS} {
		t.Run(name, func(t *testing.T) {
			b := newStateBed(t)
			dir, err := filepath.EvalSymlinks(b.dir)
			if err != nil {
				t.Fatal(err)
			}
			b.dir = dir
			if err := os.Mkdir(filepath.Join(dir, "ck"), 0o700); err != nil {
				t.Fatal(err)
			}
			disk := &stopping{err: fault}
			unmount, err := vfsx.Mount(filepath.Join(dir, "ck"), vfsx.Wrap(vfsx.Machine, vfsx.InjectorFunc(disk.fault)))
			if err != nil {
				t.Fatal(err)
			}
			defer unmount()
			files, ended := 0, 0
			for life := range 6 {
				s := b.session("checkpoint.interval=1ms", fmt.Sprintf("parallelism=%d", 1+life%3))
				b.exec(s, `CREATE STREAMING QUERY q OUTPUT MODE update AS `+countQuery)
				q, _ := s.Query("q")
				b.feed(files, files+1)
				files += 2
				b.drained(s, "q")
				hit := disk.begin()
				b.feed(files)
				files++
				done := make(chan error, 1)
				go func() { done <- q.ProcessAllAvailable(t.Context()) }()
				<-hit
				if life%2 == 0 {
					disk.on.Store(false) // it was a moment
				}
				err := <-done
				disk.on.Store(false)
				if err == nil {
					b.same(fmt.Sprintf("life %d", life), b.rows(s, `SELECT * FROM res`), b.want(files))
					b.close(s)
					continue
				}
				ended++
				if err := q.Await(t.Context()); !errors.Is(err, fault) {
					t.Errorf("life %d ended with %v", life, err)
				}
				_ = s.Close() // its query has failed
			}
			t.Logf("%d of 6 lives ended by it", ended)
			s := b.session()
			b.exec(s, `CREATE STREAMING QUERY q OUTPUT MODE update AS `+countQuery)
			b.feed(files)
			files++
			b.drained(s, "q")
			b.same("at last", b.rows(s, `SELECT * FROM res`), b.want(files))
			b.close(s)
		})
	}
}
