package nexmark

import (
	"testing"
)

// What is made for many events at once is what is made for each, at any rate and
// wherever a split begins.
func TestBulkIsWhatEachEventGives(t *testing.T) {
	texts := newTexts(3)
	for _, c := range []config{
		{rate: 10_000, group: 1}, {rate: 7, group: 1, first: 2, seed: 9, bug: true}, {rate: 999_983, group: 1, base: 1436918400000, seed: -1}, {rate: 1_000_000_000, group: 1, first: 12345},
	} {
		for _, from := range []int64{0, 1, 49, 50, 12_345_678, maxEvents - 3000} {
			for _, k := range []kind{person, auction, bid, all} {
				c.kind = k
				r := &reader{config: &c, texts: texts}
				r.drawInOrder(from, from+3000)
				rows := int32(0)
				for p := from; p < from+3000; p++ {
					var want event
					of := c.event(&want, p)
					if k != all && k != of {
						continue
					}
					got := r.events[of][0]
					r.events[of] = r.events[of][1:]
					want.at = rows
					rows++
					if got != want {
						t.Fatalf("%+v, position %d: %+v, want %+v", c, p, got, want)
					}
				}
				if r.rows != int(rows) {
					t.Fatalf("%+v: %d rows, want %d", c, r.rows, rows)
				}
			}
			c.kind = bid
			r := &reader{config: &c, texts: texts}
			r.drawInOrder(from, from+3000)
			checkBulk(t, r)
		}
	}
}

func checkBulk(t *testing.T, r *reader) {
	t.Helper()
	events := r.events[bid]
	for _, col := range tables[bid] {
		if col.bulk == nil && col.bulkText == nil {
			t.Fatalf("%s is made one by one", col.name)
		}
		if col.bulk != nil {
			out := make([]int64, len(events))
			col.bulk(r.config, events, out)
			for i := range events {
				if want := col.number(r.config, &events[i]); out[i] != want {
					t.Fatalf("%s of %+v: %d, want %d", col.name, events[i], out[i], want)
				}
			}
			continue
		}
		room, at := make([]byte, len(events)*col.max(r.texts)+slack), make([]int32, len(events)+1)
		col.bulkText(r.texts, events, room, at)
		for i := range events {
			if want := string(col.text(r.texts, nil, &events[i])); string(room[at[i]:at[i+1]]) != want {
				t.Fatalf("%s of %+v: %q, want %q", col.name, events[i], room[at[i]:at[i+1]], want)
			}
		}
	}
}
