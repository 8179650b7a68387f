package sources

import "github.com/sluice-stream/sluice/batch"

// Follower is implemented by sources that tell others how far a query has come. Shown
// is called with the end of each batch, in order, once every sink shows it. It never
// waits: what it starts is the source's own.
type Follower interface {
	Shown(to batch.Offset)
}
