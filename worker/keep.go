package worker

import "github.com/sluice-stream/sluice/executor/exchange"

// Keep takes rows for other nodes, which read them as they do the outputs of tasks. They
// go when the plan's batches before a later one do. ref names a stage that the plan does
// not have.
func (w *Worker) Keep(ref exchange.Ref) *exchange.Writer { return w.outputs.Writer(ref, false) }
