package sluice_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/sluice-stream/sluice"
)

// account puts out the balance after each payment that is larger than all before.
type account struct {
	sluice.ProcessorBase
	balance *sluice.ValueState[int64]
	largest *sluice.ValueState[int64]
}

func (a *account) Open(c *sluice.ProcessorContext) error {
	a.balance = sluice.NewValueState[int64](c, "balance")
	a.largest = sluice.NewValueState[int64](c, "largest", sluice.StateTTL(30*24*time.Hour))
	return nil
}

func (a *account) Process(c *sluice.ProcessorContext, key sluice.Row, rows *sluice.Rows) error {
	cents := rows.Index("cents")
	for i := range rows.Len() {
		paid := rows.Int64(i, cents)
		balance, _, err := a.balance.Get()
		if err != nil {
			return err
		}
		largest, seen, err := a.largest.Get()
		if err != nil {
			return err
		}
		if err := a.balance.Update(balance + paid); err != nil {
			return err
		}
		if seen && paid <= largest {
			continue
		}
		if err := a.largest.Update(paid); err != nil {
			return err
		}
		if err := c.Emit(paid, balance+paid); err != nil {
			return err
		}
	}
	return nil
}

// ExampleKeyed_Process runs Go code with state over the rows of each key. The rows are
// a table here; over a stream the code is the same.
func ExampleKeyed_Process() {
	s, err := sluice.NewSession(sluice.Options{Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	type payment struct {
		Account string `sluice:"account"`
		Cents   int64  `sluice:"cents"`
	}
	rows, err := sluice.FromSlice(s, []payment{{"a", 100}, {"b", 7}, {"a", 50}, {"a", 300}, {"b", 8}}).
		KeyBy("account").
		Process("records", func() sluice.Processor { return &account{} }, "paid BIGINT, balance BIGINT").
		OrderBy("account", "paid").
		Collect(context.Background())
	fmt.Println(rows, err)
	// Output: [[a 100 100] [a 300 450] [b 7 7] [b 8 15]] <nil>
}

// ExampleMapGroups makes a row of all rows of a key.
func ExampleMapGroups() {
	s, err := sluice.NewSession(sluice.Options{Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	type reading struct {
		Sensor string
		Value  float64
	}
	type summary struct {
		N      int64
		Spread float64
	}
	d := sluice.FromSlice(s, []reading{{"x", 1}, {"x", 4}, {"y", 2}})
	rows, err := sluice.MapGroups(d.KeyBy("Sensor"), "spread", func(_ sluice.Row, rows []reading) (summary, error) {
		lo, hi := rows[0].Value, rows[0].Value
		for _, r := range rows {
			lo, hi = min(lo, r.Value), max(hi, r.Value)
		}
		return summary{int64(len(rows)), hi - lo}, nil
	}).OrderBy("Sensor").Collect(context.Background())
	fmt.Println(rows, err)
	// Output: [[x 2 3] [y 1 0]] <nil>
}
