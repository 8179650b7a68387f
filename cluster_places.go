package sluice

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// places are checkpoints in buckets that stay open between the sessions of a worker,
// which has one for each plan that it is handed: the cache of a query's state is that of
// the plan before. What is in the bucket's journal is the driver's alone to change.
type places struct {
	mu     sync.Mutex
	by     []*sharedPlace // those used last at the end
	closed bool
}

type sharedPlace struct {
	*bucketPlace
	store string // who asks where
	users int
}

// idlePlacesMax is how many places stay open that no plan uses.
const idlePlacesMax = 16

func (s *places) take(url string, set options.Map) (*bucketPlace, error) {
	opt, err := s3Options(set)
	if err != nil {
		return nil, err
	}
	store := fmt.Sprintf("%+v %s", opt, set.Get(setCacheDir))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("the worker is closed")
	}
	at := slices.IndexFunc(s.by, func(o *sharedPlace) bool { return o.url == url && o.store == store })
	if at >= 0 {
		o := s.by[at]
		s.by = append(slices.Delete(s.by, at, at+1), o)
		o.users++
		_ = o.place.Refresh() // what fails now fails for who reads from it
		return o.bucketPlace, nil
	}
	o := &sharedPlace{bucketPlace: &bucketPlace{url: url}, store: store, users: 1}
	if err := o.open(set); err != nil {
		return nil, err
	}
	s.by = append(s.by, o)
	return o.bucketPlace, nil
}

// hold keeps a place open that is, until it is given back once more.
func (s *places) hold(p *bucketPlace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.by {
		if o.bucketPlace == p {
			o.users++
		}
	}
}

// give takes a place back.
func (s *places) give(p *bucketPlace) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := 0
	for _, o := range s.by {
		if o.bucketPlace == p {
			o.users--
		}
		if o.users == 0 {
			idle++
		}
	}
	var errs []error
	s.by = slices.DeleteFunc(s.by, func(o *sharedPlace) bool {
		if o.users > 0 || idle <= idlePlacesMax && !s.closed {
			return false
		}
		idle--
		errs = append(errs, o.close())
		return true
	})
	return errors.Join(errs...)
}

// close closes what nobody uses now, and the rest when it is given back.
func (s *places) close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.give(nil)
}

// stateDirName is the folder of state in a checkpoint.
const stateDirName = "state"

// State implements worker.Connectors. The state is in a folder that the worker shares with
// its driver, or in one of a bucket, whose place stays open as long as the state does,
// which may outlive its plan.
func (p *plans) State(d transport.Deploy, of *memory.Tracker) (statestore.Store, error) {
	if !isBucket(d.StateDir) {
		return p.s.openState(d, of, d.StateDir, nil)
	}
	place, err := p.placeOf(d)
	if err != nil {
		return nil, err
	}
	l := &lodger{of: p, place: place, query: d.Query}
	l.key.Store(&d.Key)
	store, err := p.s.openState(d, of, filepath.Join(place.dir, stateDirName), p.s.buckets.bounded(tenant{place.place.Storage(), l.tell}))
	if err != nil {
		return nil, err
	}
	l.Store = store
	p.places.hold(place)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.lodgers[d.Key] = l
	return l, nil
}

// placeOf finds the place that the session of a plan has open.
func (p *plans) placeOf(d transport.Deploy) (*bucketPlace, error) {
	o, err := p.of(d.Key)
	if err != nil {
		return nil, err
	}
	root := o.s.buckets.folder(strings.TrimSuffix(d.StateDir, "/"+stateDirName))
	return o.s.buckets.of(root), o.s.buckets.failure(root)
}

// Inherit implements worker.Heir. State goes on under the plan that it is kept for, unless
// that one has another way to the bucket. One that takes the place of the very same plan
// has none of its own.
func (p *plans) Inherit(from string, d transport.Deploy) bool {
	p.mu.Lock()
	l, planned := p.mu.lodgers[from], p.mu.byKey[d.Key] != nil
	p.mu.Unlock()
	if l == nil {
		return true // it is in a folder
	}
	if planned {
		if place, err := p.placeOf(d); err != nil || place != l.place {
			return false
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.lodgers, from)
	l.key.Store(&d.Key)
	p.mu.lodgers[d.Key] = l
	return true
}

// lodger is a query's state in a bucket as a worker has it.
type lodger struct {
	*tiered.Store
	of    *plans
	place *bucketPlace
	query batch.QueryID
	key   atomic.Pointer[string] // of the deployment that has it
}

// Close implements statestore.Store.
func (l *lodger) Close() error {
	err := l.Store.Close()
	l.of.mu.Lock()
	delete(l.of.mu.lodgers, *l.key.Load())
	l.of.mu.Unlock()
	return errors.Join(err, l.of.places.give(l.place))
}

// tell tells the driver that nobody needs a file. The driver of another life than the one
// that has said which are needed pays no attention.
func (l *lodger) tell(ctx context.Context, name string) error {
	return l.of.net.Send(ctx, driverNode(l.query), transport.Needless{Key: *l.key.Load(), Files: []string{name}})
}

// tenant is the state's folder of a bucket as a worker has it: files are put and read,
// and deleted by the driver, which alone knows that the checkpoint is still its own.
type tenant struct {
	checkpoint.Storage
	tell func(ctx context.Context, name string) error
}

// Owned is for the driver to find out.
func (t tenant) Owned(context.Context) error { return nil }

// Delete tells the driver.
func (t tenant) Delete(ctx context.Context, name string) error { return t.tell(ctx, name) }

// reclaim deletes files of the state that workers have no use for.
func (p *bucketPlace) reclaim(ctx context.Context, files []string) error {
	storage := p.place.Storage()
	// After the workers have listed them: what another process has put before it took
	// over is not among them.
	if err := storage.Owned(ctx); err != nil {
		return err
	}
	for _, name := range files {
		if strings.ContainsAny(name, "/\\") {
			return batch.UserErrorf("%q is no file of the state", name)
		}
		if err := storage.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %s of %s: %w", name, p.url, err)
		}
	}
	return nil
}

// driverNode names the node of a query on the network of its workers.
func driverNode(id batch.QueryID) transport.NodeID { return transport.NodeID("driver/" + string(id)) }
