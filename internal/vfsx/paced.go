package vfsx

import "github.com/cockroachdb/pebble/v2/vfs"

// pacedBytes is how much of a file is written before the disk begins with it.
const pacedBytes = 512 << 10

// Paced returns a file that hands to the disk what was written, bit by bit. A
// large file that is synced only at its end makes the small syncs of others, such as
// a log's, wait for all of it. The file is durable after Sync only, as ever.
func Paced(f File) File {
	return vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: pacedBytes, NoSyncOnClose: true})
}
