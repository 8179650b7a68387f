package cli

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// terminal is the shell on a pseudo-terminal.
type terminal struct {
	*process
	tty  *os.File
	seen int // of the output, up to the last expectation
}

func shell(t *testing.T, dir string, args ...string) *terminal {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir+"/config", "HOME="+dir, "TERM=xterm")
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close() }) // after the process
	p := proctest.Started(t, cmd, func(out io.Writer) {
		_, _ = io.Copy(out, tty) // the end of a terminal is an error
	})
	return &terminal{process: &process{p, t}, tty: tty}
}

func (s *terminal) send(text string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits for texts after what was expected before.
func (s *terminal) expect(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		s.Until("terminal shows "+text, func() bool { return strings.Contains(s.Out.String()[s.seen:], text) })
		s.seen += strings.Index(s.Out.String()[s.seen:], text) + len(text)
	}
}

func TestShell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "in", "a.csv", "id,name\n1,one\n2,two\n")
	s := shell(t, dir, "sql")
	s.expect(`\? for help`, "sluice> ")
	s.send("SELECT 40 +\r")
	s.expect("-> ")
	s.send("  3 AS\r")
	s.expect("-> ")
	s.send("answer; SELECT 'it''s; fine' AS s;\r")
	s.expect("answer |", "|     43 |", "1 row", "it's; fine", "sluice> ")
	s.send(strings.TrimSpace(table) + "\r")
	s.expect("table t created", "sluice> ")
	s.send("\\d\r")
	s.expect("| t ", "filesystem", "sluice> ")
	s.send("\\d t\r")
	s.expect("| id ", "BIGINT", "| name", "STRING", "sluice> ")
	s.send("SELECT nmae FROM t;\r")
	s.expect("error: 1:8:", `did you mean "name"`, "sluice> ")
	s.send("SELECT count(*) + 70 AS n FROM t;\r") // it goes on after an error
	s.expect("| 72 |", "sluice> ")
	s.send("\\format csv\r")
	s.expect("sluice> ")
	s.send("SELECT id * 100 AS h, name FROM t ORDER BY id;\r")
	s.expect("h,name", "100,one", "200,two", "sluice> ")
	s.send("\\nope\r")
	s.expect(`unknown command \nope`, "sluice> ")
	s.send("SELECT half\x03") // Ctrl-C throws the line away
	s.expect("sluice> ")
	s.send("SELECT 5 * 5 AS q;\r")
	s.expect("25", "sluice> ")
	s.send("\\q\r")
	if r := s.wait(); r.code != done {
		t.Errorf("exit code %d", r.code)
	}
}

// TestShellEnds with Ctrl-D, and the next one knows what was typed before.
func TestShellEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := shell(t, dir, "sql")
	s.expect("sluice> ")
	s.send("SELECT 111 * 3 AS n;\r")
	s.expect("333", "sluice> ")
	s.send("\x04")
	if r := s.wait(); r.code != done {
		t.Errorf("exit code %d", r.code)
	}
	s = shell(t, dir, "sql")
	s.expect("sluice> ")
	s.send("\x10\r") // Ctrl-P: the line before
	s.expect("| 333 |", "sluice> ")
	s.send("\x04")
	s.wait()
}

// TestShellInterrupt cancels a statement, not the shell.
func TestShellInterrupt(t *testing.T) {
	t.Parallel()
	s := shell(t, t.TempDir(), "sql")
	s.expect("sluice> ")
	s.send("CREATE TABLE g (a BIGINT) WITH ('connector'='datagen','number-of-rows'='100000000000');\r")
	s.expect("table g created", "sluice> ")
	s.send("SELECT 'running' || '!' AS now; SELECT count(*) AS n FROM g WHERE a % 7 = 3;\r")
	s.expect("running!")
	s.Signal(os.Interrupt)
	s.expect("error: ", "sluice> ")
	s.send("SELECT 6 * 7 AS n;\r")
	s.expect("| 42 |", "sluice> ")
	s.send("\\q\r")
	if r := s.wait(); r.code != done {
		t.Errorf("exit code %d", r.code)
	}
}

// TestProgressOnATerminal draws a line there, and clears it at the end.
func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','rows-per-second'='2000','number-of-rows'='1500');
CREATE TABLE b (id BIGINT) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q AS INSERT INTO b SELECT id FROM g;`)
	s := shell(t, dir, "run", "p.sql")
	s.expect("q batch ", "rows/s", "\x1b[K", "1500 rows in")
	if r := s.wait(); r.code != done {
		t.Errorf("exit code %d: %s", r.code, r.out)
	}
}
