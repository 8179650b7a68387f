package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
)

// variable makes the program a node of a cluster.
const variable = "SLUICE_BENCH_ROLE"

// Role is what the process was started as; nil: it is the benchmark.
func Role() []string {
	if role := os.Getenv(variable); role != "" {
		return strings.Split(role, "\n")
	}
	return nil
}

// Command is this program in a role. What it says goes to standard error.
func Command(role ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), variable+"="+strings.Join(role, "\n")), os.Stderr
	return cmd, nil
}

// Start starts this program in a role.
func Start(role ...string) (*exec.Cmd, error) {
	cmd, err := Command(role...)
	if err != nil {
		return nil, err
	}
	return cmd, cmd.Start()
}

// Kill ends a process without any warning, and returns when it is gone.
func Kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // of one that has ended there is nothing to kill
	_ = cmd.Wait()         // it was killed, or it does not matter any more
}

// Work is a worker until it is interrupted.
func Work(ctx context.Context, o sluice.WorkerOptions) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	w, err := sluice.JoinCluster(ctx, o)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return w.Close()
}

// Until looks every so often until it is done.
func Until(ctx context.Context, every time.Duration, look func() (done bool, err error)) error {
	for {
		if done, err := look(); done || err != nil {
			return err
		}
		if err := Pause(ctx, every); err != nil {
			return err
		}
	}
}

// Pause waits.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CPU is the CPU time of this process (syscall.RUSAGE_SELF), or of those that it has
// waited for (syscall.RUSAGE_CHILDREN).
func CPU(who int) time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Profile writes a CPU profile until it is stopped.
func Profile(file string) (stop func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // a profile that is cut short says so when it is read
	}, nil
}
