package filelog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// Claim says that the batch log of a checkpoint is kept by the drivers of a cluster, and
// not in the checkpoint's folder, which holds the state. It is written once, when the
// cluster takes the folder, so that neither another cluster nor a process of its own
// takes it too (C20).
type Claim struct {
	Cluster string        `json:"cluster"` // UUID
	Query   batch.QueryID `json:"query"`
	Name    string        `json:"name"` // of the query
	Since   time.Time     `json:"since"`
}

// ClaimFile is the claim's name in the folder.
const ClaimFile = "checkpoint.drivers"

const (
	claimTitle = "sluice drivers 1 crc32c "
	claimMax   = 1 << 16
)

// ErrClaimed: the drivers of a cluster keep the checkpoint's batch log.
var ErrClaimed = errors.New("the batch log of this checkpoint is kept by the drivers of a cluster")

func (c Claim) refusal(dir string) error {
	return refuse(fmt.Errorf("%w: %s is of query %q (ID %s) of cluster %s; ask its drivers (sluice queries --server ..), or have them write a savepoint there (POST /api/queries/%s/savepoints/NAME), which any process can read and start from",
		ErrClaimed, dir, c.Name, c.Query, c.Cluster, c.Name))
}

// ReadClaim returns nil if no cluster has taken the folder.
func ReadClaim(fs vfsx.FS, dir string) (*Claim, error) {
	path := fs.PathJoin(dir, ClaimFile)
	data, err := vfsx.ReadFile(fs, path, claimMax)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err)
	}
	title, body, _ := bytes.Cut(data, []byte{'\n'})
	sum, known := bytes.CutPrefix(title, []byte(claimTitle))
	switch {
	case !known:
		return nil, damagef(path, 0, "not the claim of a cluster that this program can read")
	case string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)):
		return nil, damagef(path, 0, "the checksum is wrong")
	}
	var c Claim
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, damagef(path, 0, "%s", err)
	}
	return &c, nil
}

// WriteClaim takes a folder for a cluster. One that has a claim keeps it: the answer is
// the claim that is there then.
func WriteClaim(fs vfsx.FS, dir string, c Claim) (Claim, error) {
	body, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return Claim{}, fmt.Errorf("encode the claim of a cluster: %w", err)
	}
	body = append(body, '\n')
	data := append(fmt.Appendf(nil, "%s%08x\n", claimTitle, crc32.Checksum(body, castagnoli)), body...)
	if err := vfsx.MkdirAll(fs, dir, dirPerm); err != nil {
		return Claim{}, fmt.Errorf("claim checkpoint %s: %w", dir, explain(err))
	}
	if there, err := ReadClaim(fs, dir); err != nil || there != nil {
		if there != nil {
			c = *there
		}
		return c, err
	}
	// Of two that write at the same time the first link counts.
	own := fs.PathJoin(dir, fmt.Sprintf("%s.%s%s", ClaimFile, c.Cluster, vfsx.TempSuffix))
	if err := vfsx.WriteFileAtomic(fs, own, data); err != nil {
		return Claim{}, fmt.Errorf("claim checkpoint %s: %w", dir, explain(err))
	}
	err = fs.Link(own, fs.PathJoin(dir, ClaimFile))
	if rerr := fs.Remove(own); err == nil {
		err = rerr
	}
	if err == nil || errors.Is(err, os.ErrExist) {
		err = vfsx.SyncDir(fs, dir)
	}
	if err != nil {
		return Claim{}, fmt.Errorf("claim checkpoint %s: %w", dir, explain(err))
	}
	there, err := ReadClaim(fs, dir)
	if there == nil {
		return c, err
	}
	return *there, err
}

// DropClaim gives a folder back.
func DropClaim(fs vfsx.FS, dir string) error {
	err := fs.Remove(fs.PathJoin(dir, ClaimFile))
	if err == nil {
		err = vfsx.SyncDir(fs, dir)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("give checkpoint %s back: %w", dir, explain(err))
	}
	return nil
}

// claimed refuses a folder whose log is a cluster's.
func claimed(fs vfsx.FS, dir string) error {
	c, err := ReadClaim(fs, dir)
	if err == nil && c != nil {
		err = c.refusal(dir)
	}
	return err
}

// ReadMetadata returns whom a checkpoint belongs to; nil if that is not written there.
func ReadMetadata(fs vfsx.FS, dir string) (*Metadata, error) { return readMetadata(fs, dir) }
