package user

import "github.com/sluice-stream/sluice/shapes"

func f(s shapes.Shape, o shapes.Open, a any) {
	switch s.(type) { // all: T stands for *T too
	case shapes.Circle, *shapes.Ball, shapes.Square:
	}
	switch v := s.(type) { // want `the switch over Shape has no default and leaves out Square`
	case shapes.Circle, *shapes.Ball:
		_ = v
	}
	switch s.(type) { // picks out one
	case shapes.Circle:
	}
	switch s.(type) { // a default says what becomes of the rest
	case shapes.Circle:
	default:
	}
	switch s.(type) { // an interface covers what implements it
	case shapes.Round:
	case shapes.Square:
	}
	switch s.(type) { // want `leaves out Square`
	case nil:
	case shapes.Round:
	}
	switch o.(type) { // not sealed
	case shapes.Square:
	}
	switch a.(type) {
	case shapes.Circle:
	}
}
