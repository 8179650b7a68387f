// Package vfsx is the one door to the file system for everything that must
// survive a crash: batch log, checkpoints, sinks' manifests, state.
//
// It renames what is used of Pebble's vfs and errorfs, so that tests swap the
// disk for one in memory that forgets what was not synced (NewCrashableMem
// and CrashClone) or that fails on demand (Wrap), and adds the few steps that
// are wrong more often than right when written by hand: replacing a file as a
// whole, making directories that are still there after a power cut, and
// reading a file whose size is not to be trusted.
//
// What the package never does: retry a failed sync. After one the kernel may
// have dropped the pages and report success the next time, so the caller has
// to give up what it was writing.
//
// Invariants:
//
//	F1  WriteFileAtomic leaves either the whole old or the whole new file, also
//	    after a crash, and the new one if it returned nil.
//	F2  A directory made by MkdirAll is there after a crash, and its parents too.
//
// Example:
//
//	if err := vfsx.WriteFileAtomic(fs, fs.PathJoin(dir, "MANIFEST"), manifest); err != nil {
//		return fmt.Errorf("write the manifest of checkpoint %d: %w", id, err)
//	}
package vfsx
