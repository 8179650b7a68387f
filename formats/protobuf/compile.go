package protobuf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sluice-stream/sluice/batch"
)

// Type is a kind of message.
type Type struct {
	desc protoreflect.MessageDescriptor
}

// Limits on schemas.
const (
	maxSchemaText = 8 << 20
	maxDepth      = 100 // of messages in messages
)

// Name is the type's full name.
func (t *Type) Name() string { return string(t.desc.FullName()) }

// Named is a .proto file by the name under which others import it.
type Named struct {
	Name string
	Text string
}

// File is a compiled .proto file.
type File struct{ desc protoreflect.FileDescriptor }

// Parse compiles a .proto file and those that it imports.
func Parse(text string, imports ...Named) (*File, error) {
	const own = "sluice-schema.proto"
	files := map[string]string{}
	total := len(text)
	for _, f := range imports {
		files[f.Name] = f.Text
		total += len(f.Text)
	}
	if total > maxSchemaText {
		return nil, batch.UserErrorf("the Protobuf schema is longer than %d bytes", maxSchemaText)
	}
	files[own] = text
	c := protocompile.Compiler{
		MaxParallelism: 1,
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: func(path string) (io.ReadCloser, error) {
			text, ok := files[path]
			if !ok {
				return nil, fmt.Errorf("the file %q is not there", path)
			}
			return io.NopCloser(strings.NewReader(text)), nil
		}}),
	}
	got, err := c.Compile(context.Background(), own) // all of it is in memory
	if err != nil {
		return nil, batch.UserErrorf("the Protobuf schema: %s", strings.TrimPrefix(err.Error(), own+":"))
	}
	return &File{got[0]}, nil
}

// ParseSet reads a descriptor set, as protoc writes it with --descriptor_set_out and
// --include_imports. The file is the last one.
func ParseSet(b []byte) (*File, error) {
	if len(b) > maxSchemaText {
		return nil, batch.UserErrorf("the Protobuf descriptor set is longer than %d bytes", maxSchemaText)
	}
	var set descriptorpb.FileDescriptorSet
	err := proto.Unmarshal(b, &set)
	if err == nil && len(set.File) == 0 {
		err = errors.New("it holds no file")
	}
	if err != nil {
		return nil, batch.UserErrorf("the Protobuf descriptor set: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, batch.UserErrorf("the Protobuf descriptor set (was it written with --include_imports?): %w", err)
	}
	last, err := files.FindFileByPath(set.File[len(set.File)-1].GetName())
	if err != nil {
		return nil, batch.UserErrorf("the Protobuf descriptor set: %w", err)
	}
	return &File{last}, nil
}

// Message returns a type of the file by its full name or the end of it; "" is the first.
func (f *File) Message(name string) (*Type, error) {
	if name == "" {
		if f.desc.Messages().Len() == 0 {
			return nil, batch.UserErrorf("the Protobuf schema has no message")
		}
		return &Type{f.desc.Messages().Get(0)}, nil
	}
	var found []protoreflect.MessageDescriptor
	var names []string
	each(f.desc.Messages(), func(m protoreflect.MessageDescriptor) {
		names = append(names, string(m.FullName()))
		if string(m.FullName()) == name || strings.HasSuffix(string(m.FullName()), "."+name) {
			found = append(found, m)
		}
	})
	for _, m := range found {
		if string(m.FullName()) == name {
			return &Type{m}, nil
		}
	}
	if len(found) != 1 {
		return nil, batch.UserErrorf("the Protobuf schema has no message %q, or several: it has %s", name, strings.Join(names[:min(len(names), 50)], ", "))
	}
	return &Type{found[0]}, nil
}

func each(all protoreflect.MessageDescriptors, visit func(protoreflect.MessageDescriptor)) {
	for i := range all.Len() {
		visit(all.Get(i))
		each(all.Get(i).Messages(), visit)
	}
}

// At returns the type at a place: the number of the message on each level of the file.
func (f *File) At(place []int) (*Type, error) {
	all := f.desc.Messages()
	var m protoreflect.MessageDescriptor
	for _, i := range place {
		if i < 0 || i >= all.Len() {
			return nil, fmt.Errorf("its schema has no message at the place %v", place)
		}
		m = all.Get(i)
		all = m.Messages()
	}
	if m == nil {
		return nil, errors.New("it names no message of its schema")
	}
	return &Type{m}, nil
}

// Place is where in its file the type is, as At takes it.
func (t *Type) Place() []int {
	var at []int
	for d := protoreflect.Descriptor(t.desc); ; d = d.Parent() {
		m, ok := d.(protoreflect.MessageDescriptor)
		if !ok {
			slices.Reverse(at)
			return at
		}
		at = append(at, m.Index())
	}
}
