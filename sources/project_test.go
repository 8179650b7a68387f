package sources

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

func TestProject(t *testing.T) {
	a, b := arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int8}, arrow.Field{Name: "b", Type: arrow.BinaryTypes.String}
	schema := arrow.NewSchema([]arrow.Field{a, b}, nil)
	for _, c := range []struct {
		columns []int
		want    []arrow.Field
	}{
		{nil, []arrow.Field{a, b}},
		{[]int{}, nil}, // rows that are only counted
		{[]int{1}, []arrow.Field{b}},
		{[]int{1, 0, 1}, []arrow.Field{b, a, b}},
	} {
		got, err := Project(schema, c.columns)
		if err != nil || !got.Equal(arrow.NewSchema(c.want, nil)) {
			t.Errorf("columns %v: %v (%v), want %v", c.columns, got, err, c.want)
		}
	}
	for _, beyond := range []int{-1, 2} {
		if got, err := Project(schema, []int{0, beyond}); err == nil {
			t.Errorf("column %d: %v", beyond, got)
		}
	}
}
