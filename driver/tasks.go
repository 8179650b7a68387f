package driver

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
)

// A task of a Splits stage takes neighbouring splits of one source up to these
// sizes, so that hundreds of tiny files cost a handful of tasks. One that writes
// to a sink takes more: its rows become files. The sizes are constants, and not
// made from workers or cores, because a task's rows must not depend on those.
const (
	taskRowsMax  = 64 << 10
	taskBytesMax = 4 << 20
	sinkRowsMax  = 512 << 10
	sinkBytesMax = 32 << 20
)

// groupSplits cuts the splits of a stage, in their order, into tasks. A split of
// unknown size is a task of its own.
func groupSplits(splits []batch.Split, out physical.Output) [][]batch.Split {
	rowsMax, bytesMax := int64(taskRowsMax), int64(taskBytesMax)
	if _, ok := out.(physical.ToSink); ok {
		rowsMax, bytesMax = sinkRowsMax, sinkBytesMax
	}
	var groups [][]batch.Split
	var rows, bytes int64
	for i, s := range splits {
		known := s.Rows > 0 || s.Bytes > 0
		last := len(groups) - 1
		if i > 0 && known && rows+s.Rows <= rowsMax && bytes+s.Bytes <= bytesMax && groups[last][0].Source == s.Source {
			groups[last] = splits[i-len(groups[last]) : i+1]
			rows, bytes = rows+s.Rows, bytes+s.Bytes
			continue
		}
		groups = append(groups, splits[i:i+1])
		rows, bytes = s.Rows, s.Bytes
		if !known {
			rows, bytes = rowsMax, bytesMax // nothing joins it
		}
	}
	return groups
}
