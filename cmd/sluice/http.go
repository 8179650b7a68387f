package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
)

// httpFlags are those of a process that serves HTTP.
type httpFlags struct {
	addr string
	opts sluice.HTTPOptions
}

func (f *httpFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.addr, "http", f.addr, "serve health, metrics and progress at this HOST:PORT; beyond loopback only with --tls-dir and --auth-dir")
	c.Flags().StringVar(&f.opts.TLSDir, "tls-dir", "", "a folder with ca.crt, tls.crt and tls.key; sluice certs makes one")
	c.Flags().StringVar(&f.opts.AuthDir, "auth-dir", "", "a folder with the tokens that are let in; a first one is made there")
	c.Flags().StringVar(&f.opts.AuditLog, "audit-log", "", "the file for what was changed by whom; with --auth-dir its audit.jsonl is the default")
	c.Flags().StringSliceVar(&f.opts.Hosts, "http-host", nil, "a name under which --http is reached, besides localhost; may be repeated")
}

// check refuses options of a listener that there is not.
func (f *httpFlags) check() error {
	if f.addr == "" && (f.opts.TLSDir != "" || f.opts.AuthDir != "" || f.opts.AuditLog != "" || len(f.opts.Hosts) > 0) {
		return usageError{errors.New("--tls-dir, --auth-dir, --audit-log and --http-host are of --http HOST:PORT")}
	}
	return nil
}

// servesHTTP is a session, or the driver of a cluster.
type servesHTTP interface {
	ServeHTTP(addr string, o sluice.HTTPOptions) (*sluice.Server, error)
}

// serve serves a session and says where.
func (f *httpFlags) serve(env *environment, s servesHTTP) (*sluice.Server, error) {
	server, err := s.ServeHTTP(f.addr, f.opts)
	if err != nil {
		if k, _ := batch.KindOf(err); k == batch.User {
			return nil, usageError{err}
		}
		return nil, err
	}
	fmt.Fprintf(env.err, "serving %s\n", server.URL())
	if file := server.FirstToken(); file != "" {
		fmt.Fprintf(env.err, "the first token, of an administrator, is in %s\n", file)
	}
	return server, nil
}

// tokenVariable is where a client finds its token unless --token-file says.
const tokenVariable = "SLUICE_TOKEN"

// clientFlags are those of a command that asks a process of ours.
type clientFlags struct{ addr, tlsDir, tokenFile string }

func (f *clientFlags) add(c *cobra.Command, what string) {
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

// answerMax is how much of an answer is read.
const answerMax = 1 << 20

// ask sends a request without a body to a process of ours and reads its answer.
func (f *clientFlags) ask(ctx context.Context, method, path string, into any) error {
	return f.send(ctx, method, path, http.NoBody, into)
}

// send sends a request to a process of ours and reads its answer.
func (f *clientFlags) send(ctx context.Context, method, path string, body io.Reader, into any) (err error) {
	scheme, client := "http", &http.Client{}
	if f.tlsDir != "" {
		t, err := certs.LoadClient(f.tlsDir, nil)
		if err != nil {
			return usageError{err}
		}
		scheme = "https"
		client.Transport = &http.Transport{TLSClientConfig: f.config(t), DisableKeepAlives: true}
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+f.addr+path, body)
	if err != nil {
		return usageError{fmt.Errorf("--http %s: %w", f.addr, err)}
	}
	token, err := f.token()
	if err != nil {
		return err
	}
	if token != "" && f.tlsDir == "" && !auth.Loopback(req.URL.Hostname()) {
		return usageError{fmt.Errorf("--http %s: a token is not sent in the clear: say with --tls-dir whom to trust", f.addr)}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", f.addr, err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return fmt.Errorf("ask %s: %w", f.addr, err)
	}
	if resp.StatusCode/100 != 2 {
		var said struct{ Error string }
		if json.Unmarshal(b, &said) != nil || said.Error == "" {
			said.Error = resp.Status
		}
		return fmt.Errorf("%s refuses: %s", f.addr, said.Error)
	}
	return json.Unmarshal(b, into)
}

// config lets a driver answer, or a worker that serves its metrics.
func (f *clientFlags) config(t *certs.TLS) *tls.Config {
	return t.Client(f.addr, certs.Driver, certs.Worker)
}
