package cluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/clock"
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

// node is `driver DATA ADDRESS` or `worker ID ADDRESS`.
func node(role []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if role[0] == "worker" {
		w, err := sluice.JoinCluster(ctx, sluice.WorkerOptions{ID: role[1], Join: []string{role[2]}, Slots: 2, Logger: log})
		if err != nil {
			return err
		}
		<-ctx.Done()
		if err := w.Drain(context.Background()); err != nil {
			return err
		}
		return w.Close()
	}
	d, err := sluice.StartDriver(ctx, sluice.DriverOptions{ID: "d1", Data: role[1], Listen: role[2], Lease: lease, Logger: log,
		Settings: map[string]string{"checkpoint.interval": "200ms"}})
	if err != nil {
		return err
	}
	srv, err := d.ServeHTTP("127.0.0.1:0", sluice.HTTPOptions{})
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

// lease is short, so that the loss of a silent worker is seen soon; three heartbeats fit.
const lease = 1500 * time.Millisecond

// process is a node that runs.
type process struct {
	cmd *exec.Cmd
	out io.ReadCloser
	log *strings.Builder
}

func start(t *testing.T, role string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), log: &strings.Builder{}}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.Stderr = p.log
	var err error
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// line reads the first line that the process prints.
func (p *process) line(t *testing.T) string {
	t.Helper()
	s, err := bufio.NewReader(p.out).ReadString('\n')
	if err != nil {
		_ = p.cmd.Wait()
		t.Fatalf("a node ends before it has begun: %v\n%s", err, p.log)
	}
	return strings.TrimSpace(s)
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %s: %v", s, err)
	}
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // of one that has ended there is nothing to kill
	_ = p.cmd.Wait()
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		done, state := ok()
		if done {
			return
		}
		if err := clock.Wait(ctx, clock.System(), 20*time.Millisecond); err != nil {
			t.Fatalf("waiting until %s: it is %s", what, state)
		}
	}
}
