package memory

import "testing"

func TestMachineIsPlausible(t *testing.T) {
	if n := Machine(); n < 64<<20 || n > 1<<50 {
		t.Errorf("Machine() = %d", n)
	}
	if n, ok := field("A: 1 kB\nMemTotal:  24 kB\n", "MemTotal:"); !ok || n != 24 {
		t.Errorf("field = %d %v", n, ok)
	}
}
