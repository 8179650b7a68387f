package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice/test/nexmark"
)

// cluster are the processes of one run and their namespaces.
type cluster struct {
	o     options
	dir   string
	query string
	core  int
	names []string // of namespaces
	procs []*exec.Cmd
	logs  []string
}

// once runs a query on a new cluster, whose first worker has the core of the number.
func once(ctx context.Context, o options, q nexmark.Query, workers, core int) (out outcome, err error) {
	dir, err := os.MkdirTemp("", "scaling")
	if err != nil {
		return out, err
	}
	c := &cluster{o: o, dir: dir, query: q.Name, core: core}
	defer func() {
		if err != nil {
			for _, l := range c.logs {
				b, _ := os.ReadFile(l)
				err = fmt.Errorf("%w\n%s:\n%s", err, filepath.Base(l), b)
			}
		}
		err = errors.Join(err, c.close(), os.RemoveAll(dir))
	}()
	if err := c.network(ctx, workers); err != nil {
		return out, err
	}
	if err := c.start(ctx, workers); err != nil {
		return out, err
	}
	file := filepath.Join(dir, q.Name+".sql")
	if err := os.WriteFile(file, []byte(script(o, q, dir)), 0o600); err != nil {
		return out, err
	}
	self, err := os.Executable()
	if err != nil {
		return out, err
	}
	ca := ""
	if !c.o.plain {
		ca = filepath.Join(dir, "ca", "ca.crt")
	}
	w := c.command(ctx, 0, 3, self, "-role", "watch", file, fmt.Sprint(workers), ca, fmt.Sprint(c.o.explain))
	w.Stderr = os.Stderr
	b, err := w.Output()
	if err != nil {
		return out, fmt.Errorf("watch the query: %w", err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("what was watched: %w", err)
	}
	for i, p := range c.procs {
		used, err := cpuOf(p.Process.Pid)
		if err != nil {
			return out, err
		}
		if i == 0 {
			out.driver = used
		} else {
			out.workers = append(out.workers, used)
		}
	}
	return out, nil
}

// clients is where the driver serves clients, in its own namespace.
const clients = "127.0.0.1:7071"

// host is the address of a node: 0 is the driver, others are workers.
func (c *cluster) host(node int) string {
	if c.o.plain || node < 0 {
		return "127.0.0.1"
	}
	return fmt.Sprintf("10.213.77.%d", 10+node)
}

// port is where a worker serves rows: the same for all, or a free one.
func (c *cluster) port() string {
	if c.o.plain {
		return "0"
	}
	return "7080"
}

// network makes a namespace for each node, and one with the bridge between them.
func (c *cluster) network(ctx context.Context, workers int) error {
	if c.o.plain {
		return nil
	}
	ip := func(args ...string) error {
		if b, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, b)
		}
		return nil
	}
	prefix := fmt.Sprintf("scale%d-%d", os.Getpid(), c.core)
	hub := prefix + "b"
	add := func(name string) error {
		if err := ip("netns", "add", name); err != nil {
			return err
		}
		c.names = append(c.names, name)
		return ip("-n", name, "link", "set", "lo", "up")
	}
	if err := add(hub); err != nil {
		return err
	}
	if err := errors.Join(ip("-n", hub, "link", "add", "br0", "type", "bridge"), ip("-n", hub, "link", "set", "br0", "up")); err != nil {
		return err
	}
	for node := range workers + 1 {
		name, port := fmt.Sprintf("%sn%d", prefix, node), fmt.Sprintf("p%d", node)
		if err := add(name); err != nil {
			return err
		}
		for _, args := range [][]string{
			{"-n", hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name},
			{"-n", hub, "link", "set", port, "master", "br0", "up"},
			{"-n", name, "addr", "add", c.host(node) + "/24", "dev", "eth0"},
			{"-n", name, "link", "set", "eth0", "up"},
		} {
			if err := ip(args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// command is a process of a node on a core.
func (c *cluster) command(ctx context.Context, node, core int, name string, args ...string) *exec.Cmd {
	words := append([]string{"taskset", "-c", fmt.Sprint(core), name}, args...)
	if !c.o.plain {
		words = append([]string{"ip", "netns", "exec", c.names[1+node]}, words...)
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "GOMAXPROCS=") }) // the cores decide
	return cmd
}

// start starts the driver and the workers.
func (c *cluster) start(ctx context.Context, workers int) error {
	if !c.o.plain {
		if err := c.certificates(ctx, workers); err != nil {
			return err
		}
	}
	var set []string
	if c.o.set != "" {
		for _, s := range strings.Split(c.o.set, ",") {
			set = append(set, "--set", s)
		}
	}
	tls := func(role string) []string {
		if c.o.plain {
			return nil
		}
		return []string{"--tls-dir", filepath.Join(c.dir, "ca", role)}
	}
	args := append([]string{"driver", "--id", "d1", "--data", filepath.Join(c.dir, "d1"), "--listen", c.host(0) + ":7070", "--http", clients}, set...)
	if err := c.spawn(c.command(ctx, 0, c.o.driverCore, c.o.sluice, append(args, tls("driver-d1")...)...), "d1"); err != nil {
		return err
	}
	for n := 1; n <= workers; n++ {
		id := fmt.Sprintf("w%d", n)
		args := append([]string{"worker", "--id", id, "--data", filepath.Join(c.dir, id), "--join", c.host(0) + ":7070", "--slots", fmt.Sprint(c.o.slots),
			"--listen", net.JoinHostPort(c.host(n), c.port())}, set...)
		args = append(args, tls("worker-"+id)...)
		cmd := c.command(ctx, n, c.core+n-1, c.o.sluice, args...)
		if c.o.profile != "" {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			file := filepath.Join(c.o.profile, fmt.Sprintf("%s-%d-workers-%s.prof", c.query, workers, id))
			cmd = c.command(ctx, n, c.core+n-1, self, append([]string{"-role", "worker", file}, args[1:]...)...)
		}
		if err := c.spawn(cmd, id); err != nil {
			return err
		}
	}
	return nil
}

// certificates makes what nodes show each other, by the command that users have.
func (c *cluster) certificates(ctx context.Context, workers int) error {
	ca := filepath.Join(c.dir, "ca")
	calls := [][]string{
		{"certs", "init", "--dir", ca},
		{"certs", "issue", "--dir", ca, "--role", "driver", "--id", "d1", "--hosts", c.host(0) + ",127.0.0.1"},
	}
	for n := 1; n <= workers; n++ {
		calls = append(calls, []string{"certs", "issue", "--dir", ca, "--role", "worker", "--id", fmt.Sprintf("w%d", n), "--hosts", c.host(n)})
	}
	for _, args := range calls {
		if b, err := exec.CommandContext(ctx, c.o.sluice, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("sluice %s: %w: %s", strings.Join(args, " "), err, b)
		}
	}
	return nil
}

func (c *cluster) spawn(cmd *exec.Cmd, id string) error {
	log := filepath.Join(c.dir, id+".log")
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	c.logs = append(c.logs, log)
	cmd.Stdout, cmd.Stderr = f, f
	if err := errors.Join(cmd.Start(), f.Close()); err != nil {
		return fmt.Errorf("start %s: %w", id, err)
	}
	c.procs = append(c.procs, cmd)
	return nil
}

// patience is how long a process may take to end before it is killed.
const patience = 5 * time.Second

// close ends the processes, workers first, and removes the namespaces.
func (c *cluster) close() error {
	for i := len(c.procs) - 1; i >= 0; i-- {
		p := c.procs[i]
		_ = p.Process.Signal(syscall.SIGINT) // it may have ended
		stop := time.AfterFunc(patience, func() { _ = p.Process.Kill() })
		_ = p.Wait() // how it ends does not matter any more
		stop.Stop()
	}
	var errs []error
	for _, n := range c.names {
		if b, err := exec.Command("ip", "netns", "del", n).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("remove namespace %s: %w: %s", n, err, b))
		}
	}
	return errors.Join(errs...)
}
