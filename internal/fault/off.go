//go:build !faults

package fault

// On says whether this build has the points.
const On = false

// Hit says that a process has come to a point.
func Hit(Point) {}

// Due reports whether the next Hit of a point ends this process, so that something can
// be left half done before it.
func Due(Point) bool { return false }
