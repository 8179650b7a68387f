package planner

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// unheard is an operator that restate has not been told of.
type unheard struct{ physical.Node }

func (unheard) String() string          { return "Unheard" }
func (unheard) Inputs() []physical.Node { return nil }

// TestRestateKnowsWhatItPasses refuses operators of which nobody has said what late
// rows do to them, at any depth.
func TestRestateKnowsWhatItPasses(t *testing.T) {
	late := func(in physical.Node) physical.Node {
		return &physical.LateFilter{Input: in, End: &expr.Column{DT: arrow.PrimitiveTypes.Int64}, Operator: "aggregate-1"}
	}
	scan := &physical.Scan{Out: arrow.NewSchema(nil, nil)}
	for name, c := range map[string]struct {
		root    physical.Node
		refused string
	}{
		"a scan":    {late(scan), ""},
		"a filter":  {&physical.Filter{Input: late(scan), Cond: expr.Bool(true)}, ""},
		"a new one": {&physical.Filter{Input: late(unheard{}), Cond: expr.Bool(true)}, "LATE RESTATE over Unheard"},
	} {
		r := restater{by: 5}
		r.node(c.root)
		if c.refused == "" && r.err != nil || c.refused != "" && (r.err == nil || !strings.Contains(r.err.Error(), c.refused)) {
			t.Errorf("%s: %v, want %q", name, r.err, c.refused)
		}
	}
}
