package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/batch"
)

func driverCommand(env *environment) *cobra.Command {
	var o sluice.DriverOptions
	h := httpFlags{addr: "127.0.0.1:7071"}
	c := &cobra.Command{
		Use:   "driver --id ID --data DIR",
		Short: "Run the driver of a cluster: it keeps pipelines and runs them on the workers that join",
		Long: "Run the driver of a cluster until it is interrupted. Pipelines that were submitted to it (sluice submit) run on\n" +
			"the workers that have joined it (sluice worker), and go on whenever it is started again with the same --data.\n" +
			"Driver and workers share the folders of tables and checkpoints. A first interrupt lets running batches end.\n\n" +
			"With --peers the driver is one of several, best three, that keep pipelines and batch logs together: one of them\n" +
			"leads, and when it is gone another one goes on. All are given the same list. Clients and workers may ask any.\n" +
			"At an interrupt the leader hands over. A driver whose disk fails ends, with exit code 1.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.ID == "" || o.Data == "" {
				return usageError{errors.New("--id ID and --data DIR: say what the driver is called and where it keeps what it is given")}
			}
			opts, err := env.options(sluice.Options{})
			if err != nil {
				return err
			}
			if len(o.Peers) > 0 && !c.Flags().Changed("listen") && o.Peers[o.ID] != "" {
				o.Listen = o.Peers[o.ID]
			}
			o.Fatal = func(err error) {
				fmt.Fprintf(env.err, "sluice: driver %s ends: %v\n", o.ID, err)
				os.Exit(exitQuery)
			}
			o.Build = buildVersion()
			o.Settings, o.Logger, o.Stdout, o.TLSDir, o.AuditLog = opts.Settings, opts.Logger, opts.Stdout, h.opts.TLSDir, h.opts.Audit()
			return serveDriver(c.Context(), env, o, &h)
		},
	}
	c.Flags().StringVar(&o.ID, "id", "", "the driver's name")
	c.Flags().StringVar(&o.Data, "data", "", "the driver's folder")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:7070", "where workers join, HOST:PORT; beyond loopback only with --tls-dir")
	c.Flags().StringVar(&o.Advertise, "advertise", "", "where workers reach --listen, if that is another HOST:PORT")
	c.Flags().StringVar(&o.CheckpointDir, "checkpoint-dir", "", "base of checkpoints that are relative or not given: s3://bucket/prefix, or a folder that workers share; default in --data")
	c.Flags().DurationVar(&o.Lease, "lease", 0, "how long a worker counts as there without a word; default 3s")
	c.Flags().StringToStringVar(&o.Peers, "peers", nil, "the drivers of the group, this one too, ID=HOST:PORT with commas: where workers and other drivers reach each")
	c.Flags().StringVar(&h.opts.Advertise, "http-advertise", "", "where clients reach --http, if that is another HOST:PORT; for a driver with --peers")
	h.add(c)
	c.Flags().Lookup("http").Usage = "serve clients at this HOST:PORT; beyond loopback only with --tls-dir and --auth-dir"
	return c
}

func serveDriver(ctx context.Context, env *environment, o sluice.DriverOptions, h *httpFlags) (err error) {
	d, err := sluice.StartDriver(ctx, o)
	if err != nil {
		return asUsage(err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	leave := interrupted() // before it says that it is there
	server, err := h.serve(env, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	fmt.Fprintf(env.err, "driver %s: workers join at %s\n", o.ID, d.Addr())
	<-leave
	fmt.Fprintln(env.err, "ending after the running batches; interrupt again to end at once")
	return nil
}

// interrupted is closed at the first interrupt; the second one ends the process.
func interrupted() <-chan struct{} {
	first := make(chan struct{})
	onInterrupt(func() { close(first) }, func() { os.Exit(exitQuery) })
	return first
}

// asUsage marks what the user can mend on the command line.
func asUsage(err error) error {
	if k, _ := batch.KindOf(err); k == batch.User {
		return usageError{err}
	}
	return err
}
