package filelog

import (
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/logtest"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

type subject struct {
	fs   vfsx.FS
	term batch.Term
}

func (s *subject) Open(t *testing.T) (driver.BatchLog, batch.Term) {
	s.term++
	return open(t, s.fs), s.term
}

func TestBatchLog(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Subject { return &subject{fs: vfsx.NewMem()} })
}
