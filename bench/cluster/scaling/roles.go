package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
)

// watch waits for the workers, submits a pipeline and prints how long its query took. It
// runs where the driver is, since that serves clients on loopback alone.
func watch(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("want the file of the pipeline, the number of workers, the file of the authority and a batch to explain, or -1")
	}
	file, server := args[0], "http://"+clients
	workers, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if args[2] != "" {
		pem, err := os.ReadFile(args[2])
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
		server = "https://" + clients
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	joining, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var last error
	err = node.Until(joining, look, func() (bool, error) {
		var there []sluice.ClusterMember
		last = ask(ctx, http.MethodGet, server+"/api/workers", nil, &there) // it may not listen yet
		return last == nil && len(there) == workers, nil
	})
	if err != nil {
		return fmt.Errorf("wait for %d workers: %w", workers, errors.Join(err, last))
	}
	ctx, cancelAll := context.WithTimeout(ctx, 5*time.Minute)
	defer cancelAll()
	out, err := follow(ctx, server, strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), string(text), args[3])
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// follow submits a pipeline of one query, both with one name, and waits for its end.
func follow(ctx context.Context, server, name, text, explain string) (out outcome, err error) {
	if err := ask(ctx, http.MethodPost, server+"/api/pipelines/"+name, strings.NewReader(text), nil); err != nil {
		return out, err
	}
	var state struct {
		Status, Error string
		Totals        sluice.Totals
		Recent        []struct {
			Timestamp     string
			BatchDuration int64
		} `json:"recentProgress"`
	}
	err = node.Until(ctx, look, func() (bool, error) {
		if err := ask(ctx, http.MethodGet, server+"/api/queries/"+name, nil, &state); err != nil {
			return false, err
		}
		if state.Status == "failed" {
			return false, errors.New(state.Error)
		}
		return state.Status != "running" && state.Status != "starting" && state.Totals.Batches > 0 && !strings.HasPrefix(state.Status, "waiting"), nil
	})
	if err != nil {
		return out, err
	}
	out = outcome{Rows: state.Totals.RowsIn, Out: state.Totals.RowsOut, Batches: state.Totals.Batches}
	if int64(len(state.Recent)) != out.Batches {
		return out, fmt.Errorf("the driver tells of %d batches, and there were %d: was a worker lost? else use larger ones", len(state.Recent), out.Batches)
	}
	var begin time.Time
	for _, p := range state.Recent {
		at, err := time.Parse(time.RFC3339Nano, p.Timestamp)
		if err != nil {
			return out, err
		}
		if begin.IsZero() {
			begin = at
			out.First = float64(p.BatchDuration) / 1000
		}
		out.Seconds = max(out.Seconds, at.Sub(begin).Seconds()+float64(p.BatchDuration)/1000)
	}
	if strings.HasPrefix(explain, "-") {
		return out, nil
	}
	var said json.RawMessage
	err = ask(ctx, http.MethodGet, server+"/api/queries/"+name+"/batches/"+explain, nil, &said)
	fmt.Fprintf(os.Stderr, "%s\n", said)
	return out, err
}

// look is how long watch waits before it asks again.
const look = 50 * time.Millisecond

func ask(ctx context.Context, method, url string, body io.Reader, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, b)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(b, into)
	}
	return err
}

// work is `sluice worker` with a CPU profile.
func work(ctx context.Context, args []string) error {
	if len(args) < 1 {
		return errors.New("want a file for the profile and the arguments of sluice worker")
	}
	var o sluice.WorkerOptions
	var data string
	var set []string
	c := &cobra.Command{Use: "worker", RunE: func(*cobra.Command, []string) error {
		o.Settings = map[string]string{"spill.dir": filepath.Join(data, "spill")}
		for _, s := range set {
			k, v, _ := strings.Cut(s, "=")
			o.Settings[k] = v
		}
		if err := os.MkdirAll(o.Settings["spill.dir"], 0o700); err != nil {
			return err
		}
		if o.Slots == 0 {
			o.Slots = runtime.GOMAXPROCS(0)
		}
		runtime.GOMAXPROCS(o.Slots + 1) // as sluice worker does
		stop, err := node.Profile(args[0])
		if err != nil {
			return err
		}
		defer stop()
		return node.Work(ctx, o)
	}}
	c.Flags().StringVar(&o.ID, "id", "", "")
	c.Flags().IntVar(&o.Slots, "slots", 0, "")
	c.Flags().StringVar(&data, "data", "", "")
	c.Flags().StringSliceVar(&o.Join, "join", nil, "")
	c.Flags().StringVar(&o.Listen, "listen", "", "")
	c.Flags().StringVar(&o.TLSDir, "tls-dir", "", "")
	c.Flags().StringArrayVar(&set, "set", nil, "")
	c.SetArgs(args[1:])
	return c.Execute()
}

// cpuOf is the CPU time of a process in seconds.
func cpuOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var sum float64
	for _, f := range fields[11:13] { // user and system, in hundredths of a second
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, err
		}
		sum += n / 100
	}
	return sum, nil
}
