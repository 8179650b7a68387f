package kafka

import (
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// TestHeldText: the bytes of version 1 are never written again.
func TestHeldText(t *testing.T) {
	const text = `{"v":1,"batch":41,"digest":{"hi":1234,"lo":18446744073709551615},"term":3}`
	want := held{41, batch.Digest{Hi: 1234, Lo: 1<<64 - 1}, 3}
	if got, err := parseHeld(text); err != nil || got != want || want.text() != text {
		t.Errorf("read %v (%v), wrote %s", got, err, want.text())
	}
	for in, fault := range map[string]string{
		`{"v":2,"batch":1}`: "is of version 2, this version of Sluice knows 1", `{"v":1,"batch":-1}`: "is not what", "{": "is not what", "x": "is not what",
	} {
		if _, err := parseHeld(in); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s gave %v", in, err)
		}
	}
}
