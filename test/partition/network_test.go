//go:build linux

package partition

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// harness is the address of the test itself, which no fault cuts off.
const harness = "10.77.0.254"

// network is a bridge on which each node hangs with a namespace of its own. Nodes know
// each other's hardware addresses, and are never asked for them: what is sent to a wrong
// one is lost, one way, and nobody is told.
type network struct {
	t     *testing.T
	nodes []*place
}

// place is where a node is in the network.
type place struct {
	name    string // of the namespace
	link    string // its end at the bridge
	address string
	mac     string
}

// nowhere is the hardware address of nobody.
const nowhere = "02:00:00:00:ff:ff"

var places atomic.Int32

// newNetwork makes a namespace for each name.
func newNetwork(t *testing.T, names ...string) *network {
	t.Helper()
	if withoutRights != nil {
		t.Skipf("partitions need network namespaces: %v", withoutRights)
	}
	n := &network{t: t}
	for i, name := range names {
		id := places.Add(1)
		p := &place{name: fmt.Sprintf("sluice-%d-%s", os.Getpid(), name), link: fmt.Sprintf("sl%d", id),
			address: fmt.Sprintf("10.77.0.%d", i+1), mac: fmt.Sprintf("02:00:00:00:00:%02x", i+1)}
		n.nodes = append(n.nodes, p)
		n.must("", "netns add "+p.name)
		n.must("", "link add "+p.link+" type veth peer name eth0 netns "+p.name, "link set "+p.link+" master sluice0 up")
		n.must(p.name, "link set lo up", "link set eth0 address "+p.mac, "addr add "+p.address+"/24 dev eth0", "link set eth0 up")
	}
	t.Cleanup(func() {
		for _, p := range n.nodes {
			n.must("", "netns del "+p.name)
		}
	})
	for _, p := range n.nodes {
		for _, o := range n.nodes {
			if o != p {
				n.must(p.name, neighbour(o, o.mac))
			}
		}
	}
	return n
}

func neighbour(p *place, mac string) string {
	return "neigh replace " + p.address + " lladdr " + mac + " nud permanent dev eth0"
}

// cut loses everything that goes from any of the first to any of the others.
func (n *network) cut(from, to []*place) { n.point(from, to, func(*place) string { return nowhere }) }

// join ends a cut.
func (n *network) join(from, to []*place) { n.point(from, to, func(p *place) string { return p.mac }) }

func (n *network) point(from, to []*place, mac func(*place) string) {
	for _, f := range from {
		var lines []string
		for _, o := range to {
			if o != f {
				lines = append(lines, neighbour(o, mac(o)))
			}
		}
		if len(lines) > 0 {
			n.must(f.name, lines...)
		}
	}
}

// plug puts a node's cable in, or pulls it: the node's own interface stays up, as behind
// a switch that has lost its power.
func (n *network) plug(p *place, in bool) {
	state := "down"
	if in {
		state = "up"
	}
	n.must("", "link set "+p.link+" "+state)
}

func (n *network) must(namespace string, lines ...string) {
	n.t.Helper()
	if err := ip(namespace, lines...); err != nil {
		n.t.Fatal(err)
	}
}

// ip runs lines of ip in a namespace, one after the other; "" is that of the test.
func ip(namespace string, lines ...string) error {
	args := []string{"-batch", "-"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	cmd := exec.CommandContext(context.Background(), "ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(lines, "; "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// start starts a process in the node's network. It ends with the test, however that does.
func (p *place) start(cmd *exec.Cmd) error { return p.within(cmd.Start) }

// within does something on a thread that is in the node's network.
func (p *place) within(do func() error) (err error) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and stays so where it cannot go back: the thread ends then
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		there, err := os.Open("/run/netns/" + p.name)
		if err != nil {
			done <- err
			return
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network %s: %w", p.name, err)
			return
		}
		err = do()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// dies makes a process end with the test's.
func dies(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
