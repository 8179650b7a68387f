package codecs

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

func protobufOptions() []options.Option { return nil }

func openProtobuf(s Spec) (Codec, error) {
	return nil, batch.UserErrorf("%s: not yet", s.What)
}
