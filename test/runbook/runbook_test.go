//go:build linux

package runbook

import (
	"bufio"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/invariants"
)

// bin is the folder of the program.
var bin string

var foreign = flag.String("program", "", "the sluice to test; by default it is built from this source")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		var err error
		if bin, err = os.MkdirTemp("", "sluice-runbook-*"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bin)
		if *foreign != "" {
			if err := os.Symlink(*foreign, filepath.Join(bin, "sluice")); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return m.Run()
		}
		args := []string{"build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(bin, "sluice")}
		if invariants.Enabled { // the binary checks what the tests of this run check
			args = append(args, "-tags", "invariants")
		}
		if out, err := exec.Command("go", append(args, "github.com/sluice-stream/sluice/cmd/sluice")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

func TestDisasterRecovery(t *testing.T) {
	t.Parallel()
	run(t, "disaster-recovery.md", 30)
}

func TestBackup(t *testing.T) {
	t.Parallel()
	run(t, "backup.md", 8)
}

// command is a line of a page.
type command struct {
	at   int // line of the page
	text string
	want []string
}

// read returns a page's commands, and the files that it shows.
func read(t *testing.T, page string) (commands []command, files map[string]string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../docs/operations", page))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	kind, at := "", 0
	for line := range strings.Lines(string(b)) {
		at++
		text := strings.TrimSuffix(line, "\n")
		fence, isFence := strings.CutPrefix(text, "```")
		switch file, isFile := strings.CutPrefix(kind, "sql "); {
		case isFence && kind == "":
			kind = fence
		case isFence:
			kind = ""
		case isFile:
			files[file] += line
		case kind != "console":
		case strings.HasPrefix(text, "$ "):
			commands = append(commands, command{at: at, text: text[2:]})
		default:
			c := &commands[len(commands)-1]
			c.want = append(c.want, text)
		}
	}
	return commands, files
}

// shell is a shell that runs commands one after the other.
type shell struct {
	t   *testing.T
	dir string
	in  io.Writer
	out *bufio.Reader
}

// run runs the commands of a page, which has some at least.
func run(t *testing.T, page string, least int) {
	commands, files := read(t, page)
	if len(commands) < least {
		t.Fatalf("%s has %d commands", page, len(commands))
	}
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		t.Fatal(err)
	}
	s := newShell(t)
	host := fmt.Sprintf("127.%d.%d.%d", 1+b[0]%254, b[1], 1+b[2]%254)
	here := strings.NewReplacer("/srv/sluice", s.dir, "127.0.0.1", host)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(here.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range commands {
		for i := range c.want {
			c.want[i] = here.Replace(c.want[i])
		}
		begun := time.Now()
		s.try(page, c, here.Replace(c.text))
		t.Logf("%s:%d took %d ms", page, c.at, time.Since(begun).Milliseconds())
	}
}

func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir()}
	cmd := exec.Command("bash")
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with all that it starts
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // of one that has ended there is nothing to kill
		_ = cmd.Wait()
		_ = r.Close()
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
			for _, name := range logs {
				b, _ := os.ReadFile(name) // what there is of it
				t.Logf("%s\n%s", filepath.Base(name), b)
			}
		}
	})
	s.in, s.out = in, bufio.NewReader(r)
	return s
}

// end marks where the answer of a command ends.
const end = "=== runbook "

// ask runs a line and returns what it prints.
func (s *shell) ask(line string) string {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho; echo %q\n", line, end); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	var out strings.Builder
	for {
		l, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v\n%s", line, err, &out)
		}
		if l == end+"\n" {
			return strings.TrimSpace(killed.ReplaceAllString(out.String(), ""))
		}
		out.WriteString(l)
	}
}

// killed is what the shell says of what it was told to kill.
var killed = regexp.MustCompile(`(?m)^bash: line \d+: +\d+ Killed .*\n`)

// patience is how long a page's answer may take; slow machines take seconds.
const patience = 2 * time.Minute

// try runs a command until it prints what the page says: drivers elect a leader, and queries
// take what has come, in their own time. What the page says nothing of is run once.
func (s *shell) try(page string, c command, text string) {
	s.t.Helper()
	for i := range c.want {
		c.want[i] = strings.ReplaceAll(regexp.QuoteMeta(c.want[i]), `\.\.`, ".*")
	}
	want := regexp.MustCompile("^" + strings.Join(c.want, `\n`) + "$")
	for until := time.Now().Add(patience); ; {
		got := s.ask(text)
		if want.MatchString(got) {
			return
		}
		if len(c.want) == 0 || time.Now().After(until) {
			s.t.Fatalf("%s:%d: %s\nprints\n%s\nand not\n%s", page, c.at, text, got, want)
		}
		if err := clock.Wait(s.t.Context(), clock.System(), 50*time.Millisecond); err != nil {
			s.t.Fatal(err)
		}
	}
}
