package vfsx

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a file system: the real one, one in memory, or one that fails.
type FS = vfs.FS

// File is an open file or directory.
type File = vfs.File

// MemFS is a file system in memory; CrashClone gives what is left of it after a crash.
type MemFS = vfs.MemFS

// CrashCloneCfg says how much of the unsynced data a crash leaves behind, and
// from which source of randomness.
type CrashCloneCfg = vfs.CrashCloneCfg

// Unspecified is the category, for accounting, of every write of Sluice's own.
const Unspecified = vfs.WriteCategoryUnspecified

// Machine is the file system of the machine.
var Machine = vfs.Default

// Default is the file system of the machine, with what is mounted in it.
var Default FS = table

// NewMem returns an empty file system in memory.
func NewMem() *MemFS { return vfs.NewMem() }

// NewCrashableMem returns an empty file system in memory that remembers what
// was synced, for CrashClone.
func NewCrashableMem() *MemFS { return vfs.NewCrashableMem() }

// LockHeld tells a lock that somebody has from a lock file that cannot be made.
func LockHeld(err error) bool {
	var perr *os.PathError
	if errors.As(err, &perr) {
		return false
	}
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) ||
		strings.Contains(err.Error(), "held by current process") // Pebble's vfs has no value for it
}
