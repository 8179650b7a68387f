package kafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-stream/sluice/batch"
)

// lane is a topic-partition.
type lane struct {
	topic string
	part  int32
}

func (l lane) String() string { return fmt.Sprintf("%s/%d", l.topic, l.part) }

func compareLanes(a, b lane) int {
	switch {
	case a.topic != b.topic:
		if a.topic < b.topic {
			return -1
		}
		return 1
	default:
		return int(a.part) - int(b.part)
	}
}

// span is what of a partition was taken: from where the query's reading began to where it goes on.
type span struct {
	first, next int64
	era         int32 // of the message in front of next
}

// gap is what of a partition was gone before it was read. To is -1 if nobody knows
// where it would have ended, as of a topic that was deleted.
type gap struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// position is a batch.Offset taken apart.
type position struct {
	ids  map[string]kadm.TopicID
	at   map[lane]span
	lost []gap // by the batch that ends here
}

// positionText is its form.
type positionText struct {
	V      int                  `json:"v"`
	Topics map[string]topicText `json:"topics"`
	Lost   []gap                `json:"lost,omitempty"`
}

type topicText struct {
	ID []byte             `json:"id,omitempty"` // empty where brokers have no IDs
	At map[int32][2]int64 `json:"at"`
	// Eras are absent where nobody knows.
	Eras map[int32]int32 `json:"eras,omitempty"`
}

const positionVersion = 1

func newPosition() position {
	return position{ids: map[string]kadm.TopicID{}, at: map[lane]span{}}
}

func (p position) clone() position {
	return position{ids: maps.Clone(p.ids), at: maps.Clone(p.at)}
}

// lanes lists the partitions in order.
func (p position) lanes() []lane {
	return slices.SortedFunc(maps.Keys(p.at), compareLanes)
}

// offset is the position's text; equal positions have equal texts.
func (p position) offset() batch.Offset {
	t := positionText{V: positionVersion, Topics: map[string]topicText{}, Lost: p.lost}
	for l, s := range p.at {
		topic, ok := t.Topics[l.topic]
		if !ok {
			topic.At = map[int32][2]int64{}
			if id := p.ids[l.topic]; id != (kadm.TopicID{}) {
				topic.ID = id[:]
			}
		}
		topic.At[l.part] = [2]int64{s.first, s.next}
		if s.era > 0 {
			if topic.Eras == nil {
				topic.Eras = map[int32]int32{}
			}
			topic.Eras[l.part] = s.era
		}
		t.Topics[l.topic] = topic
	}
	b, _ := json.Marshal(t) // texts and numbers always can be; maps are written in order
	return batch.Offset(b)
}

func parsePosition(o batch.Offset) (position, error) {
	p := newPosition()
	if o == "" {
		return p, nil
	}
	var t positionText
	d := json.NewDecoder(bytes.NewReader([]byte(o)))
	d.DisallowUnknownFields()
	err := d.Decode(&t)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = fmt.Errorf("text behind its end")
		}
	}
	if err != nil {
		return p, fmt.Errorf("%q is no offset of the connector 'kafka': %w", o, err)
	}
	if t.V != positionVersion {
		return p, batch.UserErrorf("offset %q is of version %d, this version of Sluice knows %d", o, t.V, positionVersion)
	}
	p.lost = t.Lost
	for name, topic := range t.Topics {
		var id kadm.TopicID
		if len(topic.ID) != 0 && copy(id[:], topic.ID) != len(topic.ID) {
			return p, fmt.Errorf("offset %q: the ID of topic %q has %d bytes", o, name, len(topic.ID))
		}
		p.ids[name] = id
		for part, s := range topic.At {
			if part < 0 || s[0] < 0 || s[1] < s[0] {
				return p, fmt.Errorf("offset %q: partition %d of topic %q reads from %d to %d", o, part, name, s[0], s[1])
			}
			p.at[lane{name, part}] = span{s[0], s[1], max(0, topic.Eras[part])}
		}
	}
	return p, nil
}

// same reports whether a topic is the one that the position was taken of. Brokers
// that know no IDs cannot tell.
func (p position) same(topic string, id kadm.TopicID) bool {
	was := p.ids[topic]
	return was == id || was == (kadm.TopicID{}) || id == (kadm.TopicID{})
}

// limited takes at most rows offsets of what lies between the spans' next and the
// ends, of each partition its share. rows <= 0 is no limit.
func (p position) limited(ends map[lane]int64, rows int64) position {
	out := p.clone()
	total := int64(0)
	lanes := p.lanes()
	left := make([]int64, len(lanes))
	for i, l := range lanes {
		left[i] = max(0, ends[l]-p.at[l].next)
		total += left[i]
	}
	if rows <= 0 || rows > total {
		rows = total
	}
	rest := rows
	take := make([]int64, len(lanes))
	for i := range lanes {
		if total > 0 {
			take[i] = int64(float64(left[i]) * (float64(rows) / float64(total)))
			take[i] = min(take[i], left[i], rest)
			rest -= take[i]
		}
	}
	for i, l := range lanes {
		more := min(rest, left[i]-take[i])
		rest -= more
		s := p.at[l]
		if s.next += take[i] + more; take[i]+more > 0 {
			s.era = 0
		}
		out.at[l] = s
	}
	return out
}
