package wire

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// codec is gRPC's way to messages. Control frames are bytes that are encoded and decoded
// by who sends and takes them, and rows are laid out without a copy in between.
type codec struct{}

// raw is a message as bytes: what is sent is head followed by body.
type raw struct{ head, body []byte }

// Name says that the bytes are those of Protocol Buffers.
func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *raw:
		return mem.BufferSlice{mem.SliceBuffer(v.head), mem.SliceBuffer(v.body)}, nil
	case *outgoing:
		return v.take(), nil
	default:
		return nil, fmt.Errorf("a message of type %T has no form on the wire", v)
	}
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *raw:
		v.head, v.body = nil, data.Materialize()
		return nil
	case *incoming:
		v.parse(data)
		return nil
	default:
		return fmt.Errorf("a message of type %T has no form on the wire", v)
	}
}

// Ticket is Flight's message around a ticket's bytes.
func ticketOut(b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
}

func ticketIn(b []byte) ([]byte, error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, fmt.Errorf("a ticket: %w", errFrame)
		}
		b = b[n:]
		if num == 1 && typ == protowire.BytesType {
			t, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return nil, fmt.Errorf("a ticket: %w", errFrame)
			}
			return t, nil
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return nil, fmt.Errorf("a ticket: %w", errFrame)
		}
		b = b[n:]
	}
	return nil, fmt.Errorf("an empty ticket: %w", errFrame)
}
