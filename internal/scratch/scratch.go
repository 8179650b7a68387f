package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/zeebo/xxh3"
)

// prefix begins the name of every folder of this package.
const prefix = "sluice-spill-"

// made numbers the folders of this process.
var made atomic.Int64

// Name returns the path of a folder below parent that belongs to this process
// alone; "" stands for the system's folder for temporary files. It is not made.
func Name(parent string) string {
	if parent == "" {
		parent = os.TempDir()
	}
	pid := os.Getpid()
	return filepath.Join(parent, strings.Join([]string{
		prefix + machine(), strconv.Itoa(pid), began(pid), strconv.FormatInt(made.Add(1), 10),
	}, "-"))
}

// RemoveDead removes the folders below parent whose processes are dead. What
// cannot be read or removed stays: it is not this process's business.
func RemoveDead(parent string) {
	if parent == "" {
		parent = os.TempDir()
	}
	d, err := os.Open(parent)
	if err != nil {
		return
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		if dead(name) {
			_ = os.RemoveAll(filepath.Join(parent, name)) // another may be at it
		}
	}
}

// dead reports whether a name is that of a folder of this package and its owner
// was a process of this machine that is gone (T1).
func dead(name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return false
	}
	parts := strings.Split(rest, "-")
	if len(parts) != 4 || parts[0] != machine() {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	if err != nil || pid <= 0 {
		return false
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	if err := p.Signal(syscall.Signal(0)); errors.Is(err, os.ErrProcessDone) {
		return true
	}
	// The number is in use. It may be another process's by now.
	now := began(pid)
	return now != unknown && parts[2] != unknown && now != parts[2]
}

// unknown stands for a start that the system does not tell.
const unknown = "0"

// began tells two processes with one number apart: their starts since the boot.
func began(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return unknown
	}
	// The second field is the program's name in parentheses, which may hold anything.
	_, rest, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < startField {
		return unknown
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return unknown
	}
	return hash(string(boot) + fields[startField-1])
}

// startField is where the start of a process stands behind its name in its stat
// file: the 22nd field of all.
const startField = 20

// machine tells machines and process namespaces apart.
func machine() string {
	host, _ := os.Hostname()                     // "" is a name as well
	space, _ := os.Readlink("/proc/self/ns/pid") // there are none elsewhere
	return hash(host + space)
}

func hash(s string) string { return strconv.FormatUint(xxh3.HashString(s), 36) }
