package filelog

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// Metadata says whom a checkpoint belongs to. It is written once, when the query
// first starts, and never changed.
type Metadata struct {
	Query     batch.QueryID `json:"query"` // drawn when the checkpoint is made, if empty
	Name      string        `json:"name"`
	Created   time.Time     `json:"created"`
	PlanHash  string        `json:"plan_hash"`
	SQL       string        `json:"sql,omitempty"`
	Sources   []string      `json:"sources,omitempty"`
	Sinks     []string      `json:"sinks,omitempty"`
	KeyGroups int           `json:"key_groups"`
	Engine    string        `json:"engine,omitempty"` // version of the program that made it
}

const (
	metadataFile  = "checkpoint.meta"
	metadataMax   = 16 << 20 // the text of the query is the only large part
	metadataTitle = "sluice checkpoint 1 crc32c "
)

// encodeMetadata returns a line with the format's version and the checksum of
// what follows, then indented JSON for people to read.
func encodeMetadata(m Metadata) ([]byte, error) {
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint metadata: %w", err)
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "%s%08x\n", metadataTitle, crc32.Checksum(body, castagnoli)), body...), nil
}

func decodeMetadata(data []byte) (Metadata, error) {
	title, body, ok := bytes.Cut(data, []byte{'\n'})
	sum, known := bytes.CutPrefix(title, []byte(metadataTitle))
	switch {
	case !ok || !known:
		return Metadata{}, errors.New("not the metadata of a checkpoint that this program can read")
	case string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)):
		return Metadata{}, errors.New("the checksum is wrong")
	}
	var m Metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return Metadata{}, err
	}
	if m.Query == "" {
		return Metadata{}, errors.New("it names no query")
	}
	return m, nil
}

// readMetadata returns nil, nil if there is none.
func readMetadata(fs vfsx.FS, dir string) (*Metadata, error) {
	path := fs.PathJoin(dir, metadataFile)
	data, err := vfsx.ReadFile(fs, path, metadataMax)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err)
	}
	m, err := decodeMetadata(data)
	if err != nil {
		return nil, damagef(path, 0, "%s", err)
	}
	return &m, nil
}

// belongs refuses a checkpoint of another query.
func (m *Metadata) belongs(dir string, want Metadata) error {
	differ := (want.Name != "" && m.Name != "" && want.Name != m.Name) || (want.Query != "" && want.Query != m.Query)
	if !differ {
		return nil
	}
	return refuse(fmt.Errorf("%w: %s was made on %s by query %q (ID %s), and this is query %q; give this query a checkpoint of its own",
		ErrForeign, dir, m.Created.UTC().Format(time.RFC3339), m.Name, m.Query, want.Name))
}

// drawID returns a random UUID of version 4.
func drawID() (batch.QueryID, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("draw a query ID: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return batch.QueryID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])), nil
}
