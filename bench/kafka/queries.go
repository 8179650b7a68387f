package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// query is one of those that other engines were measured with: q5 and q7 without the
// maximum over all windows' rows and without the join back.
type query struct{ columns, mode, text string }

var queries = map[string]query{
	"q0": {"auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP(3), extra STRING", "append",
		"SELECT auction, bidder, price, date_time, extra FROM bid"},
	"q1": {"auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), date_time TIMESTAMP(3), extra STRING", "append",
		"SELECT auction, bidder, 0.908 * price, date_time, extra FROM bid"},
	"q2": {"auction BIGINT, price BIGINT", "append",
		"SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0"},
	"q5": {"auction BIGINT, s TIMESTAMP(3), e TIMESTAMP(3), num BIGINT", "append",
		"SELECT auction, window_start, window_end, count(*) FROM HOP(TABLE bid, DESCRIPTOR(date_time), INTERVAL '2' SECOND, INTERVAL '10' SECOND) GROUP BY auction, window_start, window_end"},
	"q7": {"s TIMESTAMP(3), e TIMESTAMP(3), mp BIGINT, c BIGINT", "append",
		"SELECT window_start, window_end, max(price), count(*) FROM TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND) GROUP BY window_start, window_end"},
	"q8": {"id BIGINT, name STRING, s TIMESTAMP(3)", "append", `SELECT p.id, p.name, p.window_start
FROM (SELECT id, name, window_start, window_end FROM TUMBLE(TABLE person, DESCRIPTOR(date_time), INTERVAL '10' SECOND) GROUP BY id, name, window_start, window_end) p
JOIN (SELECT seller, window_start, window_end FROM TUMBLE(TABLE auction, DESCRIPTOR(date_time), INTERVAL '10' SECOND) GROUP BY seller, window_start, window_end) a
ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end`},
	"q11": {"bidder BIGINT, s TIMESTAMP(3), e TIMESTAMP(3), c BIGINT", "append",
		"SELECT bidder, window_start, window_end, count(*) FROM SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(date_time), INTERVAL '10' SECOND) GROUP BY bidder, window_start, window_end"},
	"count": {"bidder BIGINT, c BIGINT, t BIGINT", "update",
		"SELECT bidder, count(*), sum(price) FROM bid GROUP BY bidder"},
}

// topics are the columns of each and how they are made of Nexmark's events.
var topics = []struct{ name, columns, from string }{
	{"bid", "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time TIMESTAMP(3), extra STRING",
		"auction, bidder, price, channel, url, dateTime, extra"},
	{"auction", "id BIGINT, item_name STRING, description STRING, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra STRING",
		"id, itemName, description, initialBid, reserve, dateTime, expires, seller, category, extra"},
	{"person", "id BIGINT, name STRING, email_address STRING, credit_card STRING, city STRING, state STRING, date_time TIMESTAMP(3), extra STRING",
		"id, name, emailAddress, creditCard, city, state, dateTime, extra"},
}

func tables(o options) string {
	b := &strings.Builder{}
	for _, t := range topics {
		fmt.Fprintf(b, "CREATE TABLE %s (%s, WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND) WITH ('connector'='kafka', 'bootstrap.servers'='%s', 'topic'='%s_%s', 'starting-offsets'='earliest');\n",
			t.name, t.columns, o.brokers, o.prefix, t.name)
	}
	return b.String()
}

const partitions = 4

// fill makes the topics anew, and the backlog in them.
func fill(ctx context.Context, o options) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(o.brokers, ",")...))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var names []string
	for _, t := range topics {
		names = append(names, o.prefix+"_"+t.name)
	}
	if _, err := adm.DeleteTopics(ctx, names...); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		made, err := adm.CreateTopics(ctx, partitions, 1, nil, names...)
		if err == nil {
			err = made.Error()
		}
		if err == nil {
			break
		}
		if time.Now().After(end) { // it is there until its deletion is through
			return err
		}
	}
	dir, err := os.MkdirTemp("", "sluice-bench-kafka-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := session(dir, o)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, t := range topics {
		script := fmt.Sprintf("CREATE TABLE made_%[1]s WITH ('connector'='nexmark', 'event-type'='%[1]s', 'events'='%[2]d', 'max-events-per-trigger'='200000', 'events-per-second'='10000');\n"+
			"CREATE TABLE to_%[1]s (%[3]s) WITH ('connector'='kafka', 'bootstrap.servers'='%[4]s', 'topic'='%[5]s_%[1]s', 'delivery'='at-least-once', 'partitioner'='round-robin');\n"+
			"CREATE STREAMING QUERY fill_%[1]s TRIGGER AVAILABLE NOW AS INSERT INTO to_%[1]s SELECT %[6]s FROM made_%[1]s", t.name, o.events, t.columns, o.brokers, o.prefix, t.from)
		if err := s.Exec(ctx, script); err != nil {
			return fmt.Errorf("fill topic %s: %w", t.name, err)
		}
		if err := s.AwaitAll(ctx); err != nil {
			return fmt.Errorf("fill topic %s: %w", t.name, err)
		}
		q, _ := s.Query("fill_" + t.name)
		fmt.Fprintf(os.Stderr, "%s: %d messages\n", t.name, q.Totals().RowsOut)
	}
	return nil
}
