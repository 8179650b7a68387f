package sinks

import "github.com/sluice-stream/sluice/batch"

// Measurer is implemented by sinks that can tell what a batch has written.
type Measurer interface {
	// Metrics are figures for the progress of a batch, by name, of its prepared output. It
	// does no I/O.
	Metrics(parts []batch.Prepared) map[string]string
}
