package incremental

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

var table = &logical.Table{Name: "t", Stream: true, Schema: arrow.NewSchema([]arrow.Field{
	{Name: "k", Type: expr.TypeString}, {Name: "ts", Type: expr.TypeLocalTime}, {Name: "other", Type: expr.TypeLocalTime},
}, nil)}

// still is read whole.
var still = &logical.Table{Name: "u", Schema: table.Schema}

func marked() logical.Node {
	return &logical.Watermark{Input: &logical.Scan{Table: table}, Col: 1, Delay: time.Minute}
}

func col(n logical.Node, i int) expr.Expr {
	f := n.Schema().Field(i)
	return &expr.Column{Index: i, Name: f.Name, DT: f.Type}
}

func window(kind logical.WindowKind, over int) *logical.Window {
	in := marked()
	return &logical.Window{Input: in, Kind: kind, Time: col(in, over), Size: time.Hour, Slide: time.Minute}
}

func group(in logical.Node, keys ...int) *logical.Aggregate {
	a := &logical.Aggregate{Input: in}
	for _, k := range keys {
		a.Keys = append(a.Keys, col(in, k))
		a.Names = append(a.Names, in.Schema().Field(k).Name)
	}
	return a
}

// join is an inner join by one column of both sides.
func join(l, r logical.Node, key int) *logical.Join {
	return &logical.Join{Left: l, Right: r, LeftKeys: []expr.Expr{col(l, key)}, RightKeys: []expr.Expr{col(r, key)}, NullSafe: []bool{false}}
}

const hour = int64(3600e6)

func TestEventTimes(t *testing.T) {
	tumble := window(logical.Tumble, 1)
	chained := group(tumble, 4, 0)
	swapped := &logical.Project{Input: marked(), Names: []string{"ts", "sum"}, Exprs: []expr.Expr{
		col(marked(), 1), &expr.Cast{Arg: col(marked(), 1), DT: expr.TypeString},
	}}
	cases := []struct {
		name string
		node logical.Node
		want map[int]Time
	}{
		{"watermark", marked(), map[int]Time{1: {}}},
		{"tumble", tumble, map[int]Time{1: {}, 3: {Shift: hour}, 4: {}, 5: {Shift: 1}}},
		{"cumulate: a start tells no end", window(logical.Cumulate, 1), map[int]Time{1: {}, 4: {}, 5: {Shift: 1}}},
		{"window over another column", window(logical.Tumble, 2), map[int]Time{1: {}}},
		{"only what is passed on unchanged", swapped, map[int]Time{0: {}}},
		{"closed windows are on time", chained, map[int]Time{0: {OnTime: true}}},
		{"union of equals", &logical.Union{In: []logical.Node{tumble, window(logical.Tumble, 1)}}, map[int]Time{1: {}, 3: {Shift: hour}, 4: {}, 5: {Shift: 1}}},
		{"union with a plain scan", &logical.Union{In: []logical.Node{marked(), &logical.Scan{Table: table}}}, map[int]Time{}},
		{"join with a table", &logical.Join{Left: &logical.Scan{Table: still}, Right: marked()}, map[int]Time{4: {}}},
		{"join of streams that time does not bound", join(marked(), marked(), 0), map[int]Time{}},
		{"semi join that time does not bound", &logical.Join{Kind: logical.LeftSemi, Left: marked(), Right: marked()}, map[int]Time{}},
		{"join of equal windows", join(tumble, window(logical.Tumble, 1), 4), map[int]Time{4: {OnTime: true}, 10: {OnTime: true}}},
		{"join of windows by their starts", join(tumble, window(logical.Tumble, 1), 3), map[int]Time{3: {Shift: hour, OnTime: true}, 9: {Shift: hour, OnTime: true}}},
		{"a time inside of the window that closes", group(window(logical.Hop, 1), 1, 4), map[int]Time{0: {OnTime: true}}},
		{"start and end of the window that closes", group(tumble, 3, 4), map[int]Time{0: {Shift: hour, OnTime: true}, 1: {OnTime: true}}},
	}
	for _, c := range cases {
		if got := EventTimes(c.node); !maps.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestEndKey(t *testing.T) {
	cases := []struct {
		name string
		agg  *logical.Aggregate
		key  int
		time Time
	}{
		{"the end before the start", group(window(logical.Tumble, 1), 3, 4, 0), 1, Time{}},
		{"the start alone", group(window(logical.Tumble, 1), 0, 3), 1, Time{Shift: hour}},
		{"the raw event time closes first", group(window(logical.Hop, 1), 3, 1), 1, Time{}},
		{"no window", group(marked(), 0), -1, Time{}},
	}
	for _, c := range cases {
		if key, time := EndKey(c.agg); key != c.key || time != c.time {
			t.Errorf("%s: got %d %v, want %d %v", c.name, key, time, c.key, c.time)
		}
	}
}

func TestJudge(t *testing.T) {
	for mode, want := range map[string]string{"append": "bounded by the watermark", "complete": "distinct keys"} {
		if got := Judge("op", group(window(logical.Tumble, 1), 4), mode).String(); !strings.Contains(got, want) {
			t.Errorf("%s: %s", mode, got)
		}
	}
	if got := Judge("op", group(marked()), "update").String(); !strings.Contains(got, "single row") {
		t.Error(got)
	}
}
