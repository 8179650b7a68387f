package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/batch"
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

// servesHTTP is a session, or a driver or worker of a cluster.
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
