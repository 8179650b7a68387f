package nexmark

import "slices"

// What follows makes columns of bids without a call for each value, and without
// branches that a processor cannot foresee. Each gives what the function of one
// event gives.

// bulk makes a column of numbers; events know their rows.
type bulk func(c *config, events []event, out []int64)

// bulkText makes a column of texts of as many rows as there are events: it writes
// them behind each other into dst, and where they begin and end into at. dst has
// room for the longest texts and slack more bytes.
type bulkText func(t *texts, events []event, dst []byte, at []int32)

// slack is how many bytes are copied at a time, whatever a text's length.
const slack = 96

// short is how much of a channel's name is copied, which is all of it.
const short = 16

func copySlack(dst, src []byte) { *(*[slack]byte)(dst) = *(*[slack]byte)(src) }

// drawInOrder is draw for events in their order, of which none is late.
func (r *reader) drawInOrder(from, to int64) {
	c, want := r.config, r.config.kind
	id := c.first + from
	period, in := id/proportion, int32(id%proportion)
	// Milliseconds since the base, and what is left of the division.
	ms, left := from*1000/c.rate, from*1000%c.rate
	step, more := 1000/c.rate, 1000%c.rate
	lists, rows, seed := r.events, int32(0), uint64(c.seed) // not written to the heap for each event
	for number := from; number < to; number++ {
		k := bid
		if in <= auctionsAPeriod {
			k = auction
			if in == 0 {
				k = person
			}
		}
		if want == all || want == k {
			list := &lists[k]
			at := len(*list)
			if at == cap(*list) {
				*list = slices.Grow(*list, 1)
			}
			*list = (*list)[:at+1]
			e := &(*list)[at]
			e.hash = mix(seed ^ mix(uint64(c.first+number)+golden))
			e.period, e.number, e.ts, e.in, e.at = period, number, c.base+ms, in, rows
			rows++
		}
		if in++; in == proportion {
			in = 0
			period++
		}
		ms += step
		if left += more; left >= c.rate {
			left -= c.rate
			ms++
		}
	}
	r.events, r.rows = lists, int(rows)
}

func eventTimes(_ *config, events []event, out []int64) {
	for i := range events {
		out[events[i].at] = events[i].ts * 1000
	}
}

// bidAuctions is bidAuction. Both choices are made, and one is taken.
func bidAuctions(_ *config, events []event, out []int64) {
	for i := range events {
		e := &events[i]
		last := e.period*auctionsAPeriod + auctionsAPeriod - 1
		low := max(last-inFlightAuctions, 0)
		id := low + int64(drawAuction.of(e.hash).below(uint64(last-low+1+auctionLead)))
		hot := last / hotEvery * hotEvery
		if drawAuctionHot.of(e.hash) >= 1<<63 { // below(2) > 0
			id = hot
		}
		out[e.at] = firstID + id
	}
}

func bidBidders(c *config, events []event, out []int64) {
	base := int64(firstID)
	if c.bug {
		base += firstID
	}
	for i := range events {
		e := &events[i]
		n := e.period + 1
		active := min(n, activePeople)
		id := n - active + int64(drawBidder.of(e.hash).below(uint64(active+personLead)))
		hot := e.period/hotEvery*hotEvery + 1
		if drawBidderHot.of(e.hash) >= 1<<62 { // below(4) > 0
			id = hot
		}
		out[e.at] = base + id
	}
}

func bidPrices(_ *config, events []event, out []int64) {
	for i := range events {
		out[events[i].at] = drawPrice.of(events[i].hash).price()
	}
}

func bidExtras(t *texts, events []event, dst []byte, at []int32) {
	const (
		want  = bidSize - 4*8
		delta = (want*2 + 5) / 10
	)
	pos := 0
	for i := range events {
		h := events[i].hash
		n := want - delta + int(drawExtraSize.of(h).below(2*delta))
		from := int(drawExtraFrom.of(h).below(uint64(extraLen - n)))
		at[i] = int32(pos)
		copySlack(dst[pos:], t.extra[from:from+slack])
		pos += n
	}
	at[len(events)] = int32(pos)
}

func bidChannels(t *texts, events []event, dst []byte, at []int32) {
	if t.nameMax > short {
		t.pick(&t.name, events, dst, at)
		return
	}
	pos := 0
	for i := range events {
		s := t.name[entry(&events[i])]
		at[i] = int32(pos)
		*(*[short]byte)(dst[pos:]) = *(*[short]byte)(t.pool[s.from:])
		pos += int(s.to - s.from)
	}
	at[len(events)] = int32(pos)
}

func bidURLs(t *texts, events []event, dst []byte, at []int32) {
	t.pick(&t.url, events, dst, at)
}

// pick copies from the pool what the entry of each bid has.
func (t *texts) pick(spans *[len(hotNames) + channels]span, events []event, dst []byte, at []int32) {
	pos := 0
	for i := range events {
		s := spans[entry(&events[i])]
		at[i] = int32(pos)
		for from := int(s.from); from < int(s.to); from += slack {
			copySlack(dst[pos+from-int(s.from):], t.pool[from:from+slack])
		}
		pos += int(s.to - s.from)
	}
	at[len(events)] = int32(pos)
}
