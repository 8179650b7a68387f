package sources

import "github.com/sluice-stream/sluice/batch"

// Measurer is implemented by sources that can tell how far a query is behind them.
type Measurer interface {
	// Metrics are figures for the progress of a batch that ends at a position, by name.
	// It does no I/O and does not wait for any: what it cannot know at once it leaves out.
	Metrics(at batch.Offset) map[string]string
}
