package vfsx

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/sluice-stream/sluice/batch"
)

// Explain adds to a failed file operation what the user can do about it. Folder is
// what could not be written ("checkpoint"), and owner what stands still for it ("query").
func Explain(err error, folder, owner string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		err = fmt.Errorf("the disk is full: %w; nothing is lost: free some space and start the %s again", err, owner)
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("the %s cannot be written: %w; it needs a folder that this user may write to", folder, err)
	case errors.Is(err, syscall.EIO):
		err = fmt.Errorf("the disk reports an error: %w; check it before the %s is started again", err, owner)
	}
	return batch.ExternalError(err, false)
}
