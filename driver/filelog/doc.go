// Package filelog keeps a query's batch log and checkpoint metadata in a folder
// on one machine. The byte forms are in docs/formats/batch-log.md and
// docs/formats/checkpoint-metadata.md.
//
//	<checkpoint>/checkpoint.meta   who the checkpoint belongs to, written once
//	<checkpoint>/LOCK, OWNER       one process at a time, and which one
//	<checkpoint>/BALLAST           space to give back when the disk is full
//	<checkpoint>/log/00000001.log  segments of the batch log
//
// One Append is one write and one fdatasync, however many records it holds: they
// are one group, and a group is there as a whole or not at all.
//
// What it never does: decide what records mean; retry a failed sync (the kernel
// may have dropped the page and report success the next time); repair anything
// but a torn tail.
//
// Invariants:
//
//	L1  Append returns nil only when the group is durable.
//	L2  After a failed write or sync nothing is appended any more: the log is
//	    poisoned, and what the disk holds is found out by opening it again.
//	L3  Only a group with nothing valid after it can be torn, since a group is
//	    written after the one before is durable. A torn one is cut off; any other
//	    damage is refused with file and place.
//	L4  Two processes never have the same checkpoint open; an older term never writes.
//	L5  Metadata is never made anew over existing records (C22).
//
// Example:
//
//	log, err := filelog.Open(filelog.Options{Dir: "ck/hot", Metadata: filelog.Metadata{Name: "hot_items", SQL: text}})
//	id := log.Metadata().Query // drawn at the first start, the same ever after
//	for rec, err := range log.Replay(ctx, 0) { .. }
//	err = log.Append(ctx, term, records...)
package filelog
