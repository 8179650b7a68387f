package statestore

import "github.com/sluice-stream/sluice/batch"

// FileMeter is a Store that can tell where its files have come from.
type FileMeter interface {
	Files() batch.FileUse
}
