package shapes

type Shape interface{ shape() }

type Round interface {
	Shape
	Radius() float64
}

type Open interface{ Area() float64 }

type (
	Circle struct{}
	Ball   struct{}
	Square struct{}
)

func (Circle) shape()          {}
func (Circle) Radius() float64 { return 1 }
func (*Ball) shape()           {}
func (*Ball) Radius() float64  { return 1 }
func (Square) shape()          {}
func (Square) Area() float64   { return 1 }
