package blackhole

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	fresh := func(testing.TB) sinktest.Case {
		c := Connector()
		return sinktest.Case{Volatile: c.Volatile, Open: func(t testing.TB) (sinks.Sink, sinks.WriterFactory) {
			s, w, err := c.New(t.Context(), sinktest.Spec())
			if err != nil {
				t.Fatal(err)
			}
			return s, w
		}}
	}
	sinktest.Run(t, fresh)
	sinktest.Discarded(t, fresh(t))
}

func TestOptionsAreRefused(t *testing.T) {
	spec := sinktest.Spec()
	spec.Options = options.Map{"path": "x"}
	if _, _, err := Connector().New(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "unknown option 'path'") {
		t.Errorf("got %v", err)
	}
}
