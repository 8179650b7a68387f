package ast

import "github.com/sluice-stream/sluice/internal/options"

// Nearest returns the candidate that a mistyped name was perhaps meant to be, "" if none is near.
func Nearest(name string, candidates []string) string { return options.Nearest(name, candidates) }
