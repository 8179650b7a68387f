package planner

import (
	"fmt"

	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
)

// timeLost says which join below an operator has left it without event time, "" if
// none has.
func timeLost(n logical.Node) string {
	for _, in := range n.Inputs() {
		if j := incremental.LosesTime(in); j != nil {
			return fmt.Sprintf("; below it %q passes no event time on, since a row may meet one of the other side at any time later: "+
				"bound in its condition how far apart the event times of both sides are, or join equal windows", j.String())
		}
	}
	return ""
}
