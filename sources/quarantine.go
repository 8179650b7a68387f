package sources

import "github.com/sluice-stream/sluice/batch"

// Quarantiner is implemented by readers of sources whose rows can be bad one by
// one. SetAside is called before the first Next; a reader that nobody told where
// bad rows go to stops at the first.
type Quarantiner interface {
	SetAside(to func(row batch.BadRow) error)
}
