package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// liveFlags are those of a look at the state of a query that runs.
type liveFlags struct {
	http  clientFlags
	keys  []string
	limit int
	batch int64
}

func (f *liveFlags) add(c *cobra.Command) {
	f.http.add(c, "HOST:PORT of a driver, or at which 'sluice run' serves: look at a query that runs")
	c.Flags().StringArrayVar(&f.keys, "key", nil, "with --http: the value of a key column, once for each in the order of GROUP BY; all rows without")
	c.Flags().IntVar(&f.limit, "limit", 1000, "with --http: how many rows to print")
	c.Flags().Int64Var(&f.batch, "batch", -1, "with --http: the state after this batch, if its checkpoint is kept")
}

func (f *liveFlags) check(c *cobra.Command) error {
	of := func(flags ...string) error {
		for _, name := range flags {
			if c.Flags().Changed(name) {
				return usageError{fmt.Errorf("--%s does not go with what is asked for: see sluice state --help", name)}
			}
		}
		return nil
	}
	switch {
	case f.http.addr == "":
		return of("key", "limit", "batch", "tls-dir", "token-file")
	case !c.Flags().Changed("operator"):
		return of("key", "limit", "batch", "top", "savepoint")
	}
	return of("top", "savepoint")
}

// run asks the process that runs the query, and prints what it says.
func (f *liveFlags) run(ctx context.Context, out io.Writer, query, operator string, asJSON bool) error {
	path := "/api/queries/" + url.PathEscape(query) + "/state"
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if operator == "" {
		var list []struct {
			Operator, Kind string
			Keys           []string
		}
		if err := f.http.ask(ctx, http.MethodGet, path, &list); err != nil {
			return err
		}
		if asJSON {
			return printJSON(out, list)
		}
		fmt.Fprintln(w, "OPERATOR\tKIND\tKEY")
		for _, o := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\n", o.Operator, o.Kind, orDash(strings.Join(o.Keys, ", ")))
		}
		return w.Flush()
	}
	asked := url.Values{"limit": {fmt.Sprint(f.limit)}}
	if len(f.keys) > 0 {
		asked["key"] = f.keys
	}
	if f.batch >= 0 {
		asked.Set("batch", fmt.Sprint(f.batch))
	}
	var raw json.RawMessage
	if err := f.http.ask(ctx, http.MethodGet, path+"/"+url.PathEscape(operator)+"?"+asked.Encode(), &raw); err != nil {
		return err
	}
	if asJSON {
		_, err := fmt.Fprintf(out, "%s\n", raw)
		return err
	}
	var said struct {
		Batch   int64
		Columns []string
		Rows    [][]json.RawMessage
		More    bool
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return fmt.Errorf("the answer of %s: %w", f.http.addr, err)
	}
	fmt.Fprintln(w, strings.Join(said.Columns, "\t"))
	for _, row := range said.Rows {
		texts := make([]string, len(row))
		for i, v := range row {
			texts[i] = stateText(v)
		}
		fmt.Fprintln(w, strings.Join(texts, "\t"))
	}
	more := ""
	if said.More {
		more = ", and more"
	}
	_, err := fmt.Fprintf(w, "after batch %d: %d rows%s\n", said.Batch, len(said.Rows), more)
	return errors.Join(err, w.Flush())
}

// stateText prints a value as it is, a text without its quotes.
func stateText(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil && len(v) > 0 && v[0] == '"' {
		return strings.Map(func(r rune) rune {
			if r < ' ' {
				return ' '
			}
			return r
		}, text)
	}
	return string(v)
}
