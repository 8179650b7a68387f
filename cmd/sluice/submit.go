package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

// serverAddress is where a driver serves clients unless it is told otherwise.
const serverAddress = "127.0.0.1:7071"

// server are the flags of a command that asks a driver.
func (f *clientFlags) server(c *cobra.Command) {
	f.flag = "--server"
	c.Flags().StringVar(&f.addr, "server", serverAddress, "where the driver serves clients, HOST:PORT; of several drivers some or all, with commas")
	c.Flags().StringVar(&f.tlsDir, "tls-dir", "", "a folder with the ca.crt of the cluster, and a certificate if there is one")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "a file with the token for the driver; else it is taken from $"+tokenVariable)
}

func submitCommand(env *environment) *cobra.Command {
	var f clientFlags
	var name string
	var remove bool
	c := &cobra.Command{
		Use:   "submit PIPELINE.sql",
		Short: "Give a pipeline to a cluster, which runs it until it is removed",
		Long: "Give the statements of a file to the driver of a cluster: declarations and streaming queries, which run until\n" +
			"the pipeline is removed, however often processes are started again. With --remove the queries end after their\n" +
			"running batch, and the pipeline is forgotten; its checkpoints stay, and submitted again it goes on from them.",
		Args: oneArg("the file of the pipeline, or with --remove its name"),
		RunE: func(c *cobra.Command, args []string) error {
			if remove {
				var said map[string]string
				if err := f.ask(c.Context(), http.MethodDelete, "/api/pipelines/"+url.PathEscape(args[0]), &said); err != nil {
					return err
				}
				fmt.Fprintf(env.out, "pipeline %s is removed\n", args[0])
				return nil
			}
			text, err := os.ReadFile(args[0])
			if err != nil {
				return usageError{err}
			}
			if name == "" {
				name = strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0]))
			}
			var p sluice.Pipeline
			if err := f.send(c.Context(), http.MethodPost, "/api/pipelines/"+url.PathEscape(name), string(text), &p); err != nil {
				return err
			}
			fmt.Fprintf(env.out, "pipeline %s runs: %s\n", p.Name, strings.Join(p.Queries, ", "))
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "", "the pipeline's name; default that of the file")
	c.Flags().BoolVar(&remove, "remove", false, "end the pipeline of the name that is given")
	f.server(c)
	return c
}

// queryLine is what `sluice queries` shows of a query.
type queryLine struct {
	Name   string        `json:"name"`
	Status string        `json:"status"`
	Error  string        `json:"error"`
	Totals sluice.Totals `json:"totals"`
	Last   *struct {
		BatchID     int64     `json:"batchId"`
		RowsPerSec  float64   `json:"processedRowsPerSecond"`
		DurationsMs durations `json:"durationMs"`
	} `json:"lastProgress"`
}

// durations are read no further.
type durations map[string]any

func queriesCommand(env *environment) *cobra.Command {
	var f clientFlags
	var format string
	c := &cobra.Command{
		Use:   "queries",
		Short: "List the streaming queries of a cluster",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch format {
			case "json":
				var raw []map[string]any
				if err := f.ask(c.Context(), http.MethodGet, "/api/queries", &raw); err != nil {
					return err
				}
				return printJSON(env.out, raw)
			case "table":
				var list []queryLine
				if err := f.ask(c.Context(), http.MethodGet, "/api/queries", &list); err != nil {
					return err
				}
				return printQueries(env.out, list)
			}
			return usageError{errors.New("--format " + format + ": want table or json")}
		},
	}
	c.Flags().StringVar(&format, "format", "table", "table or json")
	f.server(c)
	return c
}

func printQueries(out io.Writer, list []queryLine) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATUS\tBATCH\tROWS IN\tROWS OUT\tROWS/S\tERROR")
	for _, q := range list {
		last, speed := "-", "-"
		if q.Last != nil {
			last, speed = fmt.Sprint(q.Last.BatchID), fmt.Sprintf("%.0f", q.Last.RowsPerSec)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\n", q.Name, q.Status, last, q.Totals.RowsIn, q.Totals.RowsOut, speed, q.Error)
	}
	return w.Flush()
}
