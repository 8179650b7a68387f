package avro

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"

	"github.com/sluice-stream/sluice/batch"
)

// Kind is a type of Avro.
type Kind uint8

// The types.
const (
	Null Kind = iota
	Boolean
	Int
	Long
	Float
	Double
	Bytes
	String
	Array
	Map
	Union
	Fixed
	Enum
	Record
)

var kindNames = []string{"null", "boolean", "int", "long", "float", "double", "bytes", "string", "array", "map", "union", "fixed", "enum", "record"}

// String is the name that a schema has for the type.
func (k Kind) String() string { return kindNames[k] }

// Schema is one type with all it holds. It is not changed once it is parsed, and may
// hold itself.
type Schema struct {
	Kind     Kind
	Name     string // full name of a record, enum or fixed
	Fields   []Field
	Symbols  []string
	Items    *Schema // of an array, or the values of a map
	Branches []*Schema
	Size     int // of a fixed

	Logical          string // a logical type that fits, "" for none
	Precision, Scale int32  // of a decimal

	sized uint8
	least int  // fewest bytes of a value
	exact bool // all values take as many
}

// Field is one of a record's.
type Field struct {
	Name       string
	Aliases    []string
	Schema     *Schema
	Default    any // as JSON has it, numbers as json.Number
	HasDefault bool
}

// Limits on schemas.
const (
	maxSchemaText  = 8 << 20
	maxSchemaDepth = 200
	maxFixed       = 1 << 20
	maxDecimals    = 38
)

// Names are the named types that a schema may use.
type Names map[string]*Schema

var (
	nameText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	fullText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
)

// Parse reads a schema, which may use the types of others that are read before it.
func Parse(text string, uses ...string) (*Schema, error) {
	p := &parser{names: Names{}}
	for _, u := range uses {
		if _, err := p.parse(u); err != nil {
			return nil, fmt.Errorf("an Avro schema that is referred to: %w", err)
		}
	}
	return p.parse(text)
}

type parser struct {
	names Names
	fresh []*Schema
}

func (p *parser) parse(text string) (*Schema, error) {
	if len(text) > maxSchemaText {
		return nil, batch.UserErrorf("the Avro schema is longer than %d bytes", maxSchemaText)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is text behind it")
		}
	}
	if err != nil {
		if name := strings.TrimSpace(text); kindOf(name) >= 0 { // some write a bare name
			return p.schema(name, "", 0)
		}
		return nil, batch.UserErrorf("the Avro schema is no JSON: %w", err)
	}
	s, err := p.schema(v, "", 0)
	if err != nil {
		return nil, batch.UserErrorf("the Avro schema: %w", err)
	}
	for _, s := range p.fresh {
		if s.size() < 0 {
			return nil, batch.UserErrorf("the Avro schema: %s %q holds itself, and there would be no end of it", s.Kind, s.Name)
		}
	}
	return s, nil
}

func kindOf(name string) int {
	for k := Null; k <= String; k++ {
		if kindNames[k] == name {
			return int(k)
		}
	}
	return -1
}

// schema reads a type from what JSON has made of it; space is the namespace around it.
func (p *parser) schema(v any, space string, depth int) (*Schema, error) {
	if depth > maxSchemaDepth {
		return nil, fmt.Errorf("it nests deeper than %d levels", maxSchemaDepth)
	}
	switch v := v.(type) {
	case string:
		if k := kindOf(v); k >= 0 {
			return p.note(&Schema{Kind: Kind(k)}), nil
		}
		if s, ok := p.names[full(v, space)]; ok {
			return s, nil
		}
		if s, ok := p.names[v]; ok {
			return s, nil
		}
		return nil, fmt.Errorf("%q is no type", v)
	case []any:
		return p.union(v, space, depth)
	case map[string]any:
		return p.object(v, space, depth)
	}
	return nil, fmt.Errorf("%v is no type", v)
}

func (p *parser) note(s *Schema) *Schema {
	p.fresh = append(p.fresh, s)
	return s
}

// full is the name of a type with its namespace.
func full(name, space string) string {
	if space == "" || strings.Contains(name, ".") {
		return name
	}
	return space + "." + name
}

func (p *parser) union(v []any, space string, depth int) (*Schema, error) {
	s := p.note(&Schema{Kind: Union})
	seen := map[string]bool{}
	for _, b := range v {
		branch, err := p.schema(b, space, depth+1)
		if err != nil {
			return nil, err
		}
		name := branch.Kind.String() + " " + branch.Name
		if branch.Kind == Union || seen[name] {
			return nil, fmt.Errorf("a union must not hold a union, nor %stwice", strings.TrimPrefix(name, "union "))
		}
		seen[name] = true
		s.Branches = append(s.Branches, branch)
	}
	if len(s.Branches) == 0 {
		return nil, errors.New("a union of nothing")
	}
	return s, nil
}

func (p *parser) object(v map[string]any, space string, depth int) (*Schema, error) {
	name, ok := v["type"].(string)
	if !ok {
		if v["type"] == nil {
			return nil, errors.New(`a type has no "type"`)
		}
		return p.schema(v["type"], space, depth+1)
	}
	switch name {
	case "record", "error":
		return p.record(v, space, depth)
	case "enum", "fixed":
		return p.leaf(name, v, space)
	case "array", "map":
		s, key := p.note(&Schema{Kind: Array}), "items"
		if name == "map" {
			s.Kind, key = Map, "values"
		}
		var err error
		if s.Items, err = p.schema(v[key], space, depth+1); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return s, nil
	}
	s, err := p.schema(name, space, depth+1)
	if err != nil || s.Kind > String {
		return s, err
	}
	s.logical(v)
	return s, nil
}

// named gives a schema its name and makes it known.
func (p *parser) named(s *Schema, v map[string]any, space string) (inner string, err error) {
	name, _ := v["name"].(string)
	if !fullText.MatchString(name) {
		return "", fmt.Errorf("%q is no name of a type", name)
	}
	if own, ok := v["namespace"].(string); ok {
		space = own
	}
	s.Name = full(name, space)
	inner = ""
	if i := strings.LastIndexByte(s.Name, '.'); i >= 0 {
		inner = s.Name[:i]
	}
	if _, there := p.names[s.Name]; there {
		return "", fmt.Errorf("the name %q is there twice", s.Name)
	}
	p.names[s.Name] = s
	return inner, nil
}

func (p *parser) record(v map[string]any, space string, depth int) (*Schema, error) {
	s := p.note(&Schema{Kind: Record})
	inner, err := p.named(s, v, space)
	if err != nil {
		return nil, err
	}
	fields, ok := v["fields"].([]any)
	if !ok {
		return nil, fmt.Errorf("record %q has no fields", s.Name)
	}
	seen := map[string]bool{}
	for _, one := range fields {
		m, _ := one.(map[string]any)
		f := Field{}
		f.Name, _ = m["name"].(string)
		if !nameText.MatchString(f.Name) || seen[f.Name] {
			return nil, fmt.Errorf("record %q: %q is no name of a field, or is there twice", s.Name, f.Name)
		}
		seen[f.Name] = true
		if f.Schema, err = p.schema(m["type"], inner, depth+1); err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Name, err)
		}
		f.Aliases = texts(m["aliases"])
		f.Default, f.HasDefault = m["default"]
		s.Fields = append(s.Fields, f)
	}
	return s, nil
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if t, ok := e.(string); ok {
			out = append(out, t)
		}
	}
	return out
}

func (p *parser) leaf(kind string, v map[string]any, space string) (*Schema, error) {
	s := p.note(&Schema{Kind: Enum})
	if kind == "fixed" {
		s.Kind = Fixed
		n, _ := v["size"].(json.Number)
		size, err := n.Int64()
		if err != nil || size < 0 || size > maxFixed {
			return nil, fmt.Errorf("a fixed of %q bytes", n)
		}
		s.Size = int(size)
	} else if s.Symbols = texts(v["symbols"]); len(s.Symbols) == 0 {
		return nil, fmt.Errorf("an enum without symbols")
	}
	if _, err := p.named(s, v, space); err != nil {
		return nil, err
	}
	s.logical(v)
	return s, nil
}

// logical takes up a logical type. One that does not go with the type is passed over, as
// Avro asks for.
func (s *Schema) logical(v map[string]any) {
	name, _ := v["logicalType"].(string)
	fits := false
	switch name {
	case "decimal":
		s.Precision, s.Scale = number(v["precision"]), number(v["scale"])
		fits = (s.Kind == Bytes || s.Kind == Fixed) && s.Precision >= 1 && s.Precision <= maxDecimals && s.Scale >= 0 && s.Scale <= s.Precision
	case "date", "time-millis":
		fits = s.Kind == Int
	case "time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos", "local-timestamp-millis", "local-timestamp-micros", "local-timestamp-nanos":
		fits = s.Kind == Long
	case "uuid":
		fits = s.Kind == String || s.Kind == Fixed && s.Size == 16
	}
	if fits {
		s.Logical = name
	}
}

func number(v any) int32 {
	n, ok := v.(json.Number)
	if !ok {
		return 0
	}
	i, err := n.Int64()
	if err != nil || i < -1000 || i > 1000 {
		return -1
	}
	return int32(i)
}

// size finds the fewest bytes that a value takes, and whether all take as many; -1 if it
// holds itself without end.
func (s *Schema) size() int {
	switch s.sized {
	case sizing:
		return -1
	case sizedYes:
		return s.least
	}
	s.sized = sizing
	s.exact = true
	switch s.Kind {
	case Null:
	case Float:
		s.least = 4
	case Double:
		s.least = 8
	case Fixed:
		s.least = s.Size
	case Record:
		for _, f := range s.Fields {
			size := f.Schema.size()
			if size < 0 {
				return -1
			}
			s.least = min(s.least+size, math.MaxInt32)
			s.exact = s.exact && f.Schema.exact
		}
	case Boolean:
		s.least = 1
	default: // a union has its branch, an array and a map their end
		s.least, s.exact = 1, false
	}
	s.sized = sizedYes
	return s.least
}

const (
	sizing   = 1
	sizedYes = 2
)

// String is a name for errors.
func (s *Schema) String() string {
	switch {
	case s.Kind == Union:
		names := make([]string, len(s.Branches))
		for i, b := range s.Branches {
			names[i] = b.String()
		}
		return "[" + strings.Join(names, ", ") + "]"
	case s.Logical == "decimal":
		return fmt.Sprintf("decimal(%d, %d)", s.Precision, s.Scale)
	case s.Logical != "":
		return s.Logical
	case s.Kind == Array:
		return "array of " + s.Items.String()
	case s.Kind == Map:
		return "map of " + s.Items.String()
	case s.Name != "":
		return s.Kind.String() + " " + s.Name
	}
	return s.Kind.String()
}

// Nullable takes null off a union of it and one other type.
func (s *Schema) Nullable() (inner *Schema, null bool) {
	if s.Kind != Union || len(s.Branches) != 2 {
		return s, s.Kind == Null
	}
	if s.Branches[0].Kind == Null {
		return s.Branches[1], true
	}
	if s.Branches[1].Kind == Null {
		return s.Branches[0], true
	}
	return s, false
}
