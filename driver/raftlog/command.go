package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/sluice-stream/sluice/batch"
)

// commandVersion is the newest form of a command that this program writes and reads.
const commandVersion = 1

// commandMax bounds a command: raft's followers hold several at a time.
const commandMax = 32 << 20

// command is what an entry of raft's log asks of the state machine. The set is closed.
type command interface {
	kind() byte
	encode(e *encoder)
}

type (
	// setCluster names the cluster; the first one wins.
	setCluster struct{ id string }
	// createQuery adds a query. The proposer has drawn its ID.
	createQuery struct{ query Query }
	// alterQuery replaces a query's spec if its revision is still the given one.
	alterQuery struct {
		id       batch.QueryID
		revision uint64
		spec     Spec
	}
	// forgetQuery removes a query that is to be dropped, with its log.
	forgetQuery struct {
		id       batch.QueryID
		revision uint64
	}
	// beginLife draws a term, which fences all before.
	beginLife struct{ id batch.QueryID }
	// appendRecords adds a group to a query's batch log.
	appendRecords struct {
		id    batch.QueryID
		term  batch.Term
		group [][]byte // records as microbatch encodes them
	}
	// truncateLog drops the records of batches before one.
	truncateLog struct {
		id     batch.QueryID
		term   batch.Term
		before batch.ID
	}
	// assign says who runs the life.
	assign struct {
		id         batch.QueryID
		term       batch.Term
		assignment Assignment
	}
	// setDriver notes a member of the group.
	setDriver struct{ driver Driver }
	// removeDriver forgets one.
	removeDriver struct{ id string }
)

const (
	kindCluster = iota + 1
	kindCreate
	kindAlter
	kindForget
	kindBegin
	kindAppend
	kindTruncate
	kindAssign
	kindDriver
	kindNoDriver
	kindPipeline
	kindNoPipeline
)

func (setCluster) kind() byte    { return kindCluster }
func (createQuery) kind() byte   { return kindCreate }
func (alterQuery) kind() byte    { return kindAlter }
func (forgetQuery) kind() byte   { return kindForget }
func (beginLife) kind() byte     { return kindBegin }
func (appendRecords) kind() byte { return kindAppend }
func (truncateLog) kind() byte   { return kindTruncate }
func (assign) kind() byte        { return kindAssign }
func (setDriver) kind() byte     { return kindDriver }
func (removeDriver) kind() byte  { return kindNoDriver }

func (c setCluster) encode(e *encoder)  { e.s(c.id) }
func (c createQuery) encode(e *encoder) { c.query.encode(e) }

func (c alterQuery) encode(e *encoder) {
	e.s(string(c.id))
	e.u(c.revision)
	c.spec.encode(e)
}

func (c forgetQuery) encode(e *encoder) {
	e.s(string(c.id))
	e.u(c.revision)
}

func (c beginLife) encode(e *encoder) { e.s(string(c.id)) }

func (c appendRecords) encode(e *encoder) {
	e.s(string(c.id))
	e.u(uint64(c.term))
	e.u(uint64(len(c.group)))
	for _, r := range c.group {
		e.p(r)
	}
}

func (c truncateLog) encode(e *encoder) {
	e.s(string(c.id))
	e.u(uint64(c.term))
	e.i(int64(c.before))
}

func (c assign) encode(e *encoder) {
	e.s(string(c.id))
	e.u(uint64(c.term))
	c.assignment.encode(e)
}

func (c setDriver) encode(e *encoder)    { c.driver.encode(e) }
func (c removeDriver) encode(e *encoder) { e.s(c.id) }

// encodeCommand returns checksum, version, kind and fields.
func encodeCommand(c command) ([]byte, error) {
	e := encoder{b: make([]byte, 4, 512)}
	e.b = append(e.b, commandVersion, c.kind())
	c.encode(&e)
	if len(e.b) > commandMax {
		return nil, fmt.Errorf("a command of %d bytes; one may have %d", len(e.b), commandMax)
	}
	binary.LittleEndian.PutUint32(e.b, crc32.Checksum(e.b[4:], castagnoli))
	return e.b, nil
}

// decodeCommand refuses what it does not know: to pass over it would make this
// replica differ from the others. Its byte slices are parts of b.
func decodeCommand(b []byte) (command, error) {
	switch {
	case len(b) < 6 || len(b) > commandMax:
		return nil, fmt.Errorf("a command of %d bytes", len(b))
	case crc32.Checksum(b[4:], castagnoli) != binary.LittleEndian.Uint32(b):
		return nil, errors.New("the command's checksum is wrong")
	case b[4] != commandVersion:
		return nil, fmt.Errorf("a command of version %d, this program reads %d: bring this driver to the version of the others", b[4], commandVersion)
	}
	d := &decoder{b: b[6:]}
	c := decodeFields(b[5], d)
	if c == nil {
		return nil, fmt.Errorf("a command of kind %d, which this program does not know", b[5])
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("a command of kind %d: %w", b[5], err)
	}
	return c, nil
}

func decodeFields(kind byte, d *decoder) command {
	id := func() batch.QueryID { return batch.QueryID(d.s()) }
	switch kind {
	case kindCluster:
		return setCluster{d.s()}
	case kindCreate:
		return createQuery{decodeQuery(d)}
	case kindAlter:
		return alterQuery{id(), d.u(), decodeSpec(d)}
	case kindForget:
		return forgetQuery{id(), d.u()}
	case kindBegin:
		return beginLife{id()}
	case kindAppend:
		c := appendRecords{id: id(), term: batch.Term(d.u())}
		for range d.count() {
			c.group = append(c.group, d.p())
		}
		return c
	case kindTruncate:
		return truncateLog{id(), batch.Term(d.u()), batch.ID(d.i())}
	case kindAssign:
		return assign{id(), batch.Term(d.u()), decodeAssignment(d)}
	case kindDriver:
		return setDriver{decodeDriver(d)}
	case kindNoDriver:
		return removeDriver{d.s()}
	case kindPipeline:
		return setPipeline{decodePipeline(d)}
	case kindNoPipeline:
		return dropPipeline{d.s()}
	default:
		return nil
	}
}
