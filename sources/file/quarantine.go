package file

import (
	"path/filepath"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Quarantiner = (*reader)(nil)

// SetAside implements sources.Quarantiner: the format finds the rows, the file's
// name is put on them here.
func (r *reader) SetAside(to func(row batch.BadRow) error) {
	q, ok := r.in.(formats.Quarantiner)
	if !ok {
		return // damage of such a file is not of single rows
	}
	q.SetAside(func(row batch.BadRow) error {
		row.File = filepath.ToSlash(r.e.Path)
		return to(row)
	})
}
