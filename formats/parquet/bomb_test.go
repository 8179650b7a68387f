package parquet

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
)

// zig writes a signed number as thrift's compact protocol does.
func zig(v int64) []byte { return binary.AppendUvarint(nil, uint64(v<<1)^uint64(v>>63)) }

// TestFooterBomb declares lists of billions in some bytes: refused before anything is allocated.
func TestFooterBomb(t *testing.T) {
	for name, footer := range map[string][]byte{
		"list of structs": append([]byte{0x29, 0xfc}, binary.AppendUvarint(nil, 1<<40)...), // field 2, list, long form
		"string":          append([]byte{0x68}, binary.AppendUvarint(nil, 1<<50)...),       // field 6, binary
		"nesting":         []byte(strings.Repeat("\x1c", 10000)),
	} {
		b := append([]byte("PAR1"), footer...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(footer)))
		b = append(b, "PAR1"...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Open(memFile("bomb.parquet", b))
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "bomb.parquet") || !strings.Contains(err.Error(), "damaged footer") {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", name, n)
		}
	}
}

func TestPageHeader(t *testing.T) {
	var b []byte
	b = append(append(b, 0x15), zig(2)...)    // 1: type = dictionary
	b = append(append(b, 0x15), zig(100)...)  // 2: unpacked size
	b = append(append(b, 0x15), zig(40)...)   // 3: packed size
	b = append(append(b, 0x15), zig(7)...)    // 4: crc
	b = append(b, 0x3c)                       // 7: dictionary page header
	b = append(append(b, 0x15), zig(1e12)...) // 1: values
	b = append(append(b, 0x15), zig(0)...)    // 2: encoding
	b = append(b, 0x11, 0, 0)                 // 3: sorted; ends
	w := thriftWalk{b: append(b, "page"...)}
	h, err := w.pageHeader()
	if want := (pageHeader{kind: 2, plain: 100, packed: 40, values: 1e12, dictionary: true, crc: 7, hasCRC: true}); err != nil || h != want || string(w.b) != "page" {
		t.Errorf("%+v %v, left %q", h, err, w.b)
	}
	for i := range b {
		if _, err := (&thriftWalk{b: b[:i]}).pageHeader(); err == nil {
			t.Errorf("cut at %d accepted", i)
		}
	}
}
