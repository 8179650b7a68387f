package proctest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/sluice-stream/sluice/internal/invariants"
)

// Checked are the flags of Build for a program that checks what the tests of this run check.
func Checked() []string {
	if !invariants.Enabled {
		return nil
	}
	return []string{"-tags", "invariants"}
}

// Build builds the command in dir and returns its path.
func Build(dir string, flags ...string) (bin string, err error) {
	bin = filepath.Join(dir, "sluice")
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	args := append(append([]string{"build"}, flags...), "-o", bin, "github.com/sluice-stream/sluice/cmd/sluice")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

// Main runs the tests of a package with the command built for them, whose path bin is
// given, and returns the exit code.
func Main(m *testing.M, bin *string, flags ...string) (code int, err error) {
	dir, err := os.MkdirTemp("", "sluice-test-*")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if *bin, err = Build(dir, flags...); err != nil {
		return 1, err
	}
	return m.Run(), nil
}
