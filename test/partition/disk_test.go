//go:build linux

package partition

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// disk is a folder of its own on which there can be no room.
type disk struct{ dir string }

// roomy is more than any disk of a test needs; what is not written costs nothing.
const roomy = 512 << 20

func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", roomy)); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{dir}
}

// fill leaves no room for another byte: the disk shrinks to what is on it.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	for range 100 { // it may grow in between
		var now syscall.Statfs_t
		if err := syscall.Statfs(d.dir, &now); err != nil {
			t.Fatal(err)
		}
		used := max(uint64(now.Blocks-now.Bfree)*uint64(now.Bsize), uint64(now.Bsize))
		if d.resize(used) == nil {
			return
		}
	}
	t.Fatalf("the disk at %s cannot be filled", d.dir)
}

// empty makes room again.
func (d *disk) empty(t *testing.T) {
	t.Helper()
	if err := d.resize(roomy); err != nil {
		t.Fatal(err)
	}
}

func (d *disk) resize(size uint64) error {
	return syscall.Mount("none", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size))
}
