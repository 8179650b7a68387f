package ast

import "reflect"

var (
	nodeType = reflect.TypeFor[Node]()
	anyType  = reflect.TypeFor[any]() // of a PlanTable's plan, which is no part of the text
)

// Inspect visits n and all nodes below it, parents first; it goes below a node
// if visit returns true. It is for questions asked now and then (which tables
// does this read), not for the binder's own walk.
func Inspect(n Node, visit func(Node) bool) {
	inspect(reflect.ValueOf(n), visit)
}

func inspect(v reflect.Value, visit func(Node) bool) {
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			inspect(v.Elem(), visit)
		}
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		if v.Type().Implements(nodeType) && !visit(v.Interface().(Node)) {
			return
		}
		inspect(v.Elem(), visit)
	case reflect.Slice:
		for i := range v.Len() {
			inspect(v.Index(i), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !f.Anonymous && f.Type != anyType {
				inspect(v.Field(i), visit)
			}
		}
	}
}
