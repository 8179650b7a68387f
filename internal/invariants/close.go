package invariants

import "sync/atomic"

// CloseChecker is embedded by a type with a Close method to catch a second
// Close and a use after Close. It costs one byte-sized field without the tag.
type CloseChecker struct {
	closed atomic.Bool
}

// Close notes the close. A second one is a breach.
func (c *CloseChecker) Close() {
	if Enabled {
		Assert(!c.closed.Swap(true), "closed twice")
	}
}

// AssertOpen states that Close has not been called.
func (c *CloseChecker) AssertOpen() {
	if Enabled {
		Assert(!c.closed.Load(), "used after close")
	}
}

// AssertClosed states that Close has been called, for pools that take things back.
func (c *CloseChecker) AssertClosed() {
	if Enabled {
		Assert(c.closed.Load(), "handed back without being closed")
	}
}
