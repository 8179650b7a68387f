package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/proctest"
)

// roleVariable makes the test's program a node of a cluster.
const roleVariable = "SLUICE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := node(strings.Fields(role)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// node is `driver DATA ADDRESS`, `replica ID DATA PEERS CHECKPOINTS HTTP` or `worker ID ADDRESSES`.
func node(role []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if role[0] == "worker" {
		w, err := sluice.JoinCluster(ctx, sluice.WorkerOptions{ID: role[1], Join: strings.Split(role[2], ","), Slots: 2, Logger: log})
		if err != nil {
			return err
		}
		<-ctx.Done()
		if err := w.Drain(context.Background()); err != nil {
			return err
		}
		return w.Close()
	}
	o, web := sluice.DriverOptions{ID: "d1", Lease: lease, Logger: log, Settings: map[string]string{"checkpoint.interval": "200ms"}}, "127.0.0.1:0"
	if role[0] == "replica" {
		defer failDisk()()
		o.ID, o.Data, o.Peers, o.CheckpointDir, web = role[1], role[2], map[string]string{}, role[4], role[5]
		for p := range strings.SplitSeq(role[3], ",") {
			id, at, _ := strings.Cut(p, "=")
			o.Peers[id] = at
		}
		o.Listen = o.Peers[o.ID]
		o.Fatal = func(err error) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	} else {
		o.Data, o.Listen = role[1], role[2]
	}
	d, err := sluice.StartDriver(ctx, o)
	if err != nil {
		return err
	}
	srv, err := d.ServeHTTP(web, sluice.HTTPOptions{})
	if err != nil {
		return err
	}
	fmt.Println(d.Addr(), srv.URL())
	<-ctx.Done()
	if err := srv.Close(); err != nil {
		return err
	}
	return d.Close()
}

// failDisk lets every write to a file fail from SIGUSR1 on.
func failDisk() (stop func()) {
	c, done, ended := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(c, syscall.SIGUSR1)
	go func() {
		defer close(ended)
		select {
		case <-c:
			signal.Ignore(syscall.SIGXFSZ) // the write is to say it
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Max: math.MaxInt64}); err != nil {
				fmt.Fprintln(os.Stderr, "limit files:", err)
			}
		case <-done:
		}
	}()
	return func() {
		signal.Stop(c)
		close(done)
		<-ended
	}
}

// lease is short, so that the loss of a silent worker is seen soon; three heartbeats fit.
const lease = 1500 * time.Millisecond

func start(t *testing.T, role string) *proctest.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0], role) // which it reads elsewhere, and is known by
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return proctest.Start(t, cmd)
}
