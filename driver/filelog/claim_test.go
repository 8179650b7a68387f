package filelog

import (
	"errors"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// A folder whose log drivers keep is taken once, and is nobody's log of files.
func TestClaim(t *testing.T) {
	fs := vfsx.NewMem()
	dir := "ck"
	mine := Claim{Cluster: "c1", Query: "q", Name: "hot", Since: time.UnixMicro(7).UTC()}
	if c, err := ReadClaim(fs, dir); c != nil || err != nil || Exists(fs, dir) {
		t.Fatalf("before: %v, %v", c, err)
	}
	for _, c := range []Claim{mine, {Cluster: "c2", Query: "r", Name: "cold"}} {
		if got, err := WriteClaim(fs, dir, c); err != nil || got != mine {
			t.Fatalf("%+v is answered by %+v, %v", c, got, err)
		}
	}
	if !Exists(fs, dir) {
		t.Error("it is no checkpoint")
	}
	if _, err := Open(Options{FS: fs, Dir: dir}); !errors.Is(err, ErrClaimed) {
		t.Errorf("open: %v", err)
	}
	if _, _, err := Records(fs, dir); !errors.Is(err, ErrClaimed) {
		t.Errorf("records: %v", err)
	}
	if _, err := Inspect(fs, dir); !errors.Is(err, ErrClaimed) {
		t.Errorf("inspect: %v", err)
	}
	path := fs.PathJoin(dir, ClaimFile)
	data, err := vfsx.ReadFile(fs, path, 1<<12)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := append([]byte{}, data...)
		bad[i] ^= 1
		if err := vfsx.WriteFileAtomic(fs, path, bad); err != nil {
			t.Fatal(err)
		}
		if c, err := ReadClaim(fs, dir); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d flipped: %+v, %v", i, c, err)
		}
		if _, err := Open(Options{FS: fs, Dir: dir}); err == nil {
			t.Fatalf("byte %d flipped: it opens", i)
		}
	}
	if err := DropClaim(fs, dir); err != nil || Exists(fs, dir) && func() bool { c, _ := ReadClaim(fs, dir); return c != nil }() {
		t.Errorf("after: %v", err)
	}
	if err := DropClaim(fs, dir); err != nil {
		t.Errorf("again: %v", err)
	}
	log, err := Open(Options{FS: fs, Dir: dir, Metadata: Metadata{Name: "hot"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
