//go:build faults

package fault

import (
	"os"
	"strings"
)

// On says whether this build has the points.
const On = true

// Hit says that a process has come to a point.
func Hit(p Point) {
	if file := os.Getenv(Variable); Due(p) && os.Rename(file, file+Taken) == nil {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			_ = self.Kill()
		}
		select {} // nothing may happen any more, however late the signal is
	}
}

// Due reports whether the next Hit of a point ends this process, so that something can
// be left half done before it.
func Due(p Point) bool {
	file := os.Getenv(Variable)
	if file == "" {
		return false
	}
	text, err := os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(text)) == string(p)
}
