package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/test/nexmark"
)

// What an hour of event time is cut into: a batch a minute, a line of the table
// every five.
const (
	hourMinutes = 60
	hourEvery   = 5
)

// hourQueries are those whose state the watermark bounds.
const hourQueries = "q5,q7,q8,q11"

// hour shows the state of windowed queries over an hour of event time.
func hour(ctx context.Context, o options) (string, error) {
	if o.only == "" {
		o.only = hourQueries
	}
	o.rate = min(o.rate, 2000)
	o.events, o.trigger = o.rate*60*hourMinutes, o.rate*60
	table := &strings.Builder{}
	fmt.Fprintln(table, head(", an hour of event time", o)+"KB of state at the end of the batch of a minute; spread is (most - least) / most over the minutes from the fifth on.")
	fmt.Fprintln(table)
	line, rule := "| query |", "|---|"
	for m := hourEvery; m <= hourMinutes; m += hourEvery {
		line, rule = line+fmt.Sprintf(" %d min |", m), rule+"---:|"
	}
	say(table, line+" spread | CPU seconds |")
	say(table, rule+"---:|---:|")
	for _, q := range o.queries() {
		m, err := measure(ctx, q, o.events, o)
		if err != nil {
			return "", err
		}
		row, err := m.hourLine(q)
		if err != nil {
			return "", err
		}
		say(table, row)
	}
	return table.String(), nil
}

func (m measurement) hourLine(q nexmark.Query) (string, error) {
	if len(m.sizes) < hourMinutes {
		return "", fmt.Errorf("%s: %d batches are known of %d", q.Name, len(m.sizes), hourMinutes)
	}
	line := fmt.Sprintf("| %s |", q.Name)
	most, least := m.sizes[hourEvery-1], m.sizes[hourEvery-1]
	for i, size := range m.sizes[:hourMinutes] {
		if i+1 >= hourEvery {
			most, least = max(most, size), min(least, size)
		}
		if (i+1)%hourEvery == 0 {
			line += fmt.Sprintf(" %.0f |", float64(size)/1e3)
		}
	}
	return line + fmt.Sprintf(" %.0f %% | %.1f |", 100*float64(most-least)/float64(max(most, 1)), m.cpu.Round(time.Millisecond).Seconds()), nil
}
