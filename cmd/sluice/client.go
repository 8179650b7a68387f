package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/clock"
)

// tokenVariable is where a client finds its token unless --token-file says.
const tokenVariable = "SLUICE_TOKEN"

// clientFlags are those of a command that asks a process of ours.
type clientFlags struct {
	addr, tlsDir, tokenFile string
	// flag is what addr is called, for errors.
	flag string
}

func (f *clientFlags) add(c *cobra.Command, what string) {
	f.flag = "--http"
	c.Flags().StringVar(&f.addr, "http", "", what)
	c.Flags().StringVar(&f.tlsDir, "tls-dir", "", "a folder with the ca.crt of the process at --http, and a certificate if there is one")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "a file with the token for --http; else it is taken from $"+tokenVariable)
}

// token is the one to show; "" shows none.
func (f *clientFlags) token() (string, error) {
	if f.tokenFile == "" {
		return os.Getenv(tokenVariable), nil
	}
	b, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", usageError{fmt.Errorf("--token-file: %w", err)}
	}
	return strings.TrimSpace(string(b)), nil
}

// The limits of a request.
const (
	answerMax  = 16 << 20               // bytes of an answer that are read
	hopsMax    = 4                      // drivers that send on, one after the other
	patience   = 15 * time.Second       // for a leader to be found among several drivers
	roundPause = 250 * time.Millisecond // between two rounds over them
	tryTimeout = 20 * time.Second       // for one answer
)

// ask sends a request without a body to a process of ours and reads its answer.
func (f *clientFlags) ask(ctx context.Context, method, path string, into any) error {
	return f.send(ctx, method, path, "", into)
}

// send sends a request to a process of ours and reads its answer. Of several drivers any
// will do: one that does not lead sends to who does, and while there is nobody all are
// asked again and again for a while. What is sent may arrive twice.
func (f *clientFlags) send(ctx context.Context, method, path, body string, into any) error {
	q, err := f.begin(method, path, body)
	if err != nil {
		return err
	}
	addrs := strings.Split(f.addr, ",")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var failed error
		for _, addr := range addrs {
			b, err := q.follow(ctx, strings.TrimSpace(addr))
			if err == nil {
				return json.Unmarshal(b, into)
			}
			if failed = err; !errors.Is(err, errAgain) {
				return err
			}
		}
		if len(addrs) == 1 && !errors.Is(failed, errNobodyLeads) || clock.Wait(ctx, clock.System(), roundPause) != nil {
			return failed
		}
	}
}

// errAgain marks errors after which another driver, or another time, may have an answer;
// errNobodyLeads those of a driver that says so itself.
var (
	errAgain       = errors.New("no driver answers")
	errNobodyLeads = fmt.Errorf("no driver leads: %w", errAgain)
)

// again marks an error without changing its text.
type again struct{ error }

func (again) Is(target error) bool { return target == errAgain }

type nobody struct{ error }

func (nobody) Is(target error) bool { return target == errAgain || target == errNobodyLeads }

// question is a request that may be put to several processes.
type question struct {
	flags              *clientFlags
	method, path, body string
	token, scheme      string
	tls                *certs.TLS // nil: plain
}

func (f *clientFlags) begin(method, path, body string) (*question, error) {
	q := &question{flags: f, method: method, path: path, body: body, scheme: "http"}
	var err error
	if f.tlsDir != "" {
		if q.tls, err = certs.LoadClient(f.tlsDir, nil); err != nil {
			return nil, usageError{err}
		}
		q.scheme = "https"
	}
	q.token, err = f.token()
	return q, err
}

// follow asks a process and goes where it sends us.
func (q *question) follow(ctx context.Context, addr string) ([]byte, error) {
	target := &url.URL{Scheme: q.scheme, Host: addr}
	target, err := target.Parse(q.path)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s %s: %w", q.flags.flag, addr, err)}
	}
	for range hopsMax {
		b, to, err := q.put(ctx, target)
		if err != nil || to == nil {
			return b, err
		}
		target = to
	}
	return nil, nobody{fmt.Errorf("ask %s: the drivers send to and fro", addr)}
}

// put asks one process. to is where it sends us.
func (q *question) put(ctx context.Context, target *url.URL) (b []byte, to *url.URL, err error) {
	addr := target.Host
	// A token goes where TLS has shown a process of the cluster, or does not leave the
	// machine, whoever has named the address.
	if q.token != "" && q.tls == nil && !auth.Loopback(target.Hostname()) {
		return nil, nil, usageError{fmt.Errorf("%s %s: a token is not sent in the clear: say with --tls-dir whom to trust", q.flags.flag, addr)}
	}
	req, err := http.NewRequestWithContext(ctx, q.method, target.String(), bytes.NewReader([]byte(q.body)))
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("%s %s: %w", q.flags.flag, addr, err)}
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: q.config(addr)}
	client := &http.Client{Transport: transport, Timeout: tryTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, again{fmt.Errorf("ask %s: %w", addr, err)}
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if b, err = io.ReadAll(io.LimitReader(resp.Body, answerMax+1)); err != nil {
		return nil, nil, again{fmt.Errorf("ask %s: %w", addr, err)}
	}
	if len(b) > answerMax {
		return nil, nil, fmt.Errorf("ask %s: its answer has more than %d bytes: ask for less", addr, answerMax)
	}
	switch {
	case resp.StatusCode == http.StatusTemporaryRedirect:
		to, err := target.Parse(resp.Header.Get("Location"))
		if err == nil && to.Scheme != q.scheme {
			err = fmt.Errorf("it sends to %s, which is not %s", to.Redacted(), q.scheme)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("ask %s: %w", addr, err)
		}
		return nil, to, nil
	case resp.StatusCode/100 == 2:
		return b, nil, nil
	}
	var said struct{ Error string }
	if json.Unmarshal(b, &said) != nil || said.Error == "" {
		said.Error = resp.Status
	}
	err = fmt.Errorf("%s refuses: %s", addr, said.Error)
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
		err = nobody{err}
	}
	return nil, nil, err
}

// config lets a driver answer, or a worker that serves its metrics.
func (q *question) config(addr string) *tls.Config {
	if q.tls == nil {
		return nil
	}
	return q.tls.Client(addr, certs.Driver, certs.Worker)
}
