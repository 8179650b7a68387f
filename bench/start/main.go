// Command start times a whole process: `sluice sql -c 'SELECT 1'` from its start to
// its end, which has to stay below 50 ms. One JSON line on standard output.
//
//	go build -o sluice ./cmd/sluice && go run ./bench/start -binary ./sluice
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"
)

// report is what is printed. Times are in milliseconds, p50 and p95 of wall time
// and the median of the processor time, which a loaded machine does not change.
type report struct {
	Runs int     `json:"runs"`
	P50  float64 `json:"p50_ms"`
	P95  float64 `json:"p95_ms"`
	CPU  float64 `json:"cpu_p50_ms"`
}

func main() {
	binary := flag.String("binary", "sluice", "the binary")
	sql := flag.String("sql", "SELECT 1", "the statement")
	runs := flag.Int("runs", 100, "how many processes are started, one after the other")
	flag.Parse()
	if err := run(*binary, *sql, max(*runs, 1)); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

func run(binary, sql string, runs int) error {
	var wall, cpu []time.Duration
	for range runs {
		cmd := exec.Command(binary, "sql", "-c", sql)
		begin := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
		wall = append(wall, time.Since(begin))
		cpu = append(cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	slices.Sort(wall)
	slices.Sort(cpu)
	at := func(ds []time.Duration, percent int) float64 {
		return float64(ds[(len(ds)-1)*percent/100].Microseconds()) / 1000
	}
	return json.NewEncoder(os.Stdout).Encode(report{Runs: runs, P50: at(wall, 50), P95: at(wall, 95), CPU: at(cpu, 50)})
}
