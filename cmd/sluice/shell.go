package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chzyer/readline"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/sql/parser"
)

const shellHelp = `Statements end with ; and may span lines. Besides SQL:
  \d            list tables, views and queries
  \d NAME       describe one
  \q            quit (also Ctrl-D)
  \timing       switch the time of each statement on or off
  \format F     print rows as table, csv or json
  \?            this help`

// shellState is what backslash commands change.
type shellState struct {
	s      *sluice.Session
	env    *environment
	format string
	timing bool
}

// shell reads statements until the end of input.
func shell(ctx context.Context, env *environment, s *sluice.Session, format string) error {
	rl, err := readline.NewEx(&readline.Config{
		Prompt: "sluice> ", HistoryFile: historyFile(), HistorySearchFold: true,
		DisableAutoSaveHistory: true, Stdout: env.out, Stderr: env.err,
	})
	if err != nil {
		return fmt.Errorf("open the terminal: %w", err)
	}
	defer rl.Close()
	fmt.Fprintf(env.out, "sluice %s, \\? for help\n", version)
	st := &shellState{s: s, env: env, format: format}
	var pending strings.Builder
	for {
		line, err := rl.Readline()
		switch {
		case errors.Is(err, readline.ErrInterrupt):
			pending.Reset()
			rl.SetPrompt("sluice> ")
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if pending.Len() == 0 && strings.HasPrefix(strings.TrimSpace(line), `\`) {
			_ = rl.SaveHistory(line)
			if quit := st.backslash(ctx, strings.Fields(line)); quit {
				return nil
			}
			continue
		}
		pending.WriteString(line + "\n")
		text := pending.String()
		if strings.TrimSpace(text) != "" && parser.Completes(text, parser.Options{}) != parser.Complete {
			rl.SetPrompt("     -> ")
			continue
		}
		pending.Reset()
		rl.SetPrompt("sluice> ")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		_ = rl.SaveHistory(strings.ReplaceAll(text, "\n", " "))
		st.run(ctx, text)
	}
}

// historyFile is in the user's configuration folder; "" keeps no history.
func historyFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	dir = filepath.Join(dir, "sluice")
	if os.MkdirAll(dir, 0o700) != nil {
		return ""
	}
	return filepath.Join(dir, "history")
}

// run executes statements; an interrupt cancels them and not the shell.
func (st *shellState) run(ctx context.Context, text string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := onInterrupt(cancel, func() { os.Exit(exitQuery) })
	defer stop()
	start := time.Now()
	err := st.s.Run(ctx, text, func(r *sluice.Result) error { return printResult(ctx, st.env.out, st.env.out, r, st.format) })
	if err != nil {
		fmt.Fprintln(st.env.err, "error:", message(err))
	}
	if st.timing {
		fmt.Fprintf(st.env.out, "time: %s\n", time.Since(start).Round(time.Microsecond))
	}
}

// backslash executes a command of the shell itself.
func (st *shellState) backslash(ctx context.Context, f []string) (quit bool) {
	switch {
	case f[0] == `\q`:
		return true
	case f[0] == `\d` && len(f) == 1:
		st.run(ctx, "SHOW TABLES; SHOW STREAMING QUERIES")
	case f[0] == `\d`:
		st.run(ctx, "DESCRIBE "+strings.TrimSuffix(f[1], ";"))
	case f[0] == `\timing`:
		st.timing = !st.timing
		fmt.Fprintf(st.env.out, "timing is %s\n", map[bool]string{true: "on", false: "off"}[st.timing])
	case f[0] == `\format` && len(f) == 2 && knownFormat(f[1]) && f[1] != "arrow":
		st.format = f[1]
	case f[0] == `\?`:
		fmt.Fprintln(st.env.out, shellHelp)
	default:
		fmt.Fprintf(st.env.err, "unknown command %s, \\? for help\n", strings.Join(f, " "))
	}
	return false
}
