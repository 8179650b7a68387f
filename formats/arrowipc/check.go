package arrowipc

import "fmt"

// CheckMessage holds what the metadata of one message claims to what is there, before a
// library makes room for it: counts to the metadata's length, buffers to the body, and what
// compressed buffers say that they hold to limit, all together.
func CheckMessage(meta, body []byte, limit int64) error {
	size, err := message(meta)
	if err != nil {
		return err
	}
	if size > int64(len(body)) {
		return fmt.Errorf("%w: a body of %d bytes has %d", errMeta, size, len(body))
	}
	f := &flat{b: meta}
	m := f.root()
	head := f.table(m, 2)
	switch meta[f.slot(m, 1)] {
	case kindDictionary:
		head = f.table(head, 1)
	case kindBatch:
	default:
		return nil
	}
	if head == 0 {
		return nil
	}
	packed := f.slot(head, 3) > 0
	data := &flat{b: body}
	from, n := f.vector(head, 2, 16)
	left := limit
	for i := range n {
		at, length := f.i64(from+16*i), f.i64(from+16*i+8)
		if at < 0 || length < 0 || at > int64(len(body))-length {
			return fmt.Errorf("%w: buffer %d lies at %d, %d bytes, of %d", errMeta, i, at, length, len(body))
		}
		if !packed || length == 0 {
			continue
		}
		holds := data.i64(int(at))
		if length < 8 || data.bad || holds < -1 || holds > left {
			return fmt.Errorf("%w: buffer %d of %d bytes holds %d", errMeta, i, length, holds)
		}
		left -= max(holds, 0)
	}
	if f.bad {
		return errMeta
	}
	return nil
}
