package inproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow-go/v18/arrow"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func join(t *testing.T, net *Network, id transport.NodeID) *Node {
	t.Helper()
	n, err := net.Join(id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOrderOfEachSender(t *testing.T) {
	net := New(Options{InboxMax: 2})
	sink := join(t, net, "sink")
	const senders, each = 4, 200
	var wg sync.WaitGroup
	for s := range senders {
		n := join(t, net, transport.NodeID(fmt.Sprint("s", s)))
		wg.Go(func() {
			for i := range each {
				if err := n.Send(t.Context(), "sink", transport.Undeploy{Key: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := map[transport.NodeID]int{}
	for range senders * each {
		env := <-sink.Inbox()
		if got, want := env.Message.(transport.Undeploy).Key, fmt.Sprint(next[env.From]); got != want {
			t.Fatalf("from %s: message %s, want %s", env.From, got, want)
		}
		next[env.From]++
	}
	wg.Wait()
}

func TestFullInboxWaitsForReaderContextOrClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := New(Options{InboxMax: 1})
		a, b := join(t, net, "a"), join(t, net, "b")
		if err := a.Send(t.Context(), "b", transport.Undeploy{Key: "1"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { errs <- a.Send(ctx, "b", transport.Undeploy{Key: "2"}) }()
		synctest.Wait()
		select {
		case err := <-errs:
			t.Fatalf("sending into a full inbox came back: %v", err)
		default:
		}
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled send: %v", err)
		}
		go func() { errs <- a.Send(t.Context(), "b", transport.Undeploy{Key: "3"}) }()
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, transport.ErrGone) {
			t.Fatalf("send to a node that closed: %v", err)
		}
		if env, ok := <-b.Inbox(); !ok || env.Message.(transport.Undeploy).Key != "1" {
			t.Fatal("what lay in the inbox is lost")
		}
		if _, ok := <-b.Inbox(); ok {
			t.Fatal("the inbox of a closed node stays open")
		}
	})
}

func TestNamesAndGoneNodes(t *testing.T) {
	net := New(Options{})
	a := join(t, net, "a")
	if _, err := net.Join("a"); err == nil {
		t.Fatal("a taken name was given away")
	}
	if err := a.Send(t.Context(), "b", transport.Undeploy{}); !errors.Is(err, transport.ErrGone) {
		t.Fatalf("send to nobody: %v", err)
	}
	b := join(t, net, "b")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fetch(t.Context(), "b", transport.StreamRef{}, nil); !errors.Is(err, transport.ErrGone) {
		t.Fatalf("fetch from a closed node: %v", err)
	}
	join(t, net, "b") // the name is free again
}

type nothing struct{}

func (nothing) Next(context.Context) (arrow.RecordBatch, error) { return nil, io.EOF }
func (nothing) Close() error                                    { return nil }

func TestFetchAsksTheOtherNode(t *testing.T) {
	net := New(Options{})
	a, b := join(t, net, "a"), join(t, net, "b")
	if _, err := a.Fetch(t.Context(), "b", transport.StreamRef{}, nil); err == nil {
		t.Fatal("a node that serves nothing answered")
	}
	want := transport.StreamRef{Key: "k", Batch: 3, Stage: 1, Task: 2, Partition: 4}
	b.Serve(func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
		if ref != want {
			t.Errorf("asked for %+v", ref)
		}
		return nothing{}, nil
	})
	r, err := a.Fetch(t.Context(), "b", want, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func BenchmarkSend(b *testing.B) {
	net := New(Options{})
	a, _ := net.Join("a")
	c, _ := net.Join("c")
	for b.Loop() {
		if err := a.Send(b.Context(), "c", transport.Undeploy{}); err != nil {
			b.Fatal(err)
		}
		<-c.Inbox()
	}
}
