package sim

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A regression is a file seed-<n>.txt: comment lines that say what failed, then
// one line "seed <n>". It is kept for ever; what a seed draws changes with the
// simulator, so the file also keeps the options as they were.

// WriteRegression keeps a failing seed as a file of a folder.
func WriteRegression(dir string, rep Report) (string, error) {
	var b bytes.Buffer
	for _, line := range strings.Split(fmt.Sprintf("%v\n%s", rep.Err, rep.Options), "\n") {
		fmt.Fprintf(&b, "# %s\n", line)
	}
	fmt.Fprintf(&b, "seed %d\n", rep.Options.Seed)
	path := filepath.Join(dir, fmt.Sprintf("seed-%d.txt", rep.Options.Seed))
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("keep failing seed %d: %w", rep.Options.Seed, err)
	}
	return path, nil
}

// ReadRegression reads the seeds of a file.
func ReadRegression(path string) ([]uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read regression: %w", err)
	}
	var seeds []uint64
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		text, ok := strings.CutPrefix(line, "seed ")
		seed, err := strconv.ParseUint(text, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("regression %s:%d: %q is not \"seed <n>\"", path, n, line)
		}
		seeds = append(seeds, seed)
	}
	return seeds, lines.Err()
}
