//go:build linux

package upgrade

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/internal/invariants"
)

var (
	from   = flag.String("from", "", "the commit that the cluster is upgraded from; by default this source, under another version")
	others = flag.Bool("others", false, "try builds, too, with which this one must not work together")
)

// bins is where programs are built.
var bins string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if bins, err = os.MkdirTemp("", "sluice-upgrade-*"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(bins)
		return m.Run()
	}())
}

// build makes the program of a version. A change replaces text of one source file by other
// text, in the build alone.
func build(t *testing.T, version string, change ...string) string {
	t.Helper()
	bin := filepath.Join(bins, version)
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	args := []string{"build", "-trimpath", "-ldflags", "-s -w -X main.version=" + version, "-o", bin}
	if invariants.Enabled { // the binary checks what the tests of this run check
		args = append(args, "-tags", "invariants")
	}
	dir := ""
	if version == "v1" && *from != "" {
		dir = filepath.Join(bins, "source")
		if out, err := exec.Command("sh", "-c", fmt.Sprintf("mkdir %s && git -C ../.. archive %s | tar -x -C %s", dir, *from, dir)).CombinedOutput(); err != nil {
			t.Fatalf("git archive %s: %v\n%s", *from, err, out)
		}
	}
	if len(change) == 3 {
		args = append(args, "-overlay", overlay(t, version, change[0], change[1], change[2]))
	}
	cmd := exec.Command("go", append(args, "github.com/sluice-stream/sluice/cmd/sluice")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

// overlay writes what go build takes instead of a source file.
func overlay(t *testing.T, version, file, was, is string) string {
	t.Helper()
	file, err := filepath.Abs(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), was) != 1 {
		t.Fatalf("%s has no single %q: what makes another build of it now?", file, was)
	}
	changed, list := filepath.Join(bins, version+".go"), filepath.Join(bins, version+".json")
	b, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{changed: []byte(strings.Replace(string(text), was, is, 1)), list: b} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return list
}
