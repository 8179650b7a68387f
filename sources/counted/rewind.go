package counted

import (
	"context"
	"fmt"
	"strconv"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Rewinder = (*Source)(nil)

// Rewind implements sources.Rewinder: every row can be made again.
func (s *Source) Rewind(_ context.Context, from, to batch.Offset, limit sources.Limit) ([]batch.Offset, error) {
	a, err := s.position(from)
	if err != nil {
		return nil, err
	}
	b, err := s.position(to)
	if err != nil {
		return nil, err
	}
	if a > b {
		return nil, fmt.Errorf("%s: the range from %q to %q is turned round", s.t.Spec, from, to)
	}
	var out []batch.Offset
	for _, n := range sources.Steps(a, b, s.t.RowBytes, limit) {
		out = append(out, batch.Offset(strconv.FormatInt(n, 10)))
	}
	return out, nil
}
