package raftlog

import (
	"context"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// raftLogger hands what raft says to the driver's log. Raft speaks of every election
// and connection; of that only warnings matter to an operator.
func raftLogger(to *slog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, DisableTime: true, Output: lines{to}})
}

type lines struct{ to *slog.Logger }

func (l lines) Write(b []byte) (int, error) {
	text := strings.TrimSpace(string(b))
	level := slog.LevelWarn
	if rest, ok := strings.CutPrefix(text, "[ERROR]"); ok {
		level, text = slog.LevelError, rest
	}
	text = strings.TrimSpace(strings.TrimPrefix(text, "[WARN]"))
	l.to.Log(context.Background(), level, "raft", "says", text)
	return len(b), nil
}
