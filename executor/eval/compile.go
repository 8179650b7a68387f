package eval

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
)

// node is an expression with its arguments as positions of other nodes.
type node struct {
	e      expr.Expr
	dt     arrow.DataType
	kids   []int
	kernel expr.Kernel // of Call and Cast
	one    expr.Vec    // of Literal: held for the program's life, in Go memory
	set    *memberSet  // of In
	safe   bool        // cannot fail
	cheap  bool        // a column or a constant
	perRow bool        // rand() or the like
	decode bool        // turns a dictionary into its plain column, which can wait
	lambda map[int]*expr.Lambda
}

// program is a set of expressions with equal parts shared.
type program struct {
	nodes  []node
	ids    map[string]int
	roots  []int
	bodies map[*expr.Lambda]int
	byID   map[int]int // Param.ID -> node
	schema *arrow.Schema
}

func compile(exprs []expr.Expr, schema *arrow.Schema) (*program, error) {
	p := &program{ids: map[string]int{}, bodies: map[*expr.Lambda]int{}, byID: map[int]int{}, schema: schema}
	for _, e := range exprs {
		id, err := p.add(e)
		if err != nil {
			return nil, err
		}
		p.roots = append(p.roots, id)
	}
	return p, nil
}

// add returns the node of an expression, an earlier one if it is the same.
func (p *program) add(e expr.Expr) (int, error) {
	n := node{e: e, dt: e.Type()}
	for _, k := range expr.Children(e) {
		id, err := p.add(k)
		if err != nil {
			return 0, err
		}
		n.kids = append(n.kids, id)
	}
	key := p.key(&n)
	if id, ok := p.ids[key]; ok {
		if l, is := e.(*expr.Lambda); is {
			p.bodies[l] = n.kids[0]
		}
		return id, nil
	}
	if err := p.build(&n); err != nil {
		return 0, err
	}
	id := len(p.nodes)
	p.nodes = append(p.nodes, n)
	if !n.perRow {
		p.ids[key] = id
	}
	if prm, ok := e.(*expr.Param); ok {
		p.byID[prm.ID] = id
	}
	return id, nil
}

// key is equal for nodes that compute the same.
func (p *program) key(n *node) string {
	var b strings.Builder
	switch e := n.e.(type) {
	case *expr.Column:
		b.WriteString("col" + strconv.Itoa(e.Index))
	case *expr.Literal:
		b.WriteString("lit" + e.String())
	case *expr.Call:
		b.WriteString("call" + e.Func.Name + "/" + e.Func.Infix)
	case *expr.Cast:
		b.WriteString("cast" + strconv.FormatBool(e.Try))
	case *expr.Case:
		b.WriteString("case")
	case *expr.Logical:
		b.WriteString("logic" + strconv.Itoa(int(e.Op)))
	case *expr.In:
		b.WriteString("in" + strconv.FormatBool(e.Negated))
		for _, l := range e.List {
			b.WriteString("," + l.String())
		}
	case *expr.Field:
		b.WriteString("field" + strconv.Itoa(e.Index))
	case *expr.Param:
		b.WriteString("param" + strconv.Itoa(e.ID))
	case *expr.Lambda:
		b.WriteString("lambda")
		for _, prm := range e.Params {
			b.WriteString("," + strconv.Itoa(prm.ID))
		}
	default: // made for printing alone
		b.WriteString(e.String())
	}
	b.WriteString(":" + n.dt.String())
	for _, k := range n.kids {
		b.WriteString(" " + strconv.Itoa(k))
	}
	return b.String()
}

func (p *program) build(n *node) error {
	n.safe = true
	for _, k := range n.kids {
		n.safe = n.safe && p.nodes[k].safe
	}
	switch e := n.e.(type) {
	case *expr.Column:
		n.cheap = true
		if e.Index < 0 || e.Index >= p.schema.NumFields() {
			return fmt.Errorf("column %s: the input has %d columns", e, p.schema.NumFields())
		}
		n.decode = p.schema.Field(e.Index).Type.ID() == arrow.DICTIONARY && e.DT.ID() != arrow.DICTIONARY
	case *expr.Literal:
		n.cheap = true
		arr, err := e.Array(memory.DefaultAllocator)
		if err != nil {
			return err
		}
		n.one = expr.Vec{Arr: arr, Const: true}
	case *expr.Call:
		n.kernel = e.Func.Kernel
		n.safe = n.safe && e.Func.Total
		n.perRow = e.Func.Volatility >= expr.PerRow
		p.lambdas(n, e)
	case *expr.Cast:
		return p.buildCast(n, e)
	case *expr.In:
		set, err := newMemberSet(e)
		n.set = set
		return err
	case *expr.Lambda:
		p.bodies[e] = n.kids[0]
	case *expr.Case, *expr.Logical, *expr.Field, *expr.Param:
	default:
		return fmt.Errorf("no evaluation for %T", n.e)
	}
	return nil
}

func (p *program) lambdas(n *node, e *expr.Call) {
	for i, a := range e.Args {
		if l, ok := a.(*expr.Lambda); ok {
			if n.lambda == nil {
				n.lambda = map[int]*expr.Lambda{}
			}
			n.lambda[i] = l
		}
	}
}

func (p *program) buildCast(n *node, e *expr.Cast) error {
	from := e.Arg.Type()
	k, err := cast.Kernel(from, e.DT, e.Try)
	if err != nil {
		return err
	}
	n.kernel = k
	n.safe = n.safe && (e.Try || widens(from, e.DT))
	if d, ok := from.(*arrow.DictionaryType); ok && arrow.TypeEqual(d.ValueType, e.DT) {
		n.decode = true
	}
	return nil
}

// widens reports whether a cast cannot fail.
func widens(from, to arrow.DataType) bool {
	a, b := intBits(from), intBits(to)
	switch {
	case a > 0 && b > 0:
		return a <= b
	case to.ID() == arrow.FLOAT64 || to.ID() == arrow.FLOAT32:
		return a > 0 || from.ID() == arrow.FLOAT32 || from.ID() == arrow.FLOAT64 || from.ID() == arrow.DECIMAL128
	case to.ID() == arrow.STRING:
		return true
	}
	return from.ID() == arrow.NULL || from.ID() == arrow.DICTIONARY && arrow.TypeEqual(cast.Canonical(from), to)
}

func intBits(dt arrow.DataType) int {
	switch dt.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		return dt.(arrow.FixedWidthDataType).BitWidth()
	}
	return 0
}
