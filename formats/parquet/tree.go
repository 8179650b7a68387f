package parquet

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

type shape int

const (
	leafNode shape = iota
	structNode
	listNode
	mapNode
)

// node is one value-carrying node of the file's schema. The levels say, of an
// entry (def, rep) of any leaf below, whether it opens a value of this node:
// rep <= rep and def >= exists; and whether that value is there: def >= def.
type node struct {
	name     string
	shape    shape
	nullable bool
	def      int16 // definition level from which the value is not null
	exists   int16 // definition level from which the nearest repeated ancestor has an element
	rep      int16 // repetition level of the nearest repeated ancestor
	typ      arrow.DataType
	children []*node
	column   int // of a leaf: its number in the file
	prim     *schema.PrimitiveNode
}

func (n *node) field() arrow.Field {
	return arrow.Field{Name: n.name, Type: n.typ, Nullable: n.nullable}
}

type treeBuilder struct{ next int }

const maxSchemaDepth = 100

func buildTree(s *schema.Schema) ([]*node, error) {
	b := &treeBuilder{}
	root := s.Root()
	out := make([]*node, root.NumFields())
	for i := range out {
		n, err := b.node(root.Field(i), 0, 0, 0, 0)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// node builds a field in the context of its parent's levels.
func (b *treeBuilder) node(sn schema.Node, def, exists, rep int16, depth int) (*node, error) {
	if depth > maxSchemaDepth {
		return nil, errors.New("columns are nested too deep")
	}
	if sn.RepetitionType() == apq.Repetitions.Repeated {
		// A repeated field outside a LIST group is a required list of required elements.
		elem, err := b.value(sn, def+1, def+1, rep+1, depth+1)
		if err != nil {
			return nil, err
		}
		elem.name, elem.nullable = "element", false
		return listOf(sn.Name(), false, def, exists, rep, elem), nil
	}
	nullable := sn.RepetitionType() == apq.Repetitions.Optional
	if nullable {
		def++
	}
	g, ok := sn.(*schema.GroupNode)
	if ok && (isList(sn) || isMap(sn)) && g.NumFields() == 1 && g.Field(0).RepetitionType() == apq.Repetitions.Repeated {
		if isMap(sn) {
			if n, err := b.mapNode(g, nullable, def, exists, rep, depth); n != nil || err != nil {
				return n, err
			}
		}
		return b.listNode(g, nullable, def, exists, rep, depth)
	}
	n, err := b.value(sn, def, exists, rep, depth)
	if err != nil {
		return nil, err
	}
	n.nullable = nullable
	return n, nil
}

func isList(n schema.Node) bool {
	_, ok := n.LogicalType().(schema.ListLogicalType)
	return ok || n.ConvertedType() == schema.ConvertedTypes.List
}

func isMap(n schema.Node) bool {
	_, ok := n.LogicalType().(schema.MapLogicalType)
	return ok || n.ConvertedType() == schema.ConvertedTypes.Map || n.ConvertedType() == schema.ConvertedTypes.MapKeyValue
}

// value builds a leaf or a struct whose own definition level is def.
func (b *treeBuilder) value(sn schema.Node, def, exists, rep int16, depth int) (*node, error) {
	n := &node{name: sn.Name(), def: def, exists: exists, rep: rep}
	if p, ok := sn.(*schema.PrimitiveNode); ok {
		n.prim, n.column = p, b.next
		b.next++
		t, err := naturalType(p)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", sn.Path(), err)
		}
		n.typ = t
		return n, nil
	}
	g := sn.(*schema.GroupNode)
	if g.NumFields() == 0 {
		return nil, fmt.Errorf("column %q: a group without fields", sn.Path())
	}
	n.shape = structNode
	fields := make([]arrow.Field, g.NumFields())
	for i := range g.NumFields() {
		c, err := b.node(g.Field(i), def, exists, rep, depth+1)
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, c)
		fields[i] = c.field()
	}
	n.typ = arrow.StructOf(fields...)
	return n, nil
}

// listNode builds the annotated form, `group (LIST) { repeated group list { element } }`,
// and the older ones by the rules of the format's specification.
func (b *treeBuilder) listNode(g *schema.GroupNode, nullable bool, def, exists, rep int16, depth int) (*node, error) {
	r := g.Field(0)
	var elem *node
	var err error
	inner, isGroup := r.(*schema.GroupNode)
	if isGroup && inner.NumFields() == 1 && r.Name() != "array" && r.Name() != g.Name()+"_tuple" && !isList(r) && !isMap(r) {
		elem, err = b.node(inner.Field(0), def+1, def+1, rep+1, depth+1)
	} else {
		elem, err = b.value(r, def+1, def+1, rep+1, depth+1)
	}
	if err != nil {
		return nil, err
	}
	return listOf(g.Name(), nullable, def, exists, rep, elem), nil
}

func listOf(name string, nullable bool, def, exists, rep int16, elem *node) *node {
	return &node{
		name: name, shape: listNode, nullable: nullable, def: def, exists: exists, rep: rep, children: []*node{elem},
		typ: arrow.ListOfField(arrow.Field{Name: "element", Type: elem.typ, Nullable: elem.nullable}),
	}
}

// mapNode builds a map, or returns nil for a group that is marked as one and has no key and value.
func (b *treeBuilder) mapNode(g *schema.GroupNode, nullable bool, def, exists, rep int16, depth int) (*node, error) {
	kv, ok := g.Field(0).(*schema.GroupNode)
	if !ok || kv.NumFields() != 2 {
		return nil, nil
	}
	var kids []*node
	for i := range 2 {
		c, err := b.node(kv.Field(i), def+1, def+1, rep+1, depth+1)
		if err != nil {
			return nil, err
		}
		kids = append(kids, c)
	}
	mt := arrow.MapOf(kids[0].typ, kids[1].typ)
	mt.SetItemNullable(kids[1].nullable)
	kids[0].nullable = false
	return &node{name: g.Name(), shape: mapNode, nullable: nullable, def: def, exists: exists, rep: rep, children: kids, typ: mt}, nil
}
