package main

import (
	"context"
	"fmt"
	"math"
	"strings"
)

// growthSizes are the numbers of events that growth is measured over.
var growthSizes = []int64{1_000_000, 2_000_000, 4_000_000, 8_000_000}

// growth runs each query over more and more events. The exponent is the slope of
// the line through the logarithms: 1 is linear growth, 0 none.
func growth(ctx context.Context, o options) (string, error) {
	o.trigger = min(o.trigger, 250_000)
	table := &strings.Builder{}
	fmt.Fprintln(table, head(", growth", o)+
		"CPU seconds and MB of state over 1, 2, 4 and 8 million events; an exponent of 1 is linear growth. State is the most at the end of a batch.")
	fmt.Fprintln(table)
	say(table, "| query | CPU s 1M | 2M | 4M | 8M | exponent | state MB 1M | 2M | 4M | 8M | exponent | state rows 8M |")
	say(table, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, q := range o.queries() {
		var cpu, size []float64
		line, sizes := &strings.Builder{}, &strings.Builder{}
		var last measurement
		for _, events := range growthSizes {
			m, err := measure(ctx, q, events, o)
			if err != nil {
				return "", err
			}
			cpu, size, last = append(cpu, m.cpu.Seconds()), append(size, float64(m.size)), m
			fmt.Fprintf(line, " %.2f |", m.cpu.Seconds())
			fmt.Fprintf(sizes, " %.1f |", float64(m.size)/1e6)
		}
		say(table, fmt.Sprintf("| %s |%s %s |%s %s | %d |", q.Name, line, exponent(cpu), sizes, exponent(size), last.rows))
	}
	return table.String(), nil
}

// exponent is by which power of the number of events a quantity grows.
func exponent(of []float64) string {
	var sx, sy, sxx, sxy float64
	for i, y := range of {
		if y <= 0 {
			return ""
		}
		x, y := math.Log(float64(growthSizes[i])), math.Log(y)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	n := float64(len(of))
	return fmt.Sprintf("%.2f", (n*sxy-sx*sy)/(n*sxx-sx*sx))
}
