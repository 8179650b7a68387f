package sluice

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
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

// Op is the kind of a change: a row that is added, one before and after an update,
// and one that is gone.
type Op = batch.Op

// The kinds of change.
const (
	Insert       = batch.Insert
	UpdateBefore = batch.UpdateBefore
	UpdateAfter  = batch.UpdateAfter
	Delete       = batch.Delete
)

// StreamOption changes how a stream keeps its rows.
type StreamOption func(*memorysource.Stream)

// DropRead lets rows go that every running query has read and committed. A
// query that starts later than the first drop misses them and fails.
func DropRead() StreamOption { return func(s *memorysource.Stream) { s.DropReleased = true } }

// Retractions says that the rows of a stream are changes: they are added, and taken back
// as they were (Stream.Change). keys are columns that tell the rows of the table apart,
// if there are any.
func Retractions(keys ...string) StreamOption {
	return func(s *memorysource.Stream) { s.Changes, s.Keys = batch.Retracts, keys }
}

// Upserts says that a row of a stream replaces the one before it with the same keys,
// until a row with them is deleted (Stream.Change with Delete), of which no other column counts.
func Upserts(keys ...string) StreamOption {
	return func(s *memorysource.Stream) { s.Changes, s.Keys = batch.Upserts, keys }
}

// CreateStream makes a table in memory that Stream.Add fills.
func (s *Session) CreateStream(name string, schema *arrow.Schema, opts ...StreamOption) (*Stream, error) {
	st := memorysource.NewStream(schema)
	for _, o := range opts {
		o(st)
	}
	def := memoryTable(name, schema)
	def.Stream, def.Changes, def.Keys = true, st.Changes, st.Keys
	if err := sql.CheckChanges(s.cat, def, s.bindOptions()); err != nil {
		return nil, err
	}
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

// Change adds rows that are changes of one kind. Rows of several kinds go to Add, with
// their kinds in a last column OpColumn. The batch is borrowed as by Add.
func (st *Stream) Change(op Op, rec arrow.RecordBatch) error {
	n := int(rec.NumCols())
	ops := memorysource.Ops(op, int(rec.NumRows()))
	defer ops.Release()
	fields := append(rec.Schema().Fields(), arrow.Field{Name: OpColumn, Type: arrow.PrimitiveTypes.Int8})
	changes := array.NewRecordBatch(arrow.NewSchema(fields, nil), append(rec.Columns()[:n:n], ops), rec.NumRows())
	defer changes.Release()
	return st.Add(changes)
}

// End says that no more rows will come: queries over the stream close all their
// windows and, with a bounded trigger, end.
func (st *Stream) End() { st.s.End() }
