package sluice

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	memorysource "github.com/sluice-stream/sluice/sources/memory"
	"github.com/sluice-stream/sluice/sql"
)

// Stream is a table whose rows the program adds. Queries read it as a stream,
// each from its first row; SELECT reads what it holds now. Rows live in the
// process alone.
type Stream struct {
	name string
	s    *memorysource.Stream
}

// StreamOption changes how a stream keeps its rows.
type StreamOption func(*memorysource.Stream)

// DropRead lets rows go that every running query has read and committed. A
// query that starts later than the first drop misses them and fails.
func DropRead() StreamOption { return func(s *memorysource.Stream) { s.DropReleased = true } }

// CreateStream makes a table in memory that Stream.Add fills.
func (s *Session) CreateStream(name string, schema *arrow.Schema, opts ...StreamOption) (*Stream, error) {
	st := memorysource.NewStream(schema)
	for _, o := range opts {
		o(st)
	}
	def := memoryTable(name, schema)
	def.Stream = true
	if err := s.cat.add(&sql.Relation{Name: name, Table: def}, false, false); err != nil {
		return nil, err
	}
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	s.reg.mu.streams[strings.ToLower(name)] = st
	return &Stream{name: name, s: st}, nil
}

// Add adds rows of the stream's schema. The batch is borrowed: the stream keeps
// a reference, and its buffers must not be changed.
func (st *Stream) Add(rec arrow.RecordBatch) error {
	if _, err := st.s.AddData(rec); err != nil {
		return fmt.Errorf("stream %s: %w", st.name, err)
	}
	return nil
}

// End says that no more rows will come: queries over the stream close all their
// windows and, with a bounded trigger, end.
func (st *Stream) End() { st.s.End() }
