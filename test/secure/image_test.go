//go:build linux

package secure

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// image is the last stage of the Dockerfile, as far as a system without Docker can have it:
// a root folder with what is copied there, and nothing else.
type image struct {
	root       string
	env        []string
	uid        int
	dir        string
	entrypoint []string
}

// The paths of the build stage, by what they are here.
func built(t *testing.T, from string) string {
	switch from {
	case "/out/sluice":
		return bin
	case "/usr/local/go/lib/time/zoneinfo.zip":
		root, err := exec.Command("go", "env", "GOROOT").Output() // the test runs where the program is built
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip")
	case "/etc/ssl/certs/ca-certificates.crt":
		return from
	}
	t.Fatalf("the Dockerfile copies %s, of which this test does not know what it is", from)
	return ""
}

// theImage lays the image out as the Dockerfile says.
func theImage(t *testing.T) *image {
	t.Helper()
	b, err := os.ReadFile("../../deploy/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, final, ok := strings.Cut(string(b), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the last stage does not begin with an empty image")
	}
	i := &image{root: t.TempDir()}
	if err := os.Chmod(i.root, 0o755); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(final) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		args := strings.Fields(rest)
		switch word {
		case "", "#", "VOLUME", "CMD", "LABEL":
		case "COPY":
			i.copy(t, args)
		case "ENV":
			i.env = append(i.env, rest)
		case "USER":
			uid, gid, _ := strings.Cut(rest, ":")
			if i.uid, err = strconv.Atoi(uid); err != nil || uid != gid || i.uid == 0 {
				t.Fatalf("USER %s: want a number that is not root's, which Kubernetes can check", rest)
			}
		case "WORKDIR":
			i.dir = rest
		case "ENTRYPOINT":
			i.entrypoint = strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(`[]", `, r) })
		default:
			t.Errorf("the last stage has the instruction %s", word)
		}
	}
	if len(i.entrypoint) != 1 || i.uid == 0 || i.dir == "" {
		t.Fatalf("the image is %+v", i)
	}
	return i
}

func (i *image) copy(t *testing.T, args []string) {
	t.Helper()
	for len(args) > 2 {
		if args[0] != "--from=build" && !strings.HasPrefix(args[0], "--chown=") {
			t.Fatalf("COPY %v", args)
		}
		args = args[1:]
	}
	to := filepath.Join(i.root, args[1])
	if args[0] == "/out/data" || args[0] == "/out/tmp" {
		if err := errors.Join(os.MkdirAll(to, 0o755), os.Chmod(to, 0o777)); err != nil { // chown, for who need not be root
			t.Fatal(err)
		}
		return
	}
	if strings.HasSuffix(args[1], "/") {
		to = filepath.Join(to, filepath.Base(args[0]))
	}
	b, err := os.ReadFile(built(t, args[0]))
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(args[0], "/etc/") {
		return // this machine trusts nobody
	}
	if err = errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// confined is the variable that makes the test's program enter an image: the root folder
// and the user.
const confined = "SLUICE_TEST_IMAGE"

// noEntry is the exit code of a process that could not become the image's.
const noEntry = 125

// command runs the image's program. The process is in a mount namespace of its own with
// the image as its root, which cannot be written but for /data and /tmp.
func (i *image) command(args ...string) *exec.Cmd {
	c := &exec.Cmd{Path: "/proc/self/exe", Args: append(slices.Clone(i.entrypoint), args...)}
	c.Env = append(i.env, fmt.Sprintf("%s=%s:%d:%s", confined, i.root, i.uid, i.dir))
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 { // one's own user is that of the image inside, with the rights to mount at first
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: i.uid, HostID: os.Geteuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: i.uid, HostID: os.Getegid(), Size: 1}}
		const sysChroot, sysAdmin = 18, 21
		c.SysProcAttr.AmbientCaps = []uintptr{sysChroot, sysAdmin}
	}
	return c
}

// enter is what the test's program does instead of testing: it becomes the image's.
func enter(image string) error {
	parts := strings.Split(image, ":")
	root, dir := parts[0], parts[2]
	uid, err := strconv.Atoi(parts[1])
	if err != nil {
		return err
	}
	mount := func(what, at, kind string, flags uintptr) {
		if err == nil {
			if err = syscall.Mount(what, at, kind, flags, ""); err != nil {
				err = fmt.Errorf("mount %s at %s: %w", what, at, err)
			}
		}
	}
	mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE)
	mount(root, root, "", syscall.MS_BIND)
	for _, d := range []string{"/data", "/tmp"} {
		mount(filepath.Join(root, d), filepath.Join(root, d), "", syscall.MS_BIND)
	}
	mount("none", root, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_NOSUID|syscall.MS_NODEV)
	if err != nil {
		return err
	}
	if err := errors.Join(syscall.Chroot(root), syscall.Chdir(dir)); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
			return err
		}
	}
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, confined+"=") {
			env = append(env, e)
		}
	}
	return syscall.Exec(os.Args[0], os.Args, env)
}

// TestImage runs the program as its container does: alone in a root that cannot be
// written, as a user who is nobody, without a shell, a library, /proc or /etc/passwd.
func TestImage(t *testing.T) {
	i := theImage(t)
	first := i.command("version")
	said, err := first.CombinedOutput()
	refused := errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC)
	if first.ProcessState != nil && first.ProcessState.ExitCode() == noEntry {
		refused = strings.Contains(string(said), "not permitted") || strings.Contains(string(said), "denied")
	}
	if refused {
		t.Skipf("this system has no namespaces for us: %v %s", err, said)
	}
	if err != nil {
		t.Fatalf("the image's program: %v %s", err, said)
	}
	pipeline := `CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','number-of-rows'='1000','fields.id.kind'='sequence','fields.id.start'='1');
		CREATE TABLE o (k BIGINT, n BIGINT, at STRING) WITH ('connector'='filesystem','path'='%s','format'='csv');
		CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE complete AS
			INSERT INTO o SELECT id %% 10, count(*), min(cast(from_utc_timestamp(TIMESTAMP '2026-01-01 12:00:00', 'America/New_York') AS STRING)) FROM g GROUP BY id %% 10;`
	for name, c := range map[string]struct {
		out  string
		code int
		want string
	}{"good": {"/data/out", 0, ""}, "bad": {"/elsewhere", 1, "read-only file system"}} {
		file := filepath.Join(i.root, "tmp", name+".sql")
		if err := os.WriteFile(file, fmt.Appendf(nil, pipeline, c.out), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := i.command("run", "--checkpoint-dir", "/data/"+name, "/tmp/"+name+".sql")
		out, _ := cmd.CombinedOutput() // the code tells
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: exit code %d\n%s", name, code, out)
		}
	}
	rows := 0
	if err := filepath.WalkDir(filepath.Join(i.root, "data", "out"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".csv" {
			return err
		}
		b, err := os.ReadFile(name)
		rows += bytes.Count(b, []byte(",100,2026-01-01 07:00:00"))
		return err
	}); err != nil || rows != 10 {
		t.Errorf("%d rows are right: %v", rows, err)
	}
	i.driver(t)
}

// driver starts a driver of the image with its keys on the read-only root, and ends it as
// a container is ended.
func (i *image) driver(t *testing.T) {
	t.Helper()
	p := proctest.Start(t, i.command("driver", "--id", "d1", "--data", "/data/d1", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"))
	p.Says("workers join at")
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Cmd.Process.Pid))
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0") {
		t.Errorf("it would leave an image of its memory: %s %v", limits, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), "\nUmask:\t0077\n") {
		t.Errorf("its files are for others, too: %s %v", status, err)
	}
	if os.Geteuid() == 0 && !strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t%[1]d", i.uid)) {
		t.Errorf("it is not the user %d: %s", i.uid, status)
	}
	stop(t, p)
}

// TestBinary: what tests measure and break the program with is not in it, nor is a path of
// the machine that built it.
func TestBinary(t *testing.T) {
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	here = filepath.Dir(filepath.Dir(here))
	for _, bad := range []string{"net/http/pprof.", "/debug/pprof", "testing.(*T)", "internal/sim.", "internal/slt.", "transporttest.", here + "/"} {
		if bytes.Contains(b, []byte(bad)) {
			t.Errorf("the program holds %q", bad)
		}
	}
	if !bytes.Contains(b, []byte("internal/auth.(*Guard).")) {
		t.Error("names cannot be found in the program: this test can find nothing")
	}
	ask := exec.Command(bin, "version")
	if out, err := ask.Output(); err != nil || len(out) == 0 {
		t.Errorf("version: %s %v", out, err)
	}
}
