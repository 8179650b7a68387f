package nexmark

// kind is a type of event; it is also the value of the column event_type.
type kind int32

const (
	person kind = iota
	auction
	bid
	all // of a table: not one type, but the three
)

// kinds counts the types of event.
const kinds = 3

var kindNames = [...]string{"person", "auction", "bid", "all"}

func kindNamed(name string) kind {
	for k, n := range kindNames {
		if n == name {
			return kind(k)
		}
	}
	return all
}

// The proportions and id ranges of the workload.
const (
	proportion       = 50 // events in a period: 1 person, 3 auctions, 46 bids
	auctionsAPeriod  = 3
	firstID          = 1000 // of persons and of auctions
	activePeople     = 1000
	personLead       = 10 // ids of persons that do not exist yet
	inFlightAuctions = 100
	auctionLead      = 10
	firstCategory    = 10
	categories       = 5
	hotEvery         = 100  // a hot person or auction is the last whose number divides by it
	auctionHorizon   = 1666 // events: inFlightAuctions * 50 / 3
)

// event is what all fields of an event are derived from.
type event struct {
	hash   uint64
	period int64 // id / 50
	number int64 // place on the timeline
	ts     int64 // ms since 1970, set back if the event is late
	in     int32 // id mod 50
	at     int32 // row in the batch
}

// make fills in the event at a position of the stream and returns its type.
func (c *config) event(e *event, position int64) kind {
	number := position
	if c.group > 1 {
		number = position/c.group*c.group + position*disorderPrime%c.group
	}
	id := c.first + number
	e.period, e.in, e.number = id/proportion, int32(id%proportion), number
	e.hash = mix(uint64(c.seed) ^ mix(uint64(id)+golden))
	e.ts = c.timeOf(number)
	if c.lateBelow > 0 && uint64(drawLate.of(e.hash))>>11 < c.lateBelow {
		e.ts -= 1 + int64(drawLateBy.of(e.hash).below(c.lateMax))
	}
	switch {
	case e.in == 0:
		return person
	case e.in <= auctionsAPeriod:
		return auction
	default:
		return bid
	}
}

// timeOf is the event time of a place on the timeline, in ms since 1970.
func (c *config) timeOf(number int64) int64 { return c.base + number*1000/c.rate }

// lastAuction is the number of the newest auction at the time of the event, -1
// at the very first person.
func (e *event) lastAuction() int64 {
	switch {
	case e.in == 0:
		return e.period*auctionsAPeriod - 1
	case e.in <= auctionsAPeriod:
		return e.period*auctionsAPeriod + int64(e.in) - 1
	default:
		return e.period*auctionsAPeriod + auctionsAPeriod - 1
	}
}

// lastPerson is the number of the newest person at the time of the event.
func (e *event) lastPerson() int64 { return e.period }

// anyPerson draws one of the last thousand persons, or of the next few.
func (e *event) anyPerson(f field) int64 {
	n := e.lastPerson() + 1
	active := min(n, activePeople)
	return n - active + int64(f.of(e.hash).below(uint64(active+personLead)))
}

// anyAuction draws one of the auctions in flight, or of the next few.
func (e *event) anyAuction(f field) int64 {
	last := e.lastAuction()
	low := max(last-inFlightAuctions, 0)
	return low + int64(f.of(e.hash).below(uint64(last-low+1+auctionLead)))
}

// The whole-number fields.

func (c *config) personID(e *event) int64  { return firstID + e.lastPerson() }
func (c *config) auctionID(e *event) int64 { return firstID + e.lastAuction() }
func (c *config) dateTime(e *event) int64  { return e.ts * 1000 }

func (c *config) seller(e *event) int64 {
	if drawSellerHot.of(e.hash).below(4) > 0 {
		return firstID + e.lastPerson()/hotEvery*hotEvery
	}
	return firstID + e.anyPerson(drawSeller)
}

func (c *config) category(e *event) int64 {
	return firstCategory + int64(drawCategory.of(e.hash).below(categories))
}

func (c *config) initialBid(e *event) int64 { return drawInitialBid.of(e.hash).price() }

func (c *config) reserve(e *event) int64 {
	return c.initialBid(e) + drawReserve.of(e.hash).price()
}

// expires is 1 ms up to twice the time that the auctions in flight take after
// the auction's own time.
func (c *config) expires(e *event) int64 {
	horizon := c.timeOf(e.number+auctionHorizon) - c.timeOf(e.number)
	life := 1 + int64(drawExpires.of(e.hash).below(uint64(max(2*horizon, 1))))
	return (e.ts + life) * 1000
}

func (c *config) bidAuction(e *event) int64 {
	if drawAuctionHot.of(e.hash).below(2) > 0 {
		return firstID + e.lastAuction()/hotEvery*hotEvery
	}
	return firstID + e.anyAuction(drawAuction)
}

func (c *config) bidder(e *event) int64 {
	id := int64(firstID)
	if c.bug {
		id += firstID
	}
	if drawBidderHot.of(e.hash).below(4) > 0 {
		return id + e.lastPerson()/hotEvery*hotEvery + 1
	}
	return id + e.anyPerson(drawBidder)
}

func (c *config) price(e *event) int64 { return drawPrice.of(e.hash).price() }
