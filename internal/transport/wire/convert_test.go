package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// kinds are one of each kind that travels.
var kinds = []transport.Message{
	transport.Deploy{}, transport.Undeploy{}, transport.Run{}, transport.Cancel{}, transport.Finished{}, transport.Failed{},
	transport.Checkpoint{}, transport.Checkpointed{}, transport.Restore{}, transport.Restored{}, transport.Prune{},
	transport.Survey{}, transport.Surveyed{}, transport.Follow{}, transport.Followed{},
	transport.Deployed{}, transport.Needless{},
}

// asks are one of each question.
var asks = []transport.Ask{transport.ReadState{}, transport.Changes{}, transport.Look{}, transport.Settle{}}

// values gives every field another value.
type values struct{ n int64 }

func (f *values) fill(t *testing.T, v reflect.Value, path string) {
	f.n++
	switch v.Kind() {
	case reflect.String:
		v.SetString(fmt.Sprintf("s%d", f.n))
	case reflect.Int, reflect.Int64, reflect.Int32:
		v.SetInt(-f.n)
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(uint64(f.n))
	case reflect.Float64:
		v.SetFloat(float64(f.n) + 0.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			if v.Type().Elem().Kind() == reflect.Uint8 {
				v.Index(i).SetUint(uint64(f.n % 251))
				continue
			}
			f.fill(t, v.Index(i), path)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(t, k, path)
		f.fill(t, e, path)
		v.SetMapIndex(k, e)
	case reflect.Interface:
		switch {
		case v.Type() == reflect.TypeFor[error]():
			v.Set(reflect.ValueOf(&batch.Error{Kind: batch.External, Retry: true, Err: &remoteError{text: fmt.Sprintf("e%d", f.n)}}))
		case v.Type() == reflect.TypeFor[transport.Ask](): // none; they have a test of their own
		default:
			p := reflect.New(reflect.TypeFor[transport.PlanText]()).Elem()
			f.fill(t, p, path)
			v.Set(p)
		}
	default:
		t.Fatalf("%s: nobody knows how to fill a %s", path, v.Type())
	}
}

func travel(t *testing.T, m transport.Message) transport.Message {
	t.Helper()
	e, err := envelope("from", "to", m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back pb.Envelope
	if err := proto.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.From != "from" || back.To != "to" {
		t.Fatalf("from %q to %q", back.From, back.To)
	}
	got, err := message(&back)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A field that is added to a message, or to a struct in one, and not to its conversion
// arrives as zero, which this finds whatever its type.
func TestEveryFieldOfEveryMessageTravels(t *testing.T) {
	f := &values{}
	for _, m := range kinds {
		v := reflect.New(reflect.TypeOf(m)).Elem()
		f.fill(t, v, reflect.TypeOf(m).Name())
		if d, ok := v.Interface().(transport.Deploy); ok {
			d.Homes.Places = []int{1, 0} // places that there are
			v.Set(reflect.ValueOf(d))
		}
		want := v.Interface().(transport.Message)
		if got := travel(t, want); !reflect.DeepEqual(got, want) {
			t.Errorf("%T\ngot  %+v\nwant %+v", m, got, want)
		}
		if got := travel(t, m); !reflect.DeepEqual(got, m) {
			t.Errorf("empty %T: got %+v", m, got)
		}
	}
	ref := reflect.New(reflect.TypeFor[transport.StreamRef]()).Elem()
	f.fill(t, ref, "StreamRef")
	want := ref.Interface().(transport.StreamRef)
	if to, got := refIn(refOut("n", want)); to != "n" || got != want {
		t.Errorf("a ticket: got %+v, want %+v", got, want)
	}
	for _, a := range asks {
		v := reflect.New(reflect.TypeOf(a)).Elem()
		f.fill(t, v, reflect.TypeOf(a).Name())
		for _, a := range []transport.Ask{v.Interface().(transport.Ask), a, transport.ReadState{Keys: [][]byte{}}, transport.Look{Columns: []int{}}} {
			want := transport.StreamRef{Key: "k", Ask: a}
			b, err := proto.Marshal(refOut("n", want))
			if err != nil {
				t.Fatal(err)
			}
			var back pb.StreamRef
			if err := proto.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if _, got := refIn(&back); !reflect.DeepEqual(got, want) {
				t.Errorf("%T\ngot  %+v\nwant %+v", a, got, want)
			}
		}
	}
}

func TestOnlyWhatTravelsIsSent(t *testing.T) {
	for _, m := range []transport.Message{transport.Reset{}, transport.Lost{}, transport.Deploy{Plan: 7}} {
		if _, err := envelope("a", "b", m); err == nil {
			t.Errorf("%T was made ready to travel", m)
		}
	}
	sealed := reflect.TypeFor[transport.Message]()
	for _, m := range kinds {
		if !reflect.TypeOf(m).Implements(sealed) {
			t.Errorf("%T", m)
		}
	}
}

func TestListsThatMeanMoreThanTheirRows(t *testing.T) {
	for _, m := range []transport.Message{
		transport.Prune{Live: [][]byte{}}, transport.Prune{},
		transport.Run{Where: [][]transport.NodeID{}}, transport.Run{Where: [][]transport.NodeID{nil, {}, {"a", "b", "a"}}},
	} {
		if got := travel(t, m); !reflect.DeepEqual(got, m) {
			t.Errorf("got %#v, want %#v", got, m)
		}
	}
	if d, err := deployIn(&pb.Deploy{Workers: []string{"a"}, Places: []uint32{1}}); err == nil {
		t.Errorf("a place at no worker: %+v", d)
	}
	odd := transport.Run{Spec: batch.TaskSpec{Splits: []batch.Split{{Partition: "\xff\xfe"}}, SinkPrefix: "\xc0"}}
	if got := travel(t, odd); !reflect.DeepEqual(got, odd) {
		t.Errorf("bytes that are no text: got %#v", got)
	}
}

func TestErrorsKeepWhatDecidesAboutRetries(t *testing.T) {
	for _, err := range []error{
		errors.New("plain"),
		batch.UserErrorf("line 3: %w", io.EOF),
		batch.ExternalError(fmt.Errorf("write: %w", syscall.ENOSPC), true),
		batch.ExternalError(errors.New("broker"), false),
		fmt.Errorf("task of term 3: %w 4", batch.ErrFenced),
		errors.Join(context.Canceled, batch.ExternalError(batch.ErrGivenUp, true)),
		errors.New("no text \xff"),
	} {
		got := travel(t, transport.Failed{Err: err}).(transport.Failed).Err
		kind, retry := batch.KindOf(err)
		if k, r := batch.KindOf(got); k != kind || r != retry {
			t.Errorf("%v: %s %v became %s %v", err, kind, retry, k, r)
		}
		for _, k := range known {
			if errors.Is(got, k.err) != errors.Is(err, k.err) {
				t.Errorf("%v: being %s did not travel", err, k.name)
			}
		}
		if got.Error() != strings.ToValidUTF8(err.Error(), "\uFFFD") {
			t.Errorf("%q became %q", err, got)
		}
	}
	long := errorIn(errorOut(errors.New(strings.Repeat("x", 10*textMax))))
	if n := len(long.Error()); n > textMax+10 {
		t.Errorf("an error of %d bytes travels", n)
	}
}

// FuzzEnvelope: whatever the bytes, there is a message or an error, and a message that
// was decoded travels.
func FuzzEnvelope(f *testing.F) {
	v := &values{}
	for _, m := range kinds {
		x := reflect.New(reflect.TypeOf(m)).Elem()
		v.fill(&testing.T{}, x, "")
		e, err := envelope("a", "b", x.Interface().(transport.Message))
		if err != nil {
			f.Fatal(err)
		}
		b, err := proto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x2a, 2, 0x12, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e pb.Envelope
		if proto.Unmarshal(b, &e) != nil {
			return
		}
		m, err := message(&e)
		if err != nil {
			return
		}
		if _, err := envelope("a", "b", m); err != nil {
			t.Fatal(err)
		}
	})
}

// What operators did is a few bytes each, and what a build before has sent is understood.
func TestCountsOfOperatorsAreSmall(t *testing.T) {
	const operators = 300
	m := transport.Finished{Result: batch.TaskResult{Ops: make([]batch.OpCount, operators)}}
	size := func() int {
		e, err := envelope("from", "to", m)
		if err != nil {
			t.Fatal(err)
		}
		return proto.Size(e)
	}
	if n := size(); n > operators+100 {
		t.Errorf("%d operators that did nothing are %d bytes", operators, n)
	}
	for i := range m.Result.Ops {
		m.Result.Ops[i] = batch.OpCount{Rows: 1_000_000, Batches: 100, Bytes: 50_000_000, Nanos: 300_000_000}
	}
	if n := size(); n > 16*operators {
		t.Errorf("%d operators are %d bytes", operators, n)
	}
	old := []*pb.OpWork{{Rows: 1, Bytes: 2, Nanos: 3}, {}}
	if got, want := resultIn(&pb.TaskResult{Ops: old}).Ops, []batch.OpCount{{Rows: 1, Bytes: 2, Nanos: 3}, {}}; !reflect.DeepEqual(got, want) {
		t.Errorf("a build before says %+v, want %+v", got, want)
	}
	odd := &pb.OpCounts{Rows: []int64{1}, Nanos: []int64{2, 3}, Notes: []*pb.OpNote{{Operator: 1 << 31, Name: "n"}}}
	if got, want := opsIn(odd, nil), []batch.OpCount{{Rows: 1, Nanos: 2}}; !reflect.DeepEqual(got, want) {
		t.Errorf("columns that do not fit are %+v, want %+v", got, want)
	}
}
