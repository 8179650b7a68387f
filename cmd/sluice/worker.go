package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
)

func workerCommand(env *environment) *cobra.Command {
	var o sluice.WorkerOptions
	var data string
	var patience time.Duration
	var h httpFlags
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
			if h.addr == "" && (h.opts.AuthDir != "" || len(h.opts.Hosts) > 0) {
				return usageError{errors.New("--auth-dir and --http-host are of --http HOST:PORT")}
			}
			opts, err := env.options(sluice.Options{})
			if err != nil {
				return err
			}
			spill := filepath.Join(data, "spill")
			if err := os.MkdirAll(spill, 0o700); err != nil {
				return usageError{fmt.Errorf("--data: %w", err)}
			}
			for key, dir := range map[string]string{"spill.dir": spill, "checkpoint.cache-dir": filepath.Join(data, "cache")} {
				if opts.Settings[key] == "" {
					opts.Settings[key] = dir
				}
			}
			o.Settings, o.Logger, o.Build = opts.Settings, opts.Logger, buildVersion()
			o.TLSDir, o.AuditLog = h.opts.TLSDir, h.opts.Audit()
			return serveWorker(c.Context(), env, o, &h, patience)
		},
	}
	c.Flags().StringVar(&o.ID, "id", "", "the worker's name, of which the cluster has one")
	c.Flags().StringVar(&data, "data", "", "the worker's folder; nothing in it is missed by the next process")
	c.Flags().StringSliceVar(&o.Join, "join", nil, "the drivers' addresses, HOST:PORT with commas")
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:0", "where other workers read rows, HOST:PORT; beyond loopback only with --tls-dir")
	c.Flags().StringVar(&o.Advertise, "advertise", "", "where others reach --listen, if that is another HOST:PORT")
	c.Flags().IntVar(&o.Slots, "slots", 0, "how many tasks run at a time; default the number of processors")
	c.Flags().DurationVar(&patience, "drain-timeout", time.Minute, "how long the worker waits at its end until queries go on without it")
	h.add(c)
	c.Flags().Lookup("http").Usage = "serve health and metrics at this HOST:PORT; beyond loopback only with --tls-dir and --auth-dir"
	c.Flags().Lookup("audit-log").Usage = "the file for which connections were refused; with --auth-dir its audit.jsonl is the default"
	return c
}

func serveWorker(ctx context.Context, env *environment, o sluice.WorkerOptions, h *httpFlags, patience time.Duration) (err error) {
	// A task that computes has its processor for 10 ms at a time, and the runtime looks at the
	// network no more often while all its processors are taken: other workers would wait so
	// long for each window of rows. With one more than there are tasks the system decides.
	if o.Slots == 0 {
		o.Slots = runtime.GOMAXPROCS(0)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), o.Slots+1))
	}
	w, err := sluice.JoinCluster(ctx, o)
	if err != nil {
		return asUsage(err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	leave, joined := interrupted(), ""
	if h.addr != "" {
		server, err := h.serve(env, w)
		if err != nil {
			return err
		}
		defer func() { _ = server.Close() }() // nobody is asked anything any more
	}
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
