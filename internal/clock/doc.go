// Package clock is where time comes from. Only the driver, the worker and the
// connectors hold a Clock; the protocol core and the planner get time inside
// events and plans, so that the same input always gives the same output.
//
// System is the machine's clock. Manual stands still until a test or the
// simulator advances it, and then runs what became due on the caller's
// goroutine, in order of time and then of registration.
//
// What the package never does: start a goroutine of its own (System's timers
// are the run time's).
//
// Invariants:
//
//	K1  Now never falls on a Manual clock.
//	K2  Under Manual, a function registered with AfterFunc sees Now equal to the
//	    time that it was due at, whatever the length of the advance.
//	K3  After stop has returned true the function does not run.
//
// Example:
//
//	c := clock.NewManual(time.Unix(0, 0))
//	c.AfterFunc(time.Second, func() { fired = true })
//	c.Advance(time.Second) // fired is true when it returns
package clock
