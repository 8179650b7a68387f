package raftlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// ALPN is how drivers say within TLS that they speak with one another, and Greeting how
// each of their connections begins, for who shares a port among several protocols.
const (
	ALPN     = "sluice-raft"
	Greeting = "SLRH"
)

// Options say which driver a node is. ID, Dir and Listen or Listener must be set.
type Options struct {
	// ID is the driver's name within the cluster, such as d1. It stays with the disk.
	ID string
	// Dir is the node's folder, on a disk of this driver's own.
	Dir string
	FS  vfsx.FS // default: the machine's
	// Listen is where other drivers call, host:port; Advertise what they are told,
	// default the address that Listen gave.
	Listen, Advertise string
	// Client is where clients are sent when this driver leads, which SetClient changes;
	// Engine its version.
	Client, Engine string
	// Peers are the drivers of a new cluster, host:port by ID, this one included; one or
	// none: a cluster of one. They count only while nobody has any log.
	Peers map[string]string
	// ServerTLS and ClientTLS make the configuration of each connection anew, so that
	// certificates can change; nil: plain, on loopback only.
	ServerTLS, ClientTLS func() (*tls.Config, error)
	// Listener is used in place of Listen, and closed with the node, and Dial in place of
	// the machine's network, if they are not nil.
	Listener net.Listener
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	// Secured says that the Listener's connections are secured already, so that ServerTLS
	// is not used: it shares its port with others, which know each other by ALPN.
	Secured bool
	// network replaces TCP in tests.
	network func(Options, func() Peer) (network, error)

	// HeartbeatTimeout is how long a follower waits for its leader before it stands for
	// election; default 750 ms. Longer delays a change of leader, shorter takes a pause
	// for a death.
	HeartbeatTimeout time.Duration
	// LeaseTimeout is how long a leader goes on without hearing of a majority; default
	// two thirds of HeartbeatTimeout, and never more than it.
	LeaseTimeout time.Duration
	// DiskTimeout is how long a disk operation may take before the node gives up;
	// default 5 s.
	DiskTimeout time.Duration
	// SegmentBytesMax is when a new segment of the log is begun; default 8 MiB.
	SegmentBytesMax int64
	// SnapshotEntries is after how many entries a snapshot is taken; default 4096. As many
	// are kept behind it for followers that lag.
	SnapshotEntries uint64
	// SnapshotInterval is how often that is looked at; default 30 s.
	SnapshotInterval time.Duration
	// Logger is told what operators act on; default: nothing is.
	Logger *slog.Logger
	// Fatal is called once, when the node has failed and is cut off: the process should
	// end, with an exit code that is not 0. It must not wait for the node. nil: only
	// Failed says so.
	Fatal func(error)
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if o.FS == nil {
		o.FS = vfsx.Default
	}
	def(&o.HeartbeatTimeout, 750*time.Millisecond)
	def(&o.LeaseTimeout, o.HeartbeatTimeout*2/3)
	def(&o.DiskTimeout, 5*time.Second)
	def(&o.SnapshotInterval, 30*time.Second)
	if o.SegmentBytesMax <= 0 {
		o.SegmentBytesMax = 8 << 20
	}
	if o.SnapshotEntries == 0 {
		o.SnapshotEntries = 4096
	}
	if o.network == nil {
		o.network = openNetwork
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(error) {}
	}
	return o
}

// Validate joins every fault of the options.
func (o Options) Validate() error {
	var errs []error
	if o.ID == "" || strings.ContainsAny(o.ID, "/ \n\t") {
		errs = append(errs, fmt.Errorf("driver ID %q: it needs a name without blanks and slashes", o.ID))
	}
	if o.Dir == "" {
		errs = append(errs, errors.New("a driver needs a folder of its own"))
	}
	if o.Listen == "" && o.Listener == nil {
		errs = append(errs, errors.New("a driver needs an address to listen on"))
	}
	if len(o.Peers) > 0 && o.Peers[o.ID] == "" {
		errs = append(errs, fmt.Errorf("driver %s is not among the peers", o.ID))
	}
	if o.LeaseTimeout > o.HeartbeatTimeout {
		errs = append(errs, fmt.Errorf("a lease of %s is longer than the heartbeat timeout of %s", o.LeaseTimeout, o.HeartbeatTimeout))
	}
	if err := errors.Join(errs...); err != nil {
		return refuse(err)
	}
	return nil
}

func (o Options) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(o.ID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = o.HeartbeatTimeout, o.HeartbeatTimeout, o.LeaseTimeout
	c.CommitTimeout = o.HeartbeatTimeout / 5 // raft's own default would have idle drivers speak 13 times a second
	c.SnapshotInterval = o.SnapshotInterval
	c.SnapshotThreshold, c.TrailingLogs = o.SnapshotEntries, o.SnapshotEntries
	c.NoLegacyTelemetry = true
	c.Logger = raftLogger(o.Logger)
	return c
}
