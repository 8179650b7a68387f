package secret

import (
	"fmt"
	"os"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// Ref is a reference to a secret. The zero Ref is of none.
type Ref struct{ kind, at string }

// New reads an option that says where a secret is.
func New(o options.Option, m options.Map) (Ref, error) {
	v := m.Get(o)
	if v == "" {
		return Ref{}, nil
	}
	ref, opened := strings.CutPrefix(v, "${")
	ref, closed := strings.CutSuffix(ref, "}")
	kind, at, _ := strings.Cut(ref, ":")
	if !opened || !closed || kind != "env" && kind != "file" || at == "" {
		return Ref{}, fmt.Errorf("option '%s' does not hold the secret but says where it is: '${env:NAME}' or '${file:PATH}'", o.Key)
	}
	return Ref{kind, at}, nil
}

// Set reports whether there is a secret.
func (s Ref) Set() bool { return s.kind != "" }

// Read returns the secret as it is now.
func (s Ref) Read() (string, error) {
	if s.kind == "env" {
		v, ok := os.LookupEnv(s.at)
		if !ok {
			return "", batch.UserErrorf("the environment has no %s, which is to hold a secret", s.at)
		}
		return v, nil
	}
	b, err := os.ReadFile(s.at)
	if err != nil {
		return "", batch.UserErrorf("read a secret: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
