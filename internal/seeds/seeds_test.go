package seeds

import (
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	t.Setenv(Variable, "")
	if got := slices.Collect(Of(t, 3)); !slices.Equal(got, []uint64{0, 1, 2}) || !Usual() {
		t.Errorf("usual seeds: %v", got)
	}
	t.Setenv(Variable, "70+2")
	if got := slices.Collect(Of(t, 3)); !slices.Equal(got, []uint64{70, 71}) || Usual() {
		t.Errorf("70+2: %v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"7", "a+b", "7+", "+7", "-1+2", "1+2x", " 1+2"} {
		if _, _, err := parse(text, 3); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
