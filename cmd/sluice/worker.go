package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

func workerCommand(env *environment) *cobra.Command {
	var o sluice.WorkerOptions
	var data string
	var patience time.Duration
	c := &cobra.Command{
		Use:   "worker --id ID --data DIR --join HOST:PORT",
		Short: "Run a worker of a cluster",
		Long: "Run a worker until it is interrupted. It joins the driver, and looks for it again whenever that is away. At a\n" +
			"first interrupt it leaves in good order: queries go on without it from their next batch on.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.ID == "" || data == "" || len(o.Join) == 0 {
				return usageError{errors.New("--id ID, --data DIR and --join HOST:PORT: say what the worker is called, where it may put what memory has no room for, and where its driver is")}
			}
			if o.Slots < 0 {
				return usageError{fmt.Errorf("--slots %d: want at least 1", o.Slots)}
			}
			opts, err := env.options(sluice.Options{})
			if err != nil {
				return err
			}
			spill := filepath.Join(data, "spill")
			if err := os.MkdirAll(spill, 0o700); err != nil {
				return usageError{fmt.Errorf("--data: %w", err)}
			}
			if opts.Settings["spill.dir"] == "" {
				opts.Settings["spill.dir"] = spill
			}
			o.Settings, o.Logger = opts.Settings, opts.Logger
			return serveWorker(c.Context(), env, o, patience)
		},
	}
	c.Flags().StringVar(&o.ID, "id", "", "the worker's name, of which the cluster has one")
	c.Flags().StringVar(&data, "data", "", "the worker's folder; nothing in it outlives the process")
	c.Flags().StringSliceVar(&o.Join, "join", nil, "the drivers' addresses, HOST:PORT with commas")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:0", "where other workers read rows, HOST:PORT; beyond loopback only with --tls-dir")
	c.Flags().StringVar(&o.Advertise, "advertise", "", "where others reach --listen, if that is another HOST:PORT")
	c.Flags().StringVar(&o.TLSDir, "tls-dir", "", "a folder with ca.crt, tls.crt and tls.key; sluice certs makes one")
	c.Flags().IntVar(&o.Slots, "slots", 0, "how many tasks run at a time; default the number of processors")
	c.Flags().DurationVar(&patience, "drain-timeout", time.Minute, "how long the worker waits at its end until queries go on without it")
	return c
}

func serveWorker(ctx context.Context, env *environment, o sluice.WorkerOptions, patience time.Duration) (err error) {
	w, err := sluice.JoinCluster(ctx, o)
	if err != nil {
		return asUsage(err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	leave, joined := interrupted(), ""
	for {
		changed := w.Changed()
		id, address, err := w.Driver()
		if err != nil {
			return fmt.Errorf("worker %s: %w", o.ID, err)
		}
		if id != joined {
			if joined = id; id != "" {
				fmt.Fprintf(env.err, "worker %s: joined driver %s at %s\n", o.ID, id, address)
			} else {
				fmt.Fprintf(env.err, "worker %s: no driver\n", o.ID)
			}
		}
		select {
		case <-changed:
			continue
		case <-leave:
		}
		fmt.Fprintln(env.err, "leaving when queries go on without this worker; interrupt again to leave at once")
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return w.Drain(ctx)
	}
}
