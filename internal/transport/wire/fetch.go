package wire

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/arrowipc"
	"github.com/sluice-stream/sluice/internal/transport"
)

// fetched reads rows of another node.
type fetched struct {
	from   transport.NodeID
	ref    transport.StreamRef
	tasks  []int  // of all of which the rows are; nil for those of ref.Task
	place  uint32 // in tasks, of the message that was read last
	alloc  memory.Allocator
	max    int64
	stream grpc.ClientStream
	cancel context.CancelCauseFunc

	pending *ipc.Message // read ahead
	reader  *ipc.Reader
	err     error // of the stream's end, for good
}

// Next returns the next rows. If ctx ends meanwhile, so does the stream: what was on its
// way is lost.
func (f *fetched) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if f.err != nil {
		return nil, f.err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, func() { f.cancel(context.Cause(ctx)) })
	rec, err := f.next()
	if !stop() && err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s are given up: %w", f.what(), context.Cause(ctx))
	}
	if err != nil {
		f.err = err
		f.end()
	}
	return rec, err
}

// Place is of transport.TasksReader.
func (f *fetched) Place() int { return int(f.place) }

// what says what is read, for errors.
func (f *fetched) what() string {
	task := f.ref.Task
	if f.tasks != nil {
		task = f.tasks[f.place]
	}
	return fmt.Sprintf("rows of stage %d task %d from node %q", f.ref.Stage, task, f.from)
}

// follow takes note of whose rows a message holds.
func (f *fetched) follow(in *incoming) error {
	place, many := in.place()
	if many != (f.tasks != nil) || many && (place < f.place || int64(place) >= int64(len(f.tasks))) {
		return fmt.Errorf("rows of the task at place %d of %d behind those at %d: %w", place, len(f.tasks), f.place, errFrame)
	}
	f.place = place
	return nil
}

func (f *fetched) next() (arrow.RecordBatch, error) {
	for {
		if f.reader == nil {
			if f.pending == nil {
				m, err := f.message()
				if err != nil {
					return nil, f.told(err)
				}
				f.pending = m
			}
			m := &messages{f: f}
			m.refs.Store(1)
			r, err := ipc.NewReaderFromMessageReader(m, ipc.WithAllocator(f.alloc))
			if err != nil {
				return nil, f.damaged(err)
			}
			f.reader = r
		}
		if f.reader.Next() {
			rec := f.reader.RecordBatch()
			rec.Retain()
			return rec, nil
		}
		err := f.reader.Err()
		f.reader.Release()
		f.reader = nil
		if err != nil {
			return nil, f.damaged(err)
		}
		if f.pending == nil {
			return nil, io.EOF
		}
	}
}

// message reads one message and checks it.
func (f *fetched) message() (*ipc.Message, error) {
	if m := f.pending; m != nil {
		f.pending = nil
		return m, nil
	}
	in := incoming{alloc: f.alloc}
	if err := f.stream.RecvMsg(&in); err != nil {
		in.release()
		return nil, streamError{err}
	}
	defer in.release()
	if in.err != nil {
		return nil, in.err
	}
	if err := in.verify(); err != nil {
		return nil, err
	}
	if err := f.follow(&in); err != nil {
		return nil, err
	}
	if in.body == nil {
		in.body = memory.NewBufferBytes(nil)
	}
	if err := arrowipc.CheckMessage(in.header, in.body.Bytes(), f.max); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	meta := memory.NewBufferBytes(in.header)
	defer meta.Release()
	return ipc.NewMessage(meta, in.body), nil
}

// streamError is an error of the stream, and not of what came by it.
type streamError struct{ err error }

func (e streamError) Error() string { return e.err.Error() }

func (e streamError) Unwrap() error { return e.err }

// told says what an error at the beginning of a message is.
func (f *fetched) told(err error) error {
	var s streamError
	switch {
	case !errors.As(err, &s):
		return f.damaged(err)
	case errors.Is(s.err, io.EOF):
		return io.EOF
	default:
		return f.fault(s.err)
	}
}

// damaged says what an error between messages is. Asking again may help: the rows lie
// with their node as they were made.
func (f *fetched) damaged(err error) error {
	var s streamError
	if errors.As(err, &s) {
		return f.fault(s.err)
	}
	if kind, _ := batch.KindOf(err); kind == batch.User {
		return err // memory is short
	}
	return batch.ExternalError(fmt.Errorf("%s: %w", f.what(), err), true)
}

// end lets the stream go, whose producer is told by that.
func (f *fetched) end() {
	f.cancel(context.Canceled)
	if f.reader != nil {
		f.reader.Release()
		f.reader = nil
	}
	if f.pending != nil {
		f.pending.Release()
		f.pending = nil
	}
}

// Close ends the stream. Batches that were returned stay valid.
func (f *fetched) Close() error {
	if f.err == nil {
		f.err = errors.New("the reader is closed")
	}
	f.end()
	return nil
}
