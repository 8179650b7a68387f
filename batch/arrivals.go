package batch

import (
	"cmp"
	"slices"
)

// Arrival counts rows that came at one time.
type Arrival struct {
	At   EventTime `json:"at"`
	Rows int64     `json:"rows"`
}

// Arrivals tells of the rows of a batch when the outside system was given them, from
// which their latency is known once their results are shown. They are few, whatever the
// batch has: beyond that, times that lie next to each other count as the earlier one.
type Arrivals []Arrival

// arrivalsMax is how many different times are kept apart.
const arrivalsMax = 64

// Add takes in rows that came at one time.
func (a *Arrivals) Add(at EventTime, rows int64) {
	all := *a
	if n := len(all); n > 0 && all[n-1].At == at { // mostly they come in order
		all[n-1].Rows += rows
		return
	}
	if i := slices.IndexFunc(all, func(o Arrival) bool { return o.At == at }); i >= 0 {
		all[i].Rows += rows
		return
	}
	*a = append(all, Arrival{at, rows})
	if len(*a) > arrivalsMax {
		a.halve()
	}
}

// halve joins each time with the one behind it.
func (a *Arrivals) halve() {
	all := *a
	slices.SortFunc(all, func(x, y Arrival) int { return cmp.Compare(x.At, y.At) })
	n := 0
	for i := 0; i < len(all); i += 2 {
		all[n] = all[i]
		if i+1 < len(all) {
			all[n].Rows += all[i+1].Rows
		}
		n++
	}
	*a = all[:n]
}

// Merge takes in the rows of another part of the batch.
func (a *Arrivals) Merge(o Arrivals) {
	for _, x := range o {
		a.Add(x.At, x.Rows)
	}
}
