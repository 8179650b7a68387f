package vfsx

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Numbered are files that are named by a number of eight digits, or more, and this
// suffix: the segments of a log.
type Numbered string

// Name is the name of file n.
func (s Numbered) Name(n uint64) string { return fmt.Sprintf("%08d%s", n, string(s)) }

// Number is the number in a name; false if it is no such file's.
func (s Numbered) Number(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, string(s))
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && s.Name(n) == name
}

// List returns the numbers of those in a folder, in order.
func (s Numbered) List(fs FS, dir string) ([]uint64, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := s.Number(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
