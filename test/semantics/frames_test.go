package semantics

import (
	"context"

	"github.com/sluice-stream/sluice"
)

// frames are the queries that SQL cannot write: processors.
var frames = map[string]func(ctx context.Context, s *sluice.Session) (*sluice.DataFrame, error){}
