package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// sameBytes is how replicas are compared (R4).
func image(t fataler, s *state) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, s.writeImage(&b))
	return b.Bytes()
}

// send applies a command as a replica does: from its bytes.
func send(t fataler, s *state, raftTerm uint64, c command) outcome {
	t.Helper()
	b, err := encodeCommand(c)
	must(t, err)
	back, err := decodeCommand(b)
	must(t, err)
	if !reflect.DeepEqual(back, c) {
		t.Fatalf("sent %+v, got %+v", c, back)
	}
	return s.apply(raftTerm, back)
}

func group(recs ...microbatch.Record) (g [][]byte) {
	for _, r := range recs {
		g = append(g, microbatch.EncodeRecord(r))
	}
	return g
}

func sampleQuery(id, name string) Query {
	return Query{ID: batch.QueryID(id), Name: name, Created: time.UnixMicro(1_700_000_000_000_000).UTC(), KeyGroups: 256, Engine: "0.1",
		Spec: Spec{SQL: "INSERT INTO t SELECT 1", Definitions: "CREATE TABLE t ..", Settings: []Setting{{"a", "b"}}, Checkpoint: "ck/" + name,
			PlanKey: "p", Sources: []string{"s"}, Sinks: []string{"k", "l"}, Parallelism: 2, Wanted: Running}}
}

// model is the state machine once more, as simple as can be: for each query what was
// appended, and the rules of R2 and R3 in their own words.
type model struct {
	q       Query
	recs    []string
	last    string // newest group
	plans   batch.ID
	commits batch.ID
}

// both are the state machine and its model.
type both struct {
	s        *state
	scripts  map[string]string
	models   map[batch.QueryID]*model
	raftTerm uint64
}

func TestStateMachineAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &both{newState(), map[string]string{}, map[batch.QueryID]*model{}, 1}
		t.Repeat(map[string]func(*rapid.T){
			"create": b.create, "elect": func(*rapid.T) { b.raftTerm += 3 }, "begin": b.begin, "append": b.append, "truncate": b.truncate,
			"alter": b.alter, "forget": b.forget, "assign": b.assign, "driver": b.driver, "pipeline": b.pipeline, "copy": b.copy, "": b.same,
		})
	})
}

func (b *both) pick(t *rapid.T) *model {
	if len(b.models) == 0 {
		t.Skip()
	}
	ids := make([]string, 0, len(b.models))
	for id := range b.models {
		ids = append(ids, string(id))
	}
	slices.Sort(ids)
	return b.models[batch.QueryID(rapid.SampledFrom(ids).Draw(t, "query"))]
}

func check(t *rapid.T, what string, out outcome, want error) {
	if !errors.Is(out.err, want) || want == nil && out.err != nil {
		t.Fatalf("%s: %v, want %v", what, out.err, want)
	}
}

func (b *both) create(t *rapid.T) {
	q := sampleQuery(fmt.Sprintf("id-%d", rapid.IntRange(0, 3).Draw(t, "id")), rapid.SampledFrom([]string{"a", "A", "b", "c"}).Draw(t, "name"))
	var want error
	same := false
	for _, m := range b.models {
		nameTaken, idTaken := strings.EqualFold(m.q.Name, q.Name), m.q.ID == q.ID
		same = same || nameTaken && idTaken
		if nameTaken || idTaken {
			want = ErrExists
		}
	}
	if same {
		want = nil
	}
	check(t, "create", send(t, b.s, b.raftTerm, createQuery{q}), want)
	if want == nil && !same {
		q.Revision = 1
		b.models[q.ID] = &model{q: q, plans: batch.None, commits: batch.None}
	}
}

func (b *both) begin(t *rapid.T) {
	m := b.pick(t)
	out := send(t, b.s, b.raftTerm, beginLife{m.q.ID})
	check(t, "begin", out, nil)
	if out.query.Term <= m.q.Term || uint64(out.query.Term) < b.raftTerm {
		t.Fatalf("term %d after %d in raft's %d", out.query.Term, m.q.Term, b.raftTerm)
	}
	m.q.Term, m.q.Assigned = out.query.Term, Assignment{}
}

func (b *both) append(t *rapid.T) {
	m := b.pick(t)
	term := m.q.Term - batch.Term(rapid.SampledFrom([]int{0, 0, 0, 0, 1}).Draw(t, "older"))
	id := m.plans + batch.ID(rapid.IntRange(-1, 2).Draw(t, "id"))
	rec := rapid.SampledFrom([]microbatch.Record{started(term, id), planned(term, id), committed(term, id),
		microbatch.Checkpointed{Batch: id, Prev: batch.None, Term: term}}).Draw(t, "record")
	if _, start := rec.(microbatch.Started); term == 0 || term > m.q.Term || id < batch.None || id < 0 && !start {
		t.Skip() // no such record can be written
	}
	var want error
	text := fmt.Sprintf("%T %d %d", rec, id, term)
	switch {
	case term != m.q.Term:
		want = batch.ErrFenced
	case text == m.last:
	default:
		ok := map[string]bool{"microbatch.Started": id == m.plans, "microbatch.Planned": id == m.plans+1 && m.plans == m.commits,
			"microbatch.Committed": id == m.plans && m.commits == id-1, "microbatch.Checkpointed": id <= m.commits}[fmt.Sprintf("%T", rec)]
		if !ok {
			want = ErrGap
		}
	}
	check(t, "append "+text, send(t, b.s, b.raftTerm, appendRecords{m.q.ID, term, group(rec)}), want)
	if want != nil || text == m.last {
		return
	}
	m.last = text
	m.recs = append(m.recs, text)
	switch rec.(type) {
	case microbatch.Planned:
		m.plans = id
	case microbatch.Committed:
		m.commits = id
	}
}

func (b *both) truncate(t *rapid.T) {
	m := b.pick(t)
	before := m.commits - batch.ID(rapid.IntRange(0, 3).Draw(t, "back"))
	check(t, "truncate", send(t, b.s, b.raftTerm, truncateLog{m.q.ID, m.q.Term, before}), nil)
	m.recs = slices.DeleteFunc(m.recs, func(r string) bool {
		var kind string
		var id, term int64
		_, _ = fmt.Sscanf(r, "%s %d %d", &kind, &id, &term)
		return batch.ID(id) < before
	})
	check(t, "truncate in an older term", send(t, b.s, b.raftTerm, truncateLog{m.q.ID, m.q.Term + 1, before}), batch.ErrFenced)
}

func (b *both) alter(t *rapid.T) {
	m := b.pick(t)
	spec := m.q.Spec
	spec.Parallelism++
	spec.Wanted = rapid.SampledFrom([]Wanted{Running, Stopped, Dropped}).Draw(t, "wanted")
	check(t, "alter an older revision", send(t, b.s, b.raftTerm, alterQuery{m.q.ID, m.q.Revision - 1, spec}), ErrRevision)
	if m.q.Wanted == Dropped && spec.Wanted != Dropped {
		check(t, "bring back", send(t, b.s, b.raftTerm, alterQuery{m.q.ID, m.q.Revision, spec}), ErrNotFound)
		return
	}
	check(t, "alter", send(t, b.s, b.raftTerm, alterQuery{m.q.ID, m.q.Revision, spec}), nil)
	m.q.Spec = spec
	m.q.Revision++
}

func (b *both) forget(t *rapid.T) {
	m := b.pick(t)
	var want error
	if m.q.Wanted != Dropped {
		want = ErrNotDropped
	}
	check(t, "forget", send(t, b.s, b.raftTerm, forgetQuery{m.q.ID, m.q.Revision}), want)
	if want == nil {
		delete(b.models, m.q.ID)
		check(t, "append to what is forgotten", send(t, b.s, b.raftTerm, appendRecords{m.q.ID, m.q.Term, group(planned(1, 0))}), ErrNotFound)
	}
}

func (b *both) assign(t *rapid.T) {
	m := b.pick(t)
	a := Assignment{Life: 3, Workers: []WorkerEpoch{{"w1", 2}, {"w2", 1}}, Partitions: []int{0, 1, 1}}
	check(t, "assign", send(t, b.s, b.raftTerm, assign{m.q.ID, m.q.Term, a}), nil)
	check(t, "assign in an older term", send(t, b.s, b.raftTerm, assign{m.q.ID, m.q.Term - 1, a}), batch.ErrFenced)
	m.q.Assigned = a
}

// pipeline keeps and withdraws scripts: a name has one text, until it is withdrawn.
func (b *both) pipeline(t *rapid.T) {
	p := Pipeline{Name: rapid.SampledFrom([]string{"a", "A", "b"}).Draw(t, "name"), SQL: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "text"), Created: time.UnixMicro(7).UTC()}
	old, there := b.scripts[p.Name]
	if rapid.Bool().Draw(t, "withdraw") {
		var want error
		if !there {
			want = ErrNotFound
		}
		check(t, "withdraw", send(t, b.s, b.raftTerm, dropPipeline{p.Name}), want)
		delete(b.scripts, p.Name)
	} else {
		var want error
		if there && old != p.SQL {
			want = ErrExists
		}
		check(t, "keep", send(t, b.s, b.raftTerm, setPipeline{p}), want)
		if want == nil {
			b.scripts[p.Name] = p.SQL
		}
	}
	for _, have := range b.s.scripts() {
		if b.scripts[have.Name] != have.SQL || len(b.s.pipelines) != len(b.scripts) {
			t.Fatalf("there are %v, want %v", b.s.pipelines, b.scripts)
		}
	}
}

func (b *both) driver(t *rapid.T) {
	d := Driver{ID: rapid.SampledFrom([]string{"d1", "d2"}).Draw(t, "id"), Disk: "u", Client: "c"}
	check(t, "driver", send(t, b.s, b.raftTerm, setDriver{d}), nil)
	check(t, "driver", send(t, b.s, b.raftTerm, removeDriver{"d2"}), nil)
	check(t, "cluster", send(t, b.s, b.raftTerm, setCluster{"c" + d.ID}), nil)
}

func (b *both) copy(t *rapid.T) {
	was := image(t, b.s)
	back, err := readImage(bytes.NewReader(was))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(image(t, back), was) {
		t.Fatal("an image of an image differs")
	}
	b.s = back
}

func (b *both) same(t *rapid.T) {
	if len(b.s.queries) != len(b.models) || len(b.s.names) != len(b.models) {
		t.Fatalf("%d queries, %d names, want %d", len(b.s.queries), len(b.s.names), len(b.models))
	}
	for id, m := range b.models {
		q := b.s.queries[id]
		if q == nil || !reflect.DeepEqual(q.query, m.q) {
			t.Fatalf("query %s is\n%+v\nwant\n%+v", id, q.query, m.q)
		}
		var recs []string
		for _, r := range q.recs {
			rec, err := microbatch.DecodeRecord(r.b)
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, fmt.Sprintf("%T %d %d", rec, rec.ID(), rec.LogTerm()))
		}
		if !slices.Equal(recs, m.recs) {
			t.Fatalf("query %s holds %v, want %v", id, recs, m.recs)
		}
	}
}

// What a snapshot or a reader holds does not change when the state goes on.
func TestAPictureStands(t *testing.T) {
	s := newState()
	send(t, s, 1, createQuery{sampleQuery("q", "hot")})
	send(t, s, 1, beginLife{"q"})
	var pictures []*state
	var want [][]byte
	for id := range batch.ID(20) {
		send(t, s, 1, appendRecords{"q", 1, group(planned(1, id), committed(1, id))})
		send(t, s, 1, appendRecords{"q", 1, group(planned(1, id+7))}) // refused
		if id%5 == 4 {
			send(t, s, 1, truncateLog{"q", 1, id - 2})
		}
		pictures = append(pictures, s.clone())
		want = append(want, image(t, s))
	}
	for i, p := range pictures {
		if !bytes.Equal(image(t, p), want[i]) {
			t.Fatalf("the picture after batch %d has changed", i)
		}
	}
}

// Every flipped bit and every cut of an image and of a command is refused.
func TestDamagedImagesAndCommands(t *testing.T) {
	s := newState()
	send(t, s, 1, setCluster{"c"})
	send(t, s, 1, setDriver{Driver{ID: "d1"}})
	send(t, s, 1, createQuery{sampleQuery("q", "hot")})
	send(t, s, 1, beginLife{"q"})
	send(t, s, 1, appendRecords{"q", 1, group(planned(1, 0), committed(1, 0))})
	good := image(t, s)
	for at := range good {
		bad := slices.Clone(good)
		bad[at] ^= 4
		if _, err := readImage(bytes.NewReader(bad)); err == nil {
			t.Fatalf("byte %d of an image is flipped, and it is read", at)
		}
		if _, err := readImage(bytes.NewReader(good[:at])); err == nil {
			t.Fatalf("an image is cut at %d, and it is read", at)
		}
	}
	if _, err := readImage(bytes.NewReader(append(slices.Clone(good), 0))); err == nil {
		t.Fatal("an image with a byte too many is read")
	}
	cmd, err := encodeCommand(appendRecords{"q", 1, group(planned(1, 1))})
	must(t, err)
	for at := range cmd {
		bad := slices.Clone(cmd)
		bad[at] ^= 4
		if _, err := decodeCommand(bad); err == nil {
			t.Fatalf("byte %d of a command is flipped, and it is read", at)
		}
		if _, err := decodeCommand(cmd[:at]); err == nil {
			t.Fatalf("a command is cut at %d, and it is read", at)
		}
	}
}

func FuzzCommand(f *testing.F) {
	for _, c := range []command{setCluster{"c"}, createQuery{sampleQuery("q", "hot")}, alterQuery{"q", 1, sampleQuery("q", "n").Spec}, forgetQuery{"q", 2},
		beginLife{"q"}, appendRecords{"q", 1, group(planned(1, 0))}, truncateLog{"q", 1, 5}, setDriver{Driver{ID: "d"}}, removeDriver{"d"}, setPipeline{Pipeline{Name: "p", SQL: "q", Created: time.UnixMicro(1).UTC()}}, dropPipeline{"p"},
		assign{"q", 1, Assignment{Life: 1, Workers: []WorkerEpoch{{"w", 1}}, Partitions: []int{0}}}} {
		var e encoder
		c.encode(&e)
		f.Add(c.kind(), e.b)
	}
	f.Fuzz(func(t *testing.T, kind byte, fields []byte) {
		d := &decoder{b: fields}
		c := decodeFields(kind, d)
		if c == nil || d.end() != nil {
			return
		}
		var e encoder
		c.encode(&e)
		if !bytes.Equal(e.b, fields) {
			t.Fatalf("%T is not canonical:\n%x\n%x", c, fields, e.b)
		}
		s := newState()
		s.apply(1, createQuery{sampleQuery("q", "hot")})
		s.apply(1, c)
		s.apply(1, c)
		var b bytes.Buffer
		must(t, s.writeImage(&b))
		if _, err := readImage(&b); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzImage(f *testing.F) {
	s := newState()
	s.apply(1, createQuery{sampleQuery("q", "hot")})
	var b bytes.Buffer
	must(f, s.writeImage(&b))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readImage(bytes.NewReader(data))
		if err != nil {
			return
		}
		if !bytes.Equal(image(t, s), data) {
			t.Fatal("an image that is read is not the one that is written")
		}
	})
}
