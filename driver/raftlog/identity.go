package raftlog

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

const (
	metaFile  = "node.meta"
	metaTitle = "sluice driver 1 crc32c "
)

// identity says who a disk is. It is written once. A driver that comes back without
// its disk is another one: what it promised to others it no longer knows (R7).
type identity struct {
	id   string // the driver's name
	disk string // UUID
}

func (v identity) encode() []byte {
	body := fmt.Appendf(nil, "id %s\ndisk %s\n", v.id, v.disk)
	return append(fmt.Appendf(nil, "%s%08x\n", metaTitle, crc32.Checksum(body, castagnoli)), body...)
}

func decodeIdentity(data []byte) (v identity, err error) {
	title, body, _ := bytes.Cut(data, []byte{'\n'})
	sum, known := bytes.CutPrefix(title, []byte(metaTitle))
	switch {
	case !known:
		return v, errors.New("not the identity of a driver that this program can read")
	case string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)):
		return v, errors.New("the checksum is wrong")
	}
	if n, err := fmt.Sscanf(string(body), "id %s\ndisk %s\n", &v.id, &v.disk); n != 2 || err != nil {
		return v, fmt.Errorf("it names no driver: %w", errors.Join(err, errShort))
	}
	return v, nil
}

// readIdentity returns zero if there is none.
func readIdentity(fs vfsx.FS, dir string) (identity, error) {
	path := fs.PathJoin(dir, metaFile)
	data, err := vfsx.ReadFile(fs, path, 1<<12)
	if errors.Is(err, os.ErrNotExist) {
		return identity{}, nil
	}
	if err != nil {
		return identity{}, explain(err)
	}
	v, err := decodeIdentity(data)
	if err != nil {
		return identity{}, damagef(path, 0, "%s", err)
	}
	return v, nil
}

// drawUUID returns a random UUID of version 4.
func drawUUID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw an ID: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// A member's address within raft is where it listens and which disk it has to have:
// whoever answers there with another one is not talked to.

func joinAddress(hostPort, disk string) raft.ServerAddress {
	return raft.ServerAddress(hostPort + "/" + disk)
}

func splitAddress(a raft.ServerAddress) (hostPort, disk string) {
	hostPort, disk, _ = strings.Cut(string(a), "/")
	return hostPort, disk
}
