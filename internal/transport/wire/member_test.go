package wire

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// pause lets virtual time go by in a bubble.
func pause(d time.Duration) { <-time.After(d) }

func TestAWorkerSaysWhatItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h, w := n.hub(t, "d:1"), n.node(t, "w", "w:1", func(o *Options) { o.Incarnation = 7 })
		defer closeAll(t, h)
		got := await(h, 1)[0]
		want := Member{ID: "w", Session: 1, Incarnation: 7, Addr: "w:1", Resources: Resources{Slots: 2, Memory: 3, Version: "v"}}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v", got)
		}
		l := attached(w)
		if l != (Link{Driver: "d", Addr: "d:1", Session: 1, Attached: true}) {
			t.Fatalf("got %+v", l)
		}
		var events []string
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			h.Watch(t.Context(), func(e Event) { events = append(events, fmt.Sprint(e.Change, " ", e.Member.ID)) })
		}()
		synctest.Wait()
		w.Drain(true)
		synctest.Wait()
		closeAll(t, w)
		await(h, 0)
		synctest.Wait()
		closeAll(t, h)
		<-watched
		if want := []string{"joined w", "draining w", "lost w"}; !slices.Equal(events, want) {
			t.Fatalf("%q", events)
		}
	})
}

// Within a session nothing is lost, repeated or out of order, however often the
// connection breaks.
func TestMessagesSurviveConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h, w := n.hub(t, "d:1"), n.node(t, "w", "w:1")
		defer closeAll(t, w, h)
		d := endpoint(t, h, "q")
		await(h, 1)
		session := attached(w).Session
		const all = 3000
		send := func(from transport.Transport, to transport.NodeID) {
			for i := range all {
				if err := from.Send(t.Context(), to, transport.Undeploy{Key: fmt.Sprint(i)}); err != nil {
					t.Error(err)
					return
				}
			}
		}
		var left atomic.Int32
		left.Store(2)
		receive := func(at transport.Transport) {
			defer left.Add(-1)
			for i := range all {
				env := <-at.Inbox()
				if m, ok := env.Message.(transport.Undeploy); !ok || m.Key != fmt.Sprint(i) {
					t.Errorf("at %s: %#v, want message %d", at.Local(), env.Message, i)
					return
				}
				if i%16 == 0 {
					pause(time.Millisecond) // so that queues are full, and there is time to break things
				}
			}
		}
		go send(d, "w")
		go send(w, "q")
		go receive(d)
		go receive(w)
		r := rand.New(rand.NewPCG(1, 2))
		breaks := 0
		for left.Load() > 0 {
			pause(time.Duration(r.IntN(40)) * time.Millisecond)
			n.sever("d:1")
			breaks++
		}
		if breaks < 3 {
			t.Fatalf("the connection broke only %d times", breaks)
		}
		if now := attached(w).Session; now != session {
			t.Fatalf("session %d became %d", session, now)
		}
	})
}

// X1: a worker that is cut off ends its work before its driver gives that to others.
func TestTheWorkersLeaseEndsFirst(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			h, w := n.hub(t, "d:1"), n.node(t, "w", "w:1")
			defer closeAll(t, w, h)
			d := endpoint(t, h, "q")
			await(h, 1)
			attached(w)
			pause(time.Duration(rand.New(rand.NewPCG(seed, 0)).IntN(3000)) * time.Millisecond)
			n.cut("d:1", true)
			n.cut("w:1", true)
			start := time.Now()
			reset := <-w.Inbox()
			ended := time.Since(start)
			if _, ok := reset.Message.(transport.Reset); !ok {
				t.Fatalf("%#v", reset)
			}
			if err := w.Send(t.Context(), "q", transport.Undeploy{}); !errors.Is(err, transport.ErrGone) {
				t.Fatalf("send without a lease: %v", err)
			}
			env := <-d.Inbox()
			lost := time.Since(start)
			if m, ok := env.Message.(transport.Lost); !ok || env.From != "w" {
				t.Fatalf("%#v", m)
			}
			if ended >= lost || lost > h.opt.Lease+h.opt.Heartbeat {
				t.Fatalf("the worker ended after %s, the driver took it for lost after %s", ended, lost)
			}
			n.cut("d:1", false)
			n.cut("w:1", false)
			if m := await(h, 1)[0]; m.Session != 2 {
				t.Fatalf("got %+v", m)
			}
			attached(w)
			if err := d.Send(t.Context(), "w", transport.Undeploy{Key: "new"}); err != nil {
				t.Fatal(err)
			}
			if env := <-w.Inbox(); env.Message != (transport.Undeploy{Key: "new"}) {
				t.Fatalf("%#v", env)
			}
		})
	}
}

// A driver whose disk or network stands still for less than a lease loses nobody.
func TestAShortCutLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h, w := n.hub(t, "d:1"), n.node(t, "w", "w:1")
		defer closeAll(t, w, h)
		d := endpoint(t, h, "q")
		await(h, 1)
		session := attached(w).Session
		n.cut("d:1", true)
		if err := d.Send(t.Context(), "w", transport.Undeploy{Key: "late"}); err != nil {
			t.Fatal(err)
		}
		pause(time.Second)
		n.cut("d:1", false)
		n.sever("d:1")
		if env := <-w.Inbox(); env.Message != (transport.Undeploy{Key: "late"}) || w.Link().Session != session {
			t.Fatalf("%#v in session %d", env, w.Link().Session)
		}
	})
}

// That nobody listens any more is proof; nobody waits for a lease then.
func TestAKilledWorkerIsLostAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h := n.hub(t, "d:1")
		var l net.Listener
		w := n.node(t, "w", "w:1", func(o *Options) { l = o.Listener })
		defer closeAll(t, w, h)
		d := endpoint(t, h, "q")
		await(h, 1)
		start := time.Now()
		n.cut("d:1", true) // it cannot come again
		closeAll(t, l)
		n.sever("d:1")
		env := <-d.Inbox()
		if _, ok := env.Message.(transport.Lost); !ok || time.Since(start) > 200*time.Millisecond {
			t.Fatalf("%#v after %s", env, time.Since(start))
		}
		n.cut("d:1", false)
	})
}

// X2: the newer process of a name is the node, and the older one is told for good.
func TestTheNewerIncarnationWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h := n.hub(t, "d:1")
		old := n.node(t, "w", "w:1", func(o *Options) { o.Incarnation = 1 })
		d := endpoint(t, h, "q")
		await(h, 1)
		attached(old)
		now := n.node(t, "w", "w:2", func(o *Options) { o.Incarnation = 2 })
		defer closeAll(t, old, now, h)
		if env := <-d.Inbox(); env.From != "w" {
			t.Fatalf("%#v", env)
		}
		attached(now)
		for old.Link().Refused == nil {
			<-old.Changed()
		}
		if m := await(h, 1)[0]; m.Incarnation != 2 || m.Addr != "w:2" || m.Session != 2 {
			t.Fatalf("got %+v", m)
		}
		if env := <-old.Inbox(); reflect.TypeOf(env.Message) != reflect.TypeFor[transport.Reset]() {
			t.Fatalf("%#v", env)
		}
	})
}

func TestWorkersFollowTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a := n.hub(t, "a:1", func(o *Options) { o.ID = "a" })
		b := n.hub(t, "b:1", func(o *Options) { o.ID = "b" })
		b.Dismiss("a:1")
		w := n.node(t, "w", "w:1", func(o *Options) { o.Join = []string{"nobody:1", "b:1"} })
		defer closeAll(t, w, a, b)
		await(a, 1)
		attached(w)
		b.Recall()
		a.Dismiss("b:1")
		if l := await(b, 1)[0]; l.ID != "w" {
			t.Fatalf("got %+v", l)
		}
		if env := <-w.Inbox(); reflect.TypeOf(env.Message) != reflect.TypeFor[transport.Reset]() {
			t.Fatalf("%#v", env)
		}
		if l := attached(w); l.Driver != "b" || l.Addr != "b:1" {
			t.Fatalf("got %+v", l)
		}
	})
}

func TestADriverThatComesAgainIsANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h := n.hub(t, "d:1")
		w := n.node(t, "w", "w:1")
		await(h, 1)
		attached(w)
		closeAll(t, h)
		h = n.hub(t, "d:1")
		defer closeAll(t, w, h)
		await(h, 1)
		if env := <-w.Inbox(); reflect.TypeOf(env.Message) != reflect.TypeFor[transport.Reset]() {
			t.Fatalf("%#v", env)
		}
	})
}

func TestWhoMayNotJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h := n.hub(t, "d:1", func(o *Options) {
			o.Admit = func(m Member) error {
				if m.Resources.Version != "v" {
					return batch.UserErrorf("build %s is not this one", m.Resources.Version)
				}
				return nil
			}
			o.Authorize = func(c Caller) error {
				if c.Rows {
					return errors.New("nobody reads rows here")
				}
				return nil
			}
		})
		w := n.node(t, "w", "w:1", func(o *Options) { o.Resources.Version = "old" })
		ok := n.node(t, "ok", "ok:1")
		defer closeAll(t, w, ok, h)
		if l := attached(w); l.Refused == nil || l.Attached {
			t.Fatalf("got %+v", l)
		}
		attached(ok)
		e := endpoint(t, h, "q")
		e.Serve(func(ctx ctxType, ref transport.StreamRef) (reader, error) { return nil, io.ErrUnexpectedEOF })
		if _, err := h.Join("q"); err == nil {
			t.Fatal("a taken name was given away")
		}
		if env := n.node(t, "q", "q:1"); attached(env).Refused == nil {
			t.Fatal("a worker took the name of a query")
		} else {
			closeAll(t, env)
		}
	})
}

// A connection on which nobody says hello does not stay open for ever.
func TestSilentStreamsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h := n.hub(t, "d:1")
		defer closeAll(t, h)
		o := Options{ID: "x", Dial: n.dial}.withDefaults()
		conn, err := o.connect("", "d:1")
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(t, conn)
		s, err := conn.NewStream(t.Context(), &bidi, "/"+controlService+"/"+controlMethod)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, _, err := recv(s); err == nil || time.Since(start) > 2*h.opt.Handshake {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		hello, err := conn.NewStream(t.Context(), &bidi, "/"+controlService+"/"+controlMethod)
		if err != nil {
			t.Fatal(err)
		}
		w := &Node{opt: Options{ID: "w"}, addr: "w:1"}
		f := w.hello()
		f.GetHello().Protocol = Protocol + 1
		if err := sendFrame(hello, f); err != nil {
			t.Fatal(err)
		}
		if f, _, err := recv(hello); err != nil || !f.GetRefused().GetFinal() {
			t.Fatalf("a worker of another protocol: %v, %v", f, err)
		}
	})
}

// A worker that speaks for another one is taken for itself, and one that repeats, leaves
// out or confirms what it may not loses its stream.
func TestWhatAWorkerClaimsIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h := n.hub(t, "d:1")
		defer closeAll(t, h)
		e := endpoint(t, h, "q")
		o := Options{ID: "x", Dial: n.dial}.withDefaults()
		conn, err := o.connect("", "d:1")
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(t, conn)
		for i, last := range []*pb.Frame{
			{Seq: 3, Body: &pb.Frame_Envelope{Envelope: &pb.Envelope{}}}, // 2 is missing
			{Seq: 2, Ack: 99},
		} {
			s, err := conn.NewStream(t.Context(), &bidi, "/"+controlService+"/"+controlMethod)
			if err != nil {
				t.Fatal(err)
			}
			w := &Node{opt: Options{ID: "w", Incarnation: uint64(i)}, addr: "w:1"}
			forged := &pb.Envelope{From: "another", To: "q", Message: &pb.Envelope_Undeploy{Undeploy: &pb.Undeploy{Key: "k"}}}
			first := &pb.Frame{Seq: 1, Body: &pb.Frame_Envelope{Envelope: forged}}
			for _, f := range []*pb.Frame{w.hello(), first, first, last} {
				if err := sendFrame(s, f); err != nil {
					t.Fatal(err)
				}
			}
			if env := <-e.Inbox(); env != (transport.Envelope{From: "w", Message: transport.Undeploy{Key: "k"}}) {
				t.Fatalf("%#v", env)
			}
			for err == nil {
				_, _, err = recv(s)
			}
			if err == io.EOF {
				t.Fatal("the stream ended in good order")
			}
			if env := <-e.Inbox(); reflect.TypeOf(env.Message) != reflect.TypeFor[transport.Lost]() {
				t.Fatalf("%#v", env) // by the lease or because nobody listens; a message once more would be here
			}
		}
	})
}

// A worker that comes while nobody leads is there the moment somebody does, though one of
// the drivers cannot be reached and another one still names the leader that is gone.
func TestALeaderFindsItsWorkersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		drivers := []string{"a:1", "b:1", "c:1"}
		a, b, c := n.hub(t, "a:1"), n.hub(t, "b:1"), n.hub(t, "c:1")
		defer closeAll(t, b, c)
		b.Dismiss("a:1")
		c.Dismiss("a:1")
		var workers []*Node
		for i := range 3 {
			w := n.node(t, fmt.Sprint("w", i), fmt.Sprintf("w%d:1", i), func(o *Options) {
				o.Join = append(slices.Clone(drivers[i:]), drivers[:i]...)
			})
			defer closeAll(t, w)
			workers = append(workers, w)
		}
		await(a, 3)
		n.cut("a:1", true) // its connections stay and say nothing
		closeAll(t, a)
		pause(600 * time.Millisecond)
		b.Dismiss("")
		c.Dismiss("")
		pause(1300 * time.Millisecond)
		start := time.Now()
		c.Recall()
		b.Dismiss("c:1")
		await(c, 3)
		if took := time.Since(start); took > 1300*time.Millisecond {
			t.Errorf("the workers came after %s", took)
		}
		for _, w := range workers {
			if l := attached(w); l.Addr != "c:1" {
				t.Errorf("%+v", l)
			}
		}
	})
}

// Who is kept waiting is sent away after a while, and a driver that is closed waits for nobody.
func TestNobodyIsKeptWaitingForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		h := n.hub(t, "d:1")
		h.Dismiss("")
		w := n.node(t, "w", "w:1")
		defer closeAll(t, w)
		pause(time.Minute)
		start := time.Now()
		h.Recall()
		await(h, 1)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("the worker came after %s", took)
		}
		h.Dismiss("")
		pause(100 * time.Millisecond)
		start = time.Now()
		closeAll(t, h)
		if took := time.Since(start); took > 10*time.Millisecond {
			t.Errorf("the driver was closed after %s", took)
		}
	})
}
