package filelog

import (
	"errors"
	"os"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

// Records reads a checkpoint's metadata and all records of its log without its
// lock, oldest first, and changes nothing. The end of an append under way is left
// out. Damage is refused. Records of a batch whose plan was truncated are left out.
func Records(fs vfsx.FS, dir string) (Metadata, []microbatch.Record, error) {
	for try := 1; ; try++ {
		m, recs, err := readRecords(fs, dir)
		if err == nil || try == inspectTries || !errors.Is(err, os.ErrNotExist) {
			return m, recs, err
		}
	}
}

func readRecords(fs vfsx.FS, dir string) (Metadata, []microbatch.Record, error) {
	if err := claimed(fs, dir); err != nil {
		return Metadata{}, nil, err
	}
	meta, err := readMetadata(fs, dir)
	if err != nil {
		return Metadata{}, nil, err
	}
	if meta == nil {
		return Metadata{}, nil, refuse(ErrNoMetadata)
	}
	var recs []microbatch.Record
	begun := false
	segs, err := scanAll(fs, fs.PathJoin(dir, logDir), func(_ *segmentPlace, r microbatch.Record) error {
		switch r.(type) {
		case microbatch.Planned, microbatch.Adopted:
			begun = true
		case microbatch.Committed, microbatch.Checkpointed:
			if !begun {
				return nil
			}
		default: // Started goes with whatever follows it
		}
		recs = append(recs, r)
		return nil
	})
	if err != nil {
		return *meta, nil, err
	}
	if len(segs) == 0 {
		return *meta, nil, refuse(ErrNoLog)
	}
	return *meta, recs, joinUp(segs, meta.Query)
}
