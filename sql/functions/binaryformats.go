package functions

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/avro"
	"github.com/sluice-stream/sluice/formats/protobuf"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// binaryFormats lists functions between bytes of Avro or Protocol Buffers and values.
func binaryFormats() []*Entry {
	return []*Entry{
		special("from_avro", "from_avro(binary, string[, map<string,string>]) -> any", "The value that bytes of Avro are by a schema as JSON. What cannot be read is an error, or NULL with the option mode PERMISSIVE.",
			`from_avro(X'0206666F6F', '{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}')`, "{1, foo}", bindFromAvro),
		special("to_avro", "to_avro(any[, string]) -> binary", "The bytes of a value as Avro, by a schema as JSON or by the one that its type makes: fields of a STRUCT are unions with null.",
			`hex(to_avro(named_struct('a', 1, 'b', 'foo')))`, "02020206666F6F", bindToAvro),
		special("from_protobuf", "from_protobuf(binary, string, string or binary[, map<string,string>]) -> struct", "The STRUCT that a message of Protocol Buffers is, by the message's name and the text of its .proto file or the bytes of a descriptor set. What cannot be read is an error, or NULL with the option mode PERMISSIVE.",
			`from_protobuf(X'08051203666F6F', 'M', 'syntax = "proto3"; message M { int32 a = 1; string b = 2; }')`, "{5, foo}", bindFromProtobuf),
		special("to_protobuf", "to_protobuf(struct, string, string or binary) -> binary", "The bytes of a STRUCT as a message of Protocol Buffers, by the message's name and the text of its .proto file or the bytes of a descriptor set.",
			`hex(to_protobuf(named_struct('a', 5, 'b', 'foo'), 'M', 'syntax = "proto3"; message M { int32 a = 1; string b = 2; }'))`, "08051203666F6F", bindToProtobuf),
	}
}

// rowDecoder is what the decoders of both formats have in common.
type rowDecoder interface {
	AppendNull()
	Flush() arrow.RecordBatch
	Release()
}

// decodeBytes makes a column of one of bytes. read appends a row, or says that there is none.
func decodeBytes(args []expr.Vec, n int, permissive bool, d rowDecoder, read func(b []byte) (rows int, err error)) (arrow.RecordBatch, error) {
	defer d.Release()
	for i := range n {
		at := row(args[0], i)
		if vec.IsNull(args[0].Arr, at) {
			d.AppendNull()
			continue
		}
		rows, err := read(args[0].Arr.(*array.Binary).Value(at))
		if err != nil && !permissive {
			return nil, batch.UserErrorf("[MALFORMED_RECORD_IN_PARSING] the bytes cannot be read: %w; with the option mode PERMISSIVE they are NULL", err)
		}
		if rows == 0 {
			d.AppendNull()
		}
	}
	return d.Flush(), nil
}

func permissive(o textOptions) bool { return o.is("mode", "PERMISSIVE") }

func bindFromAvro(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 2 || len(args) > 3 || args[0].Type().ID() != arrow.BINARY {
		return nil, e.mismatch(args)
	}
	w, err := avroSchema(e, args[1])
	if err != nil {
		return nil, err
	}
	dt, err := avro.TypeOf(w)
	if err != nil {
		return nil, batch.UserErrorf("from_avro: %w", err)
	}
	o, err := optionsOf(args, 2)
	if err != nil {
		return nil, batch.UserErrorf("from_avro: %w", err)
	}
	lenient, whole := permissive(o), avro.Column(w)
	return e.newCall(func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		columns := arrow.NewSchema([]arrow.Field{{Name: "value", Type: kc.Result, Nullable: true}}, nil)
		d := avro.NewDecoder(columns, avro.DecoderOptions{Lenient: lenient, Alloc: kc.Alloc})
		rec, err := decodeBytes(args, vec.Rows(args, n), lenient, d, func(b []byte) (int, error) {
			rest, rows, err := d.Append(whole, b)
			if err == nil && len(rest) > 0 {
				err = batch.UserErrorf("there are %d bytes behind the value", len(rest))
			}
			return rows, err
		})
		if err != nil {
			return nil, err
		}
		defer rec.Release()
		out := rec.Column(0)
		out.Retain()
		return out, nil
	}, args, dt), nil
}

func avroSchema(e *Entry, arg expr.Expr) (*avro.Schema, error) {
	text, ok := constantText(arg)
	if !ok {
		return nil, batch.UserErrorf("%s: the schema must be a constant text", e.Name())
	}
	s, err := avro.Parse(text)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", e.Name(), err)
	}
	return s, nil
}

func bindToAvro(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 1 || len(args) > 2 {
		return nil, e.mismatch(args)
	}
	columns := arrow.NewSchema([]arrow.Field{{Name: "value", Type: args[0].Type()}}, nil)
	var s *avro.Schema
	var err error
	if len(args) == 2 {
		s, err = avroSchema(e, args[1])
	} else if s, err = avro.SchemaFor(columns, "topLevelRecord"); err == nil {
		s = s.Fields[0].Schema
	}
	if err != nil {
		return nil, batch.UserErrorf("to_avro: %w", err)
	}
	whole := avro.Column(s)
	if err := tryEncode(columns, func(rec arrow.RecordBatch) error { _, err := avro.Encode(whole, rec); return err }); err != nil {
		return nil, batch.UserErrorf("to_avro: %w", err)
	}
	return e.newCall(encodeBytes(columns, false, func(rec arrow.RecordBatch) (appendRow, error) {
		a, err := avro.Encode(whole, rec)
		return appendRow(a), err
	}), args, expr.TypeBinary), nil
}

// tryEncode finds out when a query is planned whether a type can be written.
func tryEncode(columns *arrow.Schema, encode func(rec arrow.RecordBatch) error) error {
	b := array.NewRecordBuilder(memory.DefaultAllocator, columns)
	defer b.Release()
	rec := b.NewRecordBatch()
	defer rec.Release()
	return encode(rec)
}

// appendRow appends the bytes of a row.
type appendRow func(dst []byte, row int) ([]byte, error)

// encodeBytes makes the kernel that writes the first argument; NULL stays NULL.
// spread says that the fields of a STRUCT are the columns.
func encodeBytes(columns *arrow.Schema, spread bool, bind func(rec arrow.RecordBatch) (appendRow, error)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		a := args[0].Arr
		cols := []arrow.Array{a}
		if st, ok := a.(*array.Struct); ok && spread {
			cols = cols[:0]
			for i := range st.NumField() {
				cols = append(cols, st.Field(i))
			}
		}
		rec := array.NewRecordBatch(columns, cols, int64(a.Len()))
		defer rec.Release()
		write, err := bind(rec)
		if err != nil {
			return nil, err
		}
		b := array.NewBinaryBuilder(kc.Alloc, arrow.BinaryTypes.Binary)
		defer b.Release()
		b.Reserve(n)
		var buf []byte
		for i := range n {
			at := row(args[0], i)
			if vec.IsNull(a, at) {
				b.AppendNull()
				continue
			}
			if buf, err = write(buf[:0], at); err != nil {
				return nil, err
			}
			b.Append(buf)
		}
		return b.NewArray(), nil
	}
}

// protobufType finds the message that two constant arguments name.
func protobufType(e *Entry, name, schema expr.Expr) (*protobuf.Type, error) {
	message, ok := constantText(name)
	arr, constant := constantValue(schema)
	if !ok || !constant {
		return nil, batch.UserErrorf("%s: the message's name and its schema must be constants", e.Name())
	}
	defer arr.Release()
	var f *protobuf.File
	var err error
	switch a := arr.(type) {
	case *array.String:
		if strings.HasSuffix(a.Value(0), ".desc") {
			return nil, batch.UserErrorf("%s: give the bytes of the descriptor set, or the text of the .proto file, and not its path", e.Name())
		}
		f, err = protobuf.Parse(a.Value(0))
	case *array.Binary:
		f, err = protobuf.ParseSet(a.Value(0))
	default:
		return nil, batch.UserErrorf("%s: the schema must be a text or the bytes of a descriptor set", e.Name())
	}
	if err == nil {
		var t *protobuf.Type
		if t, err = f.Message(message); err == nil {
			return t, nil
		}
	}
	return nil, batch.UserErrorf("%s: %w", e.Name(), err)
}

func bindFromProtobuf(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 3 || len(args) > 4 || args[0].Type().ID() != arrow.BINARY {
		return nil, e.mismatch(args)
	}
	t, err := protobufType(e, args[1], args[2])
	if err != nil {
		return nil, err
	}
	columns, err := t.Columns()
	if err != nil {
		return nil, batch.UserErrorf("from_protobuf: %w", err)
	}
	o, err := optionsOf(args, 3)
	if err != nil {
		return nil, batch.UserErrorf("from_protobuf: %w", err)
	}
	lenient := permissive(o)
	return e.newCall(func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		d := protobuf.NewDecoder(columns, protobuf.DecoderOptions{Lenient: lenient, EnumNumbers: o.is("enums.as.ints", "true"), Alloc: kc.Alloc})
		var valid []bool
		n = vec.Rows(args, n)
		for i := range n {
			valid = append(valid, !vec.IsNull(args[0].Arr, row(args[0], i)))
		}
		at := -1
		rec, err := decodeBytes(args, n, lenient, d, func(b []byte) (int, error) {
			for at++; !valid[at]; at++ {
			}
			rows, err := d.Append(t, b)
			valid[at] = rows == 1
			return rows, err
		})
		if err != nil {
			return nil, err
		}
		defer rec.Release()
		return structOf(kc, rec, valid)
	}, args, arrow.StructOf(columns.Fields()...)), nil
}

// structOf makes a column of the columns of a batch; what is not valid is NULL.
func structOf(kc *expr.KernelContext, rec arrow.RecordBatch, valid []bool) (arrow.Array, error) {
	bits := memory.NewResizableBuffer(kc.Alloc)
	defer bits.Release()
	bits.Resize((len(valid) + 7) / 8)
	nulls := 0
	for i, ok := range valid {
		if i%8 == 0 {
			bits.Bytes()[i/8] = 0
		}
		if ok {
			bits.Bytes()[i/8] |= 1 << (i % 8)
		} else {
			nulls++
		}
	}
	children := make([]arrow.ArrayData, rec.NumCols())
	for i := range children {
		children[i] = rec.Column(i).Data()
	}
	data := array.NewData(kc.Result, len(valid), []*memory.Buffer{bits}, children, nulls, 0)
	defer data.Release()
	return array.NewStructData(data), nil
}

func bindToProtobuf(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 3 || args[0].Type().ID() != arrow.STRUCT {
		return nil, e.mismatch(args)
	}
	t, err := protobufType(e, args[1], args[2])
	if err != nil {
		return nil, err
	}
	columns := arrow.NewSchema(args[0].Type().(*arrow.StructType).Fields(), nil)
	if err := tryEncode(columns, func(rec arrow.RecordBatch) error { _, err := protobuf.Encode(t, rec); return err }); err != nil {
		return nil, batch.UserErrorf("to_protobuf: %w", err)
	}
	return e.newCall(encodeBytes(columns, true, func(rec arrow.RecordBatch) (appendRow, error) {
		a, err := protobuf.Encode(t, rec)
		return appendRow(a), err
	}), args, expr.TypeBinary), nil
}
