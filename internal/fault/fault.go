package fault

// Variable is of the environment: the file in which a point's name makes whoever comes
// to it die. It is renamed then (Taken).
const Variable = "SLUICE_FAULT"

// Taken is what the name of the file ends with once a process has died of it.
const Taken = ".taken"

// Point is a moment, by the name that the protocol's crash points have.
type Point string

// The points, in the order in which a batch passes them.
const (
	C1  Point = "C1"  // a batch is about to be planned
	C2  Point = "C2"  // its plan is durable, no task has begun
	C3  Point = "C3"  // half of a record is written to the replicated log
	C4  Point = "C4"  // a task is in the middle
	C5  Point = "C5"  // it is done, and its driver was not told
	C6  Point = "C6"  // all tasks are done, the batch is not committed
	C10 Point = "C10" // it is committed, and no sink was told
	C7  Point = "C7"  // a sink has committed it, and has not heard the answer
	C9  Point = "C9"  // one of several sinks shows it
	C8  Point = "C8"  // all of them do, and the driver does not know
	C11 Point = "C11" // files of a checkpoint are written, its record is not
	C12 Point = "C12" // files of state are merged, and not in use yet
	C13 Point = "C13" // files that no checkpoint needs are being deleted
	C14 Point = "C14" // state is being restored
)

// Points are all of them.
var Points = []Point{C1, C2, C3, C4, C5, C6, C10, C7, C9, C8, C11, C12, C13, C14}
