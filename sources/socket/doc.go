// Package socket reads lines of text from a TCP connection, for trying things out
// (with nc -lk, say) and for small feeds.
//
// A socket cannot be read twice, so what a batch reads is written to an input log
// in the source's own folder of the checkpoint before the batch is planned, and
// read from there when it is planned again after a restart. Lines that had arrived
// but were in no batch when the process ended are lost: the sender cannot know.
//
// Columns: value STRING, and with 'include-timestamp' = 'true' the time at which a
// line arrived, which is logged with it. Bytes that are no UTF-8 are replaced.
//
// When the connection breaks, or cannot be made, it is tried again a limited
// number of times; the beginning of a line that a broken connection cut is thrown
// away. When the sender closes it in order, the stream ends, or is connected again
// with 'on-close' = 'reconnect'. While no batch takes lines, at most
// 'buffer-bytes' are taken from the connection, and then the sender has to wait.
//
// Invariants:
//
//	O1  A line is durable in the input log before an offset behind it is known.
//	O2  The input log ends with the newest offset that was ever returned: its last
//	    segment stays, even when all in it is released.
package socket
