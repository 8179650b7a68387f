package kafka

import (
	"encoding/json"

	"github.com/sluice-stream/sluice/batch"
)

// held is what the target says of the last batch that it holds.
type held struct {
	batch  batch.ID
	digest batch.Digest
	term   batch.Term
}

const heldVersion = 1

// heldText is its form as the metadata of an offset (`docs/formats/kafka-held.md`).
type heldText struct {
	V      int          `json:"v"`
	Batch  batch.ID     `json:"batch"`
	Digest batch.Digest `json:"digest"`
	Term   batch.Term   `json:"term"`
}

func (h held) text() string {
	b, _ := json.Marshal(heldText{heldVersion, h.batch, h.digest, h.term}) // numbers always can be
	return string(b)
}

// parseHeld reads the metadata; "" is that of a target without batches.
func parseHeld(text string) (held, error) {
	if text == "" {
		return held{batch: batch.None}, nil
	}
	var t heldText
	err := json.Unmarshal([]byte(text), &t)
	if err == nil && t.V > heldVersion {
		return held{}, batch.UserErrorf("the offset's metadata is of version %d, this version of Sluice knows %d", t.V, heldVersion)
	}
	if err != nil || t.V != heldVersion || t.Batch < 0 {
		return held{}, batch.UserErrorf("the offset's metadata %q is not what this version of Sluice wrote", text)
	}
	return held{t.Batch, t.Digest, t.Term}, nil
}
