package driver

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
)

// An attempt that hangs is cancelled and tried again, unless its reader has given
// rows of it out: those would come twice.
func TestAttemptsOfTheTaskThatIsRead(t *testing.T) {
	for _, given := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, 1000)
			defer b.close()
			b.opt.TaskTimeout = time.Minute
			b.opt.Plan = &physical.Plan{Key: "select", Sources: []physical.Source{{Name: "n#0"}},
				Stages: []*physical.Stage{{ID: 0, Kind: physical.Splits, Root: &physical.Scan{Source: "n#0"}, Sources: []string{"n#0"}, Output: physical.ToClient{}}}}
			b.worker.hold = func(s batch.TaskSpec) bool { return s.Task.Partition == 2 && s.Task.Attempt == 0 }
			cut := 0
			b.worker.cut = func(ref transport.StreamRef) (arrow.RecordBatch, error) {
				if !given || ref.Task != 2 || cut > 0 {
					return nil, nil
				}
				cut++
				return (&numberReader{rows: []int64{14, 15}}).Next(t.Context())
			}
			r, err := RunBatch(t.Context(), b.opt)
			b.must(err)
			next := int64(0)
			for err == nil {
				var rec arrow.RecordBatch
				if rec, err = r.Next(t.Context()); err != nil {
					break
				}
				for _, v := range rec.Column(0).(*array.Int64).Int64Values() {
					if v != next {
						t.Fatalf("row %d, want %d", v, next)
					}
					next++
				}
				rec.Release()
			}
			if given && (next != 16 || !strings.Contains(err.Error(), "took longer")) {
				t.Errorf("rows were given out: %d rows and %v", next, err)
			}
			if !given && (next != 1000 || err != io.EOF) {
				t.Errorf("none were given out: %d rows and %v", next, err)
			}
			b.must(r.Close())
		})
	}
}
