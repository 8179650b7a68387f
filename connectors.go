package sluice

import (
	"sync"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/arrowipc"
	"github.com/sluice-stream/sluice/formats/avro"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/debezium"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/lines"
	"github.com/sluice-stream/sluice/formats/parquet"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/blackhole"
	"github.com/sluice-stream/sluice/sinks/console"
	filesink "github.com/sluice-stream/sluice/sinks/file"
	kafkasink "github.com/sluice-stream/sluice/sinks/kafka"
	memorysink "github.com/sluice-stream/sluice/sinks/memory"
	pgsink "github.com/sluice-stream/sluice/sinks/postgres"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/datagen"
	filesource "github.com/sluice-stream/sluice/sources/file"
	kafkasource "github.com/sluice-stream/sluice/sources/kafka"
	memorysource "github.com/sluice-stream/sluice/sources/memory"
	"github.com/sluice-stream/sluice/sources/nexmark"
	pgsource "github.com/sluice-stream/sluice/sources/postgres"
	"github.com/sluice-stream/sluice/sources/rate"
	"github.com/sluice-stream/sluice/sources/socket"
	"github.com/sluice-stream/sluice/sources/state"
)

// registry is what a session can read from and write to. A new connector is one
// line here.
type registry struct {
	formats *formats.Registry
	sources *sources.Registry
	sinks   *sinks.Registry
	tables  *memorysink.Tables
	mu      struct {
		sync.Mutex
		streams map[string]*memorysource.Stream // by lower-case table name
		made    int                             // by CreateDataFrame
	}
}

func newRegistry(s *Session) *registry {
	r := &registry{tables: memorysink.NewTables(), formats: formats.NewRegistry(parquet.New(), csv.New(), json.New(), arrowipc.New(), avro.New(), lines.New(), debezium.New())}
	r.mu.streams = map[string]*memorysource.Stream{}
	clk := clock.System()
	r.sources = sources.NewRegistry(
		filesource.Connector(vfsx.Default, r.formats),
		datagen.Connector(clk),
		kafkasource.Connector(clk, r.formats),
		memorysource.Connector(r.stream),
		nexmark.Connector(clk),
		pgsource.Connector(vfsx.Default, clk),
		rate.Connector(clk),
		socket.Connector(clk),
		state.Connector(vfsx.Default),
		state.LiveConnector(s),
	)
	r.sinks = sinks.NewRegistry(
		filesink.Connector(vfsx.Default, r.formats),
		blackhole.Connector(),
		console.Connector(s.opts.Stdout),
		kafkasink.Connector(clk),
		memorysink.Connector(r.tables),
		pgsink.Connector(),
	)
	return r
}
