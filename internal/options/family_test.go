package options

import (
	"slices"
	"strings"
	"testing"
)

var declared = []Option{
	{Key: "rows", Kind: Int, Required: true, Doc: "How many rows."},
	{Key: "fields.*.min", Kind: Int, Required: true},
	{Key: "fields.*.kind", Kind: Enum, Values: []string{"random", "sequence"}},
}

func TestCheckAcceptsMembersOfFamilies(t *testing.T) {
	m := Map{"rows": "1", "fields.a.min": "3", "fields.x.y.min": "4", "fields.a.kind": "random"}
	if err := Check("table", m, declared); err != nil {
		t.Fatal(err)
	}
	if got := m.Int(declared[1].For("x.y")); got != 4 {
		t.Errorf("min of x.y is %d", got)
	}
	if got := m.Members(declared[1]); !slices.Equal(got, []string{"a", "x.y"}) {
		t.Errorf("members %v", got)
	}
	if got := declared[0].For("a").Key; got != "rows" {
		t.Errorf("For changed a plain option to %q", got)
	}
}

func TestCheckNamesTheFaultOfAMember(t *testing.T) {
	m := Map{"rows": "1", "fields.price.mim": "3", "fields..min": "1", "fields.a.min": "x", "fields.b.kind": "odd", "feilds.a.min": "1"}
	err := Check("table", m, declared)
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		`unknown option 'fields.price.mim', did you mean "fields.price.min"?`,
		`unknown option 'fields..min'`,
		`option 'fields.a.min' = 'x': want a whole number`,
		`option 'fields.b.kind' = 'odd': want one of random, sequence`,
		`unknown option 'feilds.a.min'`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestCheckDoesNotAskForAFamily(t *testing.T) {
	err := Check("table", Map{}, declared)
	if err == nil || !strings.Contains(err.Error(), "'rows' is missing") || strings.Contains(err.Error(), "fields") {
		t.Fatalf("got %v", err)
	}
}
