package json

import "errors"

// Members checks the syntax of one object and tells visit of its members: the key
// without its quotes, the text of the value, and where that starts in the line.
func Members(line []byte, visit func(key, value []byte, at int)) error {
	s := scanner{b: line}
	s.blank()
	if s.pos == len(line) || line[s.pos] != '{' {
		return s.fault(errObject)
	}
	err := s.object(1, func(k span, v found) { visit(unquote(nil, line[k.from:k.to]), line[v.from:v.to], v.from) })
	if err != nil {
		if errors.Is(err, errEnd) {
			err = errNewline
		}
		return s.fault(err)
	}
	if s.blank(); s.pos < len(line) {
		return s.fault(errTrail)
	}
	return nil
}

// Unquote returns what a checked string means; any other value is its own text.
func Unquote(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return value
	}
	return unquote(nil, value)
}

// IsNull reports whether the text of a value is null, or there is none.
func IsNull(value []byte) bool { return len(value) == 0 || isNull(value) }
