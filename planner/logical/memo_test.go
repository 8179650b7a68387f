package logical

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// TestSchemaOfCopies holds that a copy whose fields were set has a schema of its own,
// although it carries its original's memo.
func TestSchemaOfCopies(t *testing.T) {
	j := &Join{Left: &Range{Name: "a"}, Right: &Range{Name: "b"}, Kind: Inner}
	if got := j.Schema().NumFields(); got != 2 {
		t.Fatalf("an inner join has %d columns, want 2", got)
	}
	c := *j
	c.Kind = LeftSemi
	if got := c.Schema().NumFields(); got != 1 {
		t.Errorf("its copy as a semi join has %d columns, want 1", got)
	}
	outer := j.WithInputs([]Node{j, &Range{Name: "c"}})
	if got := outer.Schema().NumFields(); got != 3 {
		t.Errorf("a join of it with another has %d columns, want 3", got)
	}
	if got := j.Schema().NumFields(); got != 2 {
		t.Errorf("now it has %d columns itself, want 2", got)
	}
}

// TestSchemaOnce holds that a deep plan is asked for its schema at no cost but the first time.
func TestSchemaOnce(t *testing.T) {
	var n Node = &Range{Name: "id"}
	for range 100 {
		n = &Join{Left: n, Right: &Union{In: []Node{&Range{Name: "x"}}}, Kind: LeftOuter}
		n = &Window{Input: &Limit{Input: n, Count: 1}, Time: windowTime{}}
	}
	first := n.Schema()
	if got := testing.AllocsPerRun(10, func() { n.Schema() }); got != 0 {
		t.Errorf("asking again takes %v allocations, want none", got)
	}
	if n.Schema() != first {
		t.Error("asking again gives another schema")
	}
}

// windowTime is a time of nothing but a type.
type windowTime struct{ expr.Expr }

func (windowTime) Type() arrow.DataType { return arrow.FixedWidthTypes.Timestamp_us }
