package rowkey

import "encoding/binary"

// Rows that are kept as a multiset are stored in one of two forms, which their first
// byte tells apart: a row by itself behind a varint count, which is never 0, or all that
// came with one batch: 00, then for each row a varint count, a varint length and the row.

// storedTogether is the first byte of rows that are stored together.
const storedTogether = 0

// countMax is a count that no multiset reaches: more is damage.
const countMax = 1 << 40

// AppendTogether appends a row to those that are stored together, the first of which
// goes behind an empty dst.
func AppendTogether(dst []byte, count uint64, row []byte) []byte {
	if len(dst) == 0 {
		dst = append(dst, storedTogether)
	}
	dst = binary.AppendUvarint(dst, count)
	return append(binary.AppendUvarint(dst, uint64(len(row))), row...)
}

// Together reports whether rows are stored in the form of AppendTogether.
func Together(stored []byte) bool { return len(stored) > 0 && stored[0] == storedTogether }

// JoinTogether appends rows that are stored together, of which there is at least one,
// to a stored value of either form.
func JoinTogether(dst, stored, more []byte) ([]byte, error) {
	if Together(stored) {
		return append(append(dst, stored...), more[1:]...), nil
	}
	count, row, err := oneStored(stored)
	if err != nil {
		return nil, err
	}
	return append(AppendTogether(dst, uint64(count), row), more[1:]...), nil
}

// EachStored visits the rows of a stored value.
func EachStored(stored []byte, visit func(count int64, row []byte) error) error {
	if len(stored) == 0 {
		return damaged("no bytes where rows are stored")
	}
	if stored[0] != storedTogether {
		count, row, err := oneStored(stored)
		if err != nil {
			return err
		}
		return visit(count, row)
	}
	rest := stored[1:]
	if len(rest) == 0 {
		return damaged("rows that are stored together, and are none")
	}
	for len(rest) > 0 {
		count, after, err := oneStored(rest)
		if err != nil {
			return err
		}
		size, n := binary.Uvarint(after)
		if n <= 0 || size > uint64(len(after)-n) {
			return damaged("a row of %d bytes in %d", size, len(after))
		}
		end := n + int(size)
		if err := visit(count, after[n:end:end]); err != nil {
			return err
		}
		rest = after[end:]
	}
	return nil
}

// oneStored cuts a value at its count.
func oneStored(stored []byte) (int64, []byte, error) {
	count, n := binary.Uvarint(stored)
	if n <= 0 || count == 0 || count > countMax {
		return 0, nil, damaged("a row that is stored %d times", count)
	}
	return int64(count), stored[n:], nil
}
