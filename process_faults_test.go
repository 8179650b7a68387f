package sluice

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

// failing does what a function says.
type failing struct {
	ProcessorBase
	open    func(c *ProcessorContext) error
	process func(c *ProcessorContext, key Row, rows *Rows) error
}

func (p *failing) Open(c *ProcessorContext) error {
	if p.open == nil {
		return nil
	}
	return p.open(c)
}

func (p *failing) Process(c *ProcessorContext, key Row, rows *Rows) error {
	if p.process == nil {
		return nil
	}
	return p.process(c, key, rows)
}

func TestProcessNamesWhatFailed(t *testing.T) {
	boom := errors.New("boom")
	cases := []struct {
		name string
		p    failing
		want string
	}{
		{"error", failing{process: func(*ProcessorContext, Row, *Rows) error { return boom }}, `processor "p": Process of key [a, 1]: boom`},
		{"panic", failing{process: func(_ *ProcessorContext, key Row, _ *Rows) error { var r Row; _ = r[3]; return nil }}, `processor "p": Process of key [a, 1]: panic: runtime error: index out of range`},
		{"open", failing{open: func(*ProcessorContext) error { return boom }}, `processor "p": Open: boom`},
		{"state type", failing{open: func(c *ProcessorContext) error { NewValueState[chan int](c, "s"); return nil }}, `state "s": there is no column type for chan int`},
		{"state twice", failing{open: func(c *ProcessorContext) error {
			NewValueState[int64](c, "s")
			NewListState[int64](c, "s")
			return nil
		}}, `state "s" is declared twice`},
		{"too few values", failing{process: func(c *ProcessorContext, _ Row, _ *Rows) error { return c.Emit() }}, "a row of 0 values for an output of 1 columns"},
		{"does not fit", failing{process: func(c *ProcessorContext, _ Row, _ *Rows) error { return c.Emit("x") }}, `column "n": a value of type string, x, does not fit into int64`},
		{"half a row", failing{process: func(c *ProcessorContext, _ Row, _ *Rows) error { _ = c.Emit(1.5); return c.Emit(1, 2) }}, "a row of 2 values"},
		{"no output", failing{process: func(c *ProcessorContext, _ Row, _ *Rows) error { return c.EmitTo("x", 1) }}, `there is no output "x"`},
		{"no update", failing{process: func(c *ProcessorContext, _ Row, _ *Rows) error { return c.Delete(1) }}, "a row can be deleted from the main output of a processor with UpdateBy only"},
		{"undeclared", failing{process: func(c *ProcessorContext, _ Row, _ *Rows) error { var s ValueState[int64]; return s.Update(1) }}, "a state is used that Open has not declared"},
	}
	for _, c := range cases {
		s := openSession(t, Options{})
		rows, err := s.SQL(t.Context(), "SELECT * FROM VALUES ('a', 1L) AS t(k, i)")
		if err != nil {
			t.Fatal(err)
		}
		_, err = rows.KeyBy("k", "i").Process("p", func() Processor { p := c.p; return &p }, "n BIGINT").Collect(t.Context())
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		wantError(t, err, c.want)
		st, err := s.CreateStream("st", schemaOf(t, s, "k STRING, i BIGINT"))
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.Table("st").KeyBy("k", "i").Process("p", func() Processor { p := c.p; return &p }, "n BIGINT").
			WriteToMemory("out").Name("q").Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		add(t, st, "a,1")
		st.End()
		wantError(t, q.Await(t.Context()), c.want)
	}
}

func TestProcessIsRefusedEarly(t *testing.T) {
	s := testTables(t)
	make := func() Processor { return &failing{} }
	for _, c := range []struct {
		d    *DataFrame
		want string
	}{
		{s.Table("t").KeyBy().Process("p", make, "n BIGINT"), "KeyBy needs a column"},
		{s.Table("t").KeyBy("nope").Process("p", make, "n BIGINT"), "nope"},
		{s.Table("t").KeyBy(Sum(Col("v"))).Process("p", make, "n BIGINT"), "a key is computed of each row alone"},
		{s.Table("t").KeyBy("k").Process("p q", make, "n BIGINT"), "a name has 1 to 64 letters"},
		{s.Table("t").KeyBy("k").Process("p", make, 7), "columns are a int"},
		{s.Table("t").KeyBy("k").Process("p", make, "n BIGINT", UpdateBy("m")), `UpdateBy names "m"`},
		{s.Table("t").KeyBy("k").Process("p", make, "n BIGINT").SideOutput("x"), `no output "x"`},
		{s.Table("t").SideOutput("x"), "SideOutput is of the DataFrame that Process has made"},
		{s.Table("t").KeyBy("k").Process("p", make, "n BIGINT", InitialState(s.Table("u"), "k", "name")), "the initial state has 2 keys"},
		{s.Table("t").KeyBy("k").Process("p", make, "n BIGINT", InitialState(s.Table("u"), "k")), "has no method Initial"},
	} {
		_, err := c.d.Collect(t.Context())
		wantError(t, err, c.want)
	}
}

// Versions of the state of one processor.
type (
	stateV1 struct{ A int64 }
	stateV2 struct {
		A int64
		B *string
	}
	stateBad struct {
		A int64
		C int64
	}
	stateOther struct{ A string }
)

// keeper counts in the field A of its state.
func keeper[T any](read func(T) int64, write func(n int64) T) func() Processor {
	return func() Processor {
		var st *ValueState[T]
		return &failing{
			open: func(c *ProcessorContext) error { st = NewValueState[T](c, "s"); return nil },
			process: func(c *ProcessorContext, _ Row, rows *Rows) error {
				v, _, err := st.Get()
				if err != nil {
					return err
				}
				n := read(v) + int64(rows.Len())
				return errors.Join(st.Update(write(n)), c.Emit(n))
			},
		}
	}
}

func TestProcessStateGrowsByNullableFields(t *testing.T) {
	dir := t.TempDir()
	text := "x"
	run := func(name string, make func() Processor, opts ...ProcessOption) ([]string, error) {
		s := openSession(t, Options{CheckpointDir: filepath.Join(dir, "ck")})
		defer s.Close()
		must(t, s, fmt.Sprintf(processEvents, dir))
		q, err := s.Table("events").KeyBy("user").Process(name, make, "n BIGINT", opts...).WriteToMemory("out").Name("q").Trigger(AvailableNow()).Start(t.Context())
		if err != nil {
			return nil, err
		}
		if err := q.Await(t.Context()); err != nil {
			return nil, err
		}
		return rowsOf(t, s.MemoryTable("out")), nil
	}
	v1 := keeper(func(s stateV1) int64 { return s.A }, func(n int64) stateV1 { return stateV1{n} })
	v2 := keeper(func(s stateV2) int64 {
		if s.A > 2 && (s.B == nil || *s.B != text) {
			return -100
		}
		return s.A
	}, func(n int64) stateV2 { return stateV2{n, &text} })
	bad := keeper(func(s stateBad) int64 { return s.A }, func(n int64) stateBad { return stateBad{n, 1} })
	other := keeper(func(s stateOther) int64 { return 0 }, func(n int64) stateOther { return stateOther{} })
	events := []string{"a,2024-01-01 00:00:00,1"}
	for i, c := range []struct {
		make func() Processor
		name string
		opts []ProcessOption
		want []string
		err  string
	}{
		{make: v1, want: []string{"a|1"}},
		{make: v1, want: []string{"a|2"}},
		{make: v2, want: []string{"a|3"}},
		{make: v2, want: []string{"a|4"}},
		{make: v2, name: "q", err: `the name and version that it had; here is "q")`},
		{make: v2, opts: []ProcessOption{ProcessVersion("2")}, err: `here is "p" version 2)`},
		{make: v1, err: "state \"s\" is not what the checkpoint holds: field B"},
	} {
		feedFiles(t, dir, i, events)
		name := c.name
		if name == "" {
			name = "p"
		}
		got, err := run(name, c.make, c.opts...)
		if c.err != "" {
			wantError(t, err, c.err)
			continue
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("run %d: got %v %v, want %v", i, got, err, c.want)
		}
	}
	for _, c := range []struct {
		make func() Processor
		err  string
	}{{bad, "field 2 was B, now it is C"}, {other, "field A was int64, now it is utf8"}} {
		_, err := run("p", c.make)
		wantError(t, err, c.err)
	}
}

type reading struct {
	K *int64
	V float64
}

type spread struct {
	N      int64
	Lo, Hi *float64
}

func TestMapGroupsAnswersAsTheBatchDoes(t *testing.T) {
	s := testTables(t)
	f := func(_ Row, rows []reading) (spread, error) {
		out := spread{N: int64(len(rows))}
		for _, r := range rows {
			if out.Lo == nil || r.V < *out.Lo {
				out.Lo = &r.V
			}
			if out.Hi == nil || r.V > *out.Hi {
				out.Hi = &r.V
			}
		}
		return out, nil
	}
	want := query(t, s, "SELECT k, count(*), min(coalesce(v, 0)), max(coalesce(v, 0)) FROM t GROUP BY k")
	same(t, "a batch", rowsOf(t, MapGroups(s.Table("t").KeyBy("k"), "spread", f)), want...)
	st, err := s.CreateStream("st", schemaOf(t, s, "k BIGINT, v DOUBLE"))
	if err != nil {
		t.Fatal(err)
	}
	q, err := MapGroups(s.Table("st").KeyBy("k"), "spread", f).WriteToMemory("out").Mode(Complete).Name("q").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, lines := range []string{"1,1.5\n2,7", "1,0.5\n3,NULL", "2,9\n1,2\n1,3"} {
		add(t, st, lines)
		process(t, q)
		same(t, "a stream", rowsOf(t, s.MemoryTable("out")), query(t, s, "SELECT k, count(*), min(coalesce(v, 0)), max(coalesce(v, 0)) FROM st GROUP BY k")...)
	}
	pairs := FlatMapGroups(s.Table("t").Where("k IS NOT NULL").KeyBy(Col("k").Plus(1).As("j")), "pairs", func(key Row, rows []reading) ([]spread, error) {
		return make([]spread, len(rows)), nil
	}).GroupBy("j").Count()
	same(t, "any number of rows", rowsOf(t, pairs), query(t, s, "SELECT k + 1, count(*) FROM t WHERE k IS NOT NULL GROUP BY k")...)
}
