package batch

import "testing"

// However many times there are, few are kept, no row is lost, and none seems to have
// come later than it did.
func TestArrivals(t *testing.T) {
	var a, b Arrivals
	at := func(i int) EventTime { return EventTime(i*7919%10_000) * 1000 }
	earlier := func(a Arrivals, than EventTime) (n int64) {
		for _, x := range a {
			if x.At <= than {
				n += x.Rows
			}
		}
		return n
	}
	for i := range 10_000 {
		if i%2 == 0 {
			a.Add(at(i), 3)
		} else {
			b.Add(at(i), 3)
		}
	}
	a.Merge(b)
	if len(a) > arrivalsMax {
		t.Errorf("%d times are kept", len(a))
	}
	for i := range 10_000 {
		if n := earlier(a, EventTime(i)*1000); n < int64(i+1)*3 {
			t.Fatalf("%d rows came until %d ms, %d are told", (i+1)*3, i, n)
		}
	}
	if n := earlier(a, EndOfTime); n != 30_000 {
		t.Errorf("%d rows of 30000", n)
	}
	var one Arrivals
	one.Add(5, 1)
	one.Add(6, 1)
	one.Add(5, 2)
	if len(one) != 2 || one[0] != (Arrival{5, 3}) {
		t.Errorf("one is %v", one)
	}
}
