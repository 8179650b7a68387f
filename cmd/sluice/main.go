package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// Set by the linker.
var version, commit, date = "devel", "unknown", "unknown"

// Exit codes.
const (
	exitDone  = 0
	exitQuery = 1 // a query failed
	exitUsage = 2 // the command line or the SQL is wrong
)

// usageError marks errors of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	// A closed pipe is an error of the write, not the end of the process: what
	// lies in temporary folders is still removed.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes a command line and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := &environment{in: stdin, out: stdout, err: stderr}
	root := command(env)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitDone
	}
	if errors.Is(err, syscall.EPIPE) {
		return exitQuery // who reads us has seen enough, as `head` does: nothing to tell
	}
	fmt.Fprintln(stderr, "sluice:", message(err))
	return exitCode(err)
}

// message is the error in the form for people: a cause is on the same line.
func message(err error) string { return strings.TrimRight(err.Error(), "\n") }

// exitCode tells a wrong command line or SQL from a query that failed.
func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) || sluice.IsSyntaxOrPlanError(err) {
		return exitUsage
	}
	return exitQuery
}

// environment is what commands share.
type environment struct {
	in       io.Reader
	out, err io.Writer
	settings []string
	ckDir    string
	logLevel string
	umask    string
}

// onInterrupt calls first at the first SIGINT or SIGTERM and second at the next,
// until the returned function is called.
func onInterrupt(first, second func()) (stop func()) {
	c := make(chan os.Signal, 2)
	done, ended := make(chan struct{}), make(chan struct{})
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-c:
				if n == 0 {
					first()
				} else {
					second()
				}
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(done)
		<-ended
	}
}

// command builds the tree of commands.
func command(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "sluice",
		Short:         "Streaming SQL in micro-batches, exactly once",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		// Before a command opens anything.
		PersistentPreRunE: func(*cobra.Command, []string) error { return confine(env.umask) },
	}
	root.PersistentFlags().StringArrayVar(&env.settings, "set", nil, "a setting, key=value; may be repeated")
	root.PersistentFlags().StringVar(&env.logLevel, "log", "warn", "what is logged to standard error: debug, info, warn or error")
	root.PersistentFlags().StringVar(&env.umask, "umask", "077", "who besides the process's user may not use the files it makes, as umask of a shell; 027 lets its group read them")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(sqlCommand(env), runCommand(env), explainCommand(env), checkpointCommand(env),
		stateCommand(env), planDiffCommand(env), replayCommand(env), versionCommand(env), doctorCommand(env), certsCommand(env), tokenCommand(env),
		driverCommand(env), workerCommand(env), submitCommand(env), queriesCommand(env), driversCommand(env))
	return root
}

// knownCommand refuses a word that is no command, with the nearest one.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return usageError{fmt.Errorf("unknown command %q of %s%s; %s --help lists them", args[0], c.CommandPath(),
		options.Suggest(args[0], names), c.CommandPath())}
}

// noArgs and oneArg are cobra's checks with our exit code.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, got %q", c.CommandPath(), args[0])}
	}
	return nil
}

func oneArg(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s takes one argument, %s", c.CommandPath(), what)}
		}
		return nil
	}
}

// session makes a session from the flags.
func (e *environment) session(opts sluice.Options) (*sluice.Session, error) {
	opts, err := e.options(opts)
	if err != nil {
		return nil, err
	}
	s, err := sluice.NewSession(opts)
	if err != nil {
		if k, _ := batch.KindOf(err); k == batch.User {
			return nil, usageError{err}
		}
		return nil, err
	}
	return s, nil
}

// options fills in what the flags say.
func (e *environment) options(opts sluice.Options) (sluice.Options, error) {
	opts.Settings = map[string]string{}
	for _, kv := range e.settings {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return opts, usageError{fmt.Errorf("--set %s: want key=value", kv)}
		}
		opts.Settings[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(e.logLevel)); err != nil {
		return opts, usageError{fmt.Errorf("--log %s: want debug, info, warn or error", e.logLevel)}
	}
	opts.Logger = slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: level}))
	opts.Stdout = e.out
	return opts, nil
}
