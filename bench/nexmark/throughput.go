package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// flink is what the project publishes for Flink 2.0, in thousands of events a
// second and core (nexmark, GUIDE_V2.md).
var flink = map[string]float64{
	"q0": 379, "q1": 395, "q2": 414, "q3": 219, "q4": 28, "q5": 75, "q7": 23, "q8": 162, "q9": 14, "q10": 133, "q11": 46, "q12": 194,
	"q13": 188, "q14": 259, "q15": 168, "q16": 45, "q17": 161, "q18": 65, "q19": 43, "q20": 18, "q21": 147, "q22": 212,
}

// throughput runs each query once and sets it beside Flink.
func throughput(ctx context.Context, o options) (string, error) {
	table := &strings.Builder{}
	fmt.Fprintln(table, head("", o)+"Flink is its published figure per core; the ratio is by CPU time used, the generator's included.")
	fmt.Fprintln(table)
	say(table, "| query | events | seconds | K events/s | CPU seconds | K events/s/core | Flink | ratio | rows out | state rows | state MB |")
	say(table, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	for _, q := range o.queries() {
		m, err := measure(ctx, q, o.events, o)
		if err != nil {
			return "", err
		}
		say(table, m.line(q.Name, o.events))
		if o.json {
			if err := json.NewEncoder(os.Stdout).Encode(map[string]any{
				"engine": "sluice", "query": q.Name, "rows": m.in, "seconds": m.wall.Seconds(), "cpu_seconds": m.cpu.Seconds(), "out": m.out, "batches": m.batches,
			}); err != nil {
				return "", err
			}
		}
	}
	return table.String(), nil
}

func (m measurement) line(name string, events int64) string {
	perCore := float64(events) / m.cpu.Seconds() / 1000
	published, ratio := "", ""
	if f, ok := flink[name]; ok {
		published, ratio = fmt.Sprintf("%.0f", f), fmt.Sprintf("%.1f", perCore/f)
	}
	return fmt.Sprintf("| %s | %d | %.2f | %.0f | %.2f | %.0f | %s | %s | %d | %d | %.1f |", name, events, m.wall.Seconds(),
		float64(events)/m.wall.Seconds()/1000, m.cpu.Seconds(), perCore, published, ratio, m.out, m.rows, float64(m.size)/1e6)
}
