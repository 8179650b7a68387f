package cli

import "syscall"

// peakMB is the most memory that an ended process has had resident.
func peakMB(p *process) int64 {
	if u, ok := p.Cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		return u.Maxrss >> 10
	}
	return 0
}
