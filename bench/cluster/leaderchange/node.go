package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
)

// be is `driver ID DATA PEERS CHECKPOINTS HTTP` or `worker ID ADDRESSES`.
func be(role []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.DiscardHandler)
	if role[0] == "worker" {
		return node.Work(ctx, sluice.WorkerOptions{ID: role[1], Join: strings.Split(role[2], ","), Slots: 2, Logger: log})
	}
	o := sluice.DriverOptions{ID: role[1], Data: role[2], Peers: map[string]string{}, CheckpointDir: role[4], Logger: log,
		Settings: map[string]string{"checkpoint.interval": "1s"},
		Fatal: func(err error) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}}
	for p := range strings.SplitSeq(role[3], ",") {
		id, at, _ := strings.Cut(p, "=")
		o.Peers[id] = at
	}
	o.Listen = o.Peers[o.ID]
	d, err := sluice.StartDriver(ctx, o)
	if err != nil {
		return err
	}
	srv, err := d.ServeHTTP(role[5], sluice.HTTPOptions{})
	if err != nil {
		return err
	}
	<-ctx.Done()
	if err := srv.Close(); err != nil {
		return err
	}
	return d.Close()
}
