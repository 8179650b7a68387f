package transport

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/sources"
)

// InTurn reads the outputs of tasks one after the other, each by a reader of its own.
func InTurn(ref StreamRef, tasks []int, serve func(ctx context.Context, ref StreamRef) (sources.Reader, error)) TasksReader {
	return &inTurn{ref: ref, tasks: tasks, serve: serve}
}

type inTurn struct {
	ref   StreamRef
	tasks []int
	serve func(ctx context.Context, ref StreamRef) (sources.Reader, error)
	place int
	in    sources.Reader // of the task at place; nil before it is opened
}

// Next returns the next rows.
func (t *inTurn) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for t.place < len(t.tasks) {
		if t.in == nil {
			ref := t.ref
			ref.Task = t.tasks[t.place]
			var err error
			if t.in, err = t.serve(ctx, ref); err != nil {
				return nil, err
			}
		}
		rec, err := t.in.Next(ctx)
		if !errors.Is(err, io.EOF) {
			return rec, err
		}
		err = t.in.Close()
		t.in = nil
		t.place++
		if err != nil {
			return nil, err
		}
	}
	return nil, io.EOF
}

// Place is of TasksReader.
func (t *inTurn) Place() int { return t.place }

// Close closes what is being read.
func (t *inTurn) Close() error {
	t.place = len(t.tasks)
	if t.in == nil {
		return nil
	}
	in := t.in
	t.in = nil
	return in.Close()
}
