package wire

import (
	"net"
	"sync"
)

// recordBytes is the most that one record of TLS holds.
const recordBytes = 16 << 10

// recordJoiner is what TLS writes its records to. It writes each of them by itself, of 16 KiB at
// most, and what a network stack does for each write costs more there than the encryption
// does. So the records of one write of TLS's user are put together and written at once.
type recordJoiner struct {
	net.Conn
	mu struct {
		sync.Mutex
		holding bool
		buf     *[]byte // of frames, while holding
		err     error   // of a write of several records: there is no going on behind a gap
	}
}

// Write takes a record.
func (j *recordJoiner) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.mu.err != nil:
		return 0, j.mu.err
	case j.mu.holding:
		*j.mu.buf = append(*j.mu.buf, b...)
		return len(b), nil
	}
	return j.Conn.Write(b)
}

// hold keeps records back until flush, of which there are so many bytes about.
func (j *recordJoiner) hold(size int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.holding, j.mu.buf = true, frames.Get(size)
	*j.mu.buf = (*j.mu.buf)[:0]
}

// flush writes what was kept back.
func (j *recordJoiner) flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mu.err == nil && len(*j.mu.buf) > 0 {
		_, j.mu.err = j.Conn.Write(*j.mu.buf)
	}
	frames.Put(j.mu.buf)
	j.mu.holding, j.mu.buf = false, nil
	return j.mu.err
}

// secured is a connection with TLS over a recordJoiner.
type secured struct {
	net.Conn // TLS
	records  *recordJoiner
	writing  sync.Mutex
}

// Write writes b as one, but for what fits one record anyway.
func (s *secured) Write(b []byte) (int, error) {
	if len(b) <= recordBytes {
		return s.Conn.Write(b)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.records.hold(len(b) + len(b)/8) // a connection begins with small records, which have more around them
	n, err := s.Conn.Write(b)
	if e := s.records.flush(); err == nil && e != nil {
		n, err = 0, e
	}
	return n, err
}

// Close ends the connection. As TLS does itself, it says no goodbye behind a write that is
// stuck, but ends that.
func (s *secured) Close() error {
	if !s.writing.TryLock() {
		return s.records.Close()
	}
	defer s.writing.Unlock()
	return s.Conn.Close()
}
