package avro

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"github.com/sluice-stream/sluice/batch"
)

var errLarge = errors.New("it is larger than 256 MiB")

// unpacker takes the compression off blocks. It is used by one goroutine.
type unpacker struct {
	codec string
	buf   []byte
	zstd  *zstd.Decoder
}

func newUnpacker(codec string) (*unpacker, error) {
	u := &unpacker{codec: codec}
	switch codec {
	case "null", "deflate", "snappy", "bzip2":
	case "zstandard":
		var err error
		if u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecoderLowmem(true)); err != nil {
			return nil, fmt.Errorf("read zstandard: %w", err)
		}
	default:
		return nil, batch.UserErrorf("its blocks are compressed with %q: want null, deflate, snappy, zstandard or bzip2", codec)
	}
	return u, nil
}

func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}

// unpack returns a block's bytes, valid until the next.
func (u *unpacker) unpack(b []byte) ([]byte, error) {
	switch u.codec {
	case "deflate":
		return u.all(flate.NewReader(bytes.NewReader(b)))
	case "bzip2":
		return u.all(bzip2.NewReader(bytes.NewReader(b)))
	case "zstandard":
		out, err := u.zstd.DecodeAll(b, u.buf[:0])
		if err == nil {
			u.buf = out
		}
		return out, err
	case "snappy":
		if len(b) < 4 {
			return nil, errEnd
		}
		n, err := snappy.DecodedLen(b[:len(b)-4])
		if err != nil {
			return nil, err
		}
		if n > maxBlock {
			return nil, errLarge
		}
		if n > cap(u.buf) {
			u.buf = make([]byte, n)
		}
		out, err := snappy.Decode(u.buf[:cap(u.buf)], b[:len(b)-4])
		if err == nil && crc32.ChecksumIEEE(out) != binary.BigEndian.Uint32(b[len(b)-4:]) {
			err = errors.New("its checksum is another one")
		}
		return out, err
	}
	return b, nil
}

func (u *unpacker) all(r io.Reader) ([]byte, error) {
	out := bytes.NewBuffer(u.buf[:0])
	n, err := io.Copy(out, io.LimitReader(r, maxBlock+1))
	if err == nil && n > maxBlock {
		err = errLarge
	}
	u.buf = out.Bytes()
	return u.buf, err
}

// pack compresses a block for writing.
type packer struct {
	codec string
	buf   bytes.Buffer
	flate *flate.Writer
	zstd  *zstd.Encoder
	out   []byte
}

func newPacker(codec string) (*packer, error) {
	p := &packer{codec: codec}
	var err error
	switch codec {
	case "deflate":
		p.flate, err = flate.NewWriter(&p.buf, flate.DefaultCompression)
	case "zstandard":
		p.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	}
	if err != nil {
		return nil, fmt.Errorf("compress with %s: %w", codec, err)
	}
	return p, nil
}

func (p *packer) close() error {
	if p.zstd != nil {
		return p.zstd.Close()
	}
	return nil
}

// pack returns a block's bytes compressed, valid until the next.
func (p *packer) pack(b []byte) ([]byte, error) {
	switch p.codec {
	case "deflate":
		p.buf.Reset()
		p.flate.Reset(&p.buf)
		if _, err := p.flate.Write(b); err != nil {
			return nil, fmt.Errorf("compress a block: %w", err)
		}
		if err := p.flate.Close(); err != nil {
			return nil, fmt.Errorf("compress a block: %w", err)
		}
		return p.buf.Bytes(), nil
	case "snappy":
		p.out = snappy.Encode(p.out[:cap(p.out)], b)
		return binary.BigEndian.AppendUint32(p.out, crc32.ChecksumIEEE(b)), nil
	case "zstandard":
		p.out = p.zstd.EncodeAll(b, p.out[:0])
		return p.out, nil
	}
	return b, nil
}
