package functions

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// LambdaParams returns the types of the n parameters of a lambda that is given
// to a function behind args: the binder needs them before it can bind the body.
func LambdaParams(name string, args []expr.Expr, n int) ([]arrow.DataType, error) {
	e, ok := Lookup(name)
	if !ok {
		return nil, &ErrUnknown{Name: name}
	}
	if e.lambda == nil {
		return nil, batch.UserErrorf("%s does not take a lambda", e.Name())
	}
	canon := make([]expr.Expr, len(args))
	for i, a := range args {
		canon[i] = canonical(a)
	}
	types, err := e.lambda(canon, n)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", e.Name(), err)
	}
	return types, nil
}
