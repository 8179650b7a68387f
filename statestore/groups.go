package statestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/sluice-stream/sluice/batch"
)

// Groups is the digest and size of each key group of a shard, by key group from
// the shard's first one on, packed: so the state of a shard that is cut anew is
// known without reading its rows.
type Groups []byte

// groupsForm opens the packed form.
const groupsForm = 1

// PackGroups packs the groups of a shard, all of them in order.
func PackGroups(list []Version) Groups {
	b := []byte{groupsForm}
	empty := uint64(0)
	for _, v := range list {
		if v == (Version{}) {
			empty++
			continue
		}
		b = binary.AppendUvarint(b, empty)
		empty = 0
		b = binary.BigEndian.AppendUint64(b, v.Digest.Hi)
		b = binary.BigEndian.AppendUint64(b, v.Digest.Lo)
		b = binary.AppendUvarint(b, uint64(v.Rows))
		b = binary.AppendUvarint(b, uint64(v.Bytes))
	}
	return b
}

var errGroups = errors.New("malformed list of key groups")

// Unpack returns the groups of a shard and checks that they add up to its state.
func (g Groups) Unpack(shard batch.Shard, state Version) ([]Version, error) {
	n := shard.EndGroup - shard.FirstGroup
	if n < 0 || n > batch.KeyGroups || len(g) == 0 || g[0] != groupsForm {
		return nil, fmt.Errorf("state of shard %s: %w", shard, errGroups)
	}
	out := make([]Version, n)
	var sum Version
	at := 0
	for b := []byte(g[1:]); len(b) > 0; at++ {
		empty, w := binary.Uvarint(b)
		if w <= 0 || empty >= uint64(n-at) || len(b) < w+16 {
			return nil, fmt.Errorf("state of shard %s: %w", shard, errGroups)
		}
		at += int(empty)
		v := Version{Digest: batch.Digest{Hi: binary.BigEndian.Uint64(b[w:]), Lo: binary.BigEndian.Uint64(b[w+8:])}}
		b = b[w+16:]
		for _, p := range []*int64{&v.Rows, &v.Bytes} {
			u, w := binary.Uvarint(b)
			if w <= 0 || u > math.MaxInt64 {
				return nil, fmt.Errorf("state of shard %s: %w", shard, errGroups)
			}
			*p, b = int64(u), b[w:]
		}
		out[at] = v
		sum = sum.Add(v)
	}
	if sum != state {
		return nil, fmt.Errorf("state of shard %s: its key groups hold %d rows with digest %s, not %d with %s", shard, sum.Rows, sum.Digest, state.Rows, state.Digest)
	}
	return out, nil
}

// Add returns the version of two disjoint sets of rows together.
func (v Version) Add(o Version) Version {
	return Version{Digest: v.Digest.Add(o.Digest), Rows: v.Rows + o.Rows, Bytes: v.Bytes + o.Bytes}
}
