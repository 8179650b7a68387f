//go:build linux

package secure

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// bin is the program, built as it is shipped.
var bin string

func TestMain(m *testing.M) {
	if root := os.Getenv(confined); root != "" {
		fmt.Fprintln(os.Stderr, enter(root)) // or it is another program now
		os.Exit(noEntry)
	}
	// The program has no C in it, as it is shipped.
	code, err := 1, os.Setenv("CGO_ENABLED", "0")
	if err == nil {
		code, err = proctest.Main(m, &bin, "-trimpath", "-ldflags", "-s -w")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// start runs the program until the test ends.
func start(t *testing.T, args ...string) *proctest.Process {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Dir = t.TempDir()
	return proctest.Start(t, cmd)
}

// stop ends a process in good order.
func stop(t *testing.T, p *proctest.Process) {
	t.Helper()
	if err := p.Stop(); err != nil {
		t.Errorf("%v ends with %v\n%s", p.Cmd.Args, err, p.Said())
	}
}

// ports are the addresses at which a process listens, TCP and UDP, as the kernel knows them.
func ports(t *testing.T, p *proctest.Process) []netip.AddrPort {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.Cmd.Process.Pid)
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if to, err := os.Readlink(proc + "fd/" + fd.Name()); err == nil {
			if inode, ok := strings.CutPrefix(to, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	var out []netip.AddrPort
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(proc + "net/" + table)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 || !own[f[9]] {
				continue
			}
			const listens, unconnected = "0A", "07"
			if f[3] != listens && f[3] != unconnected {
				continue
			}
			out = append(out, kernelAddress(t, f[1]))
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// kernelAddress reads an address as the tables of the kernel have it: words of four bytes
// in the machine's order, which is little-endian wherever we run.
func kernelAddress(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		t.Fatal(err)
	}
	for w := 0; w+4 <= len(b); w += 4 {
		slices.Reverse(b[w : w+4])
	}
	ip, ok := netip.AddrFromSlice(b)
	var n uint16
	if _, err := fmt.Sscanf(port, "%x", &n); err != nil || !ok {
		t.Fatalf("%s: %v", text, err)
	}
	return netip.AddrPortFrom(ip.Unmap(), n)
}
