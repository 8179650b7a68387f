package sluice

import "github.com/sluice-stream/sluice/driver"

// ErrEnded is what waiting for something of a query that has ended comes back with, such
// as Query.ProcessAllAvailable, if nothing else has ended it.
var ErrEnded = driver.ErrEnded
