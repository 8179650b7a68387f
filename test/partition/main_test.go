//go:build linux

package partition

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// insideVariable tells the process that has the namespaces from the one that makes them.
const insideVariable = "SLUICE_TEST_NAMESPACES"

// withoutRights is why there are no namespaces.
var withoutRights error

// TestMain runs the tests in a process of their own that has its own network.
func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) == "" {
		code, err := enter()
		if err == nil {
			os.Exit(code)
		}
		withoutRights = err
	} else {
		withoutRights = prepare()
	}
	code := m.Run()
	if err := forget(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// enter runs this program again in new namespaces, as a user who may do everything there
// and nothing elsewhere; root, where users may not do so, does without that.
func enter() (code int, err error) {
	// The end of the thread that has started a process would be a death signal to it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const spaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	root := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	}
	ways := []*syscall.SysProcAttr{
		{Cloneflags: spaces | syscall.CLONE_NEWUSER, UidMappings: root(os.Getuid()), GidMappings: root(os.Getgid()), Pdeathsig: syscall.SIGKILL},
		{Cloneflags: spaces, Pdeathsig: syscall.SIGKILL},
	}
	for _, way := range ways {
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), insideVariable+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, way
		starting := cmd.Start()
		if starting != nil {
			err = errors.Join(err, starting)
			continue
		}
		_ = cmd.Wait() // the code tells
		if cmd.ProcessState.Exited() {
			return cmd.ProcessState.ExitCode(), nil
		}
		return 2, nil // by a signal
	}
	return 0, fmt.Errorf("no rights to make network namespaces: %w", err)
}

// prepare makes what the nodes' networks hang on. Mounts go no further than this
// process's own namespace.
func prepare() error {
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("there is no ip (Debian: iproute2): %w", err)
	}
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts private: %w", err)
	}
	if err := os.MkdirAll("/run", 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("none", "/run", "tmpfs", 0, "size=1m"); err != nil {
		return fmt.Errorf("mount a folder for the names of networks: %w", err)
	}
	return errors.Join(ip("", "link set lo up"), ip("", "link add name sluice0 type bridge", "link set sluice0 up", "addr add "+harness+"/24 dev sluice0"))
}
