package options

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// Map is a WITH clause: keys as written.
type Map map[string]string

// Kind is the type of an option's value.
type Kind int

// The kinds of option.
const (
	Text Kind = iota
	Int
	Float
	Boolean
	Duration // "100ms", "1 second", "5 minutes"
	Bytes    // "64MB", "1 GiB", plain bytes
	Enum     // one of Option.Values
)

// Option declares one setting. A Key with one '*' declares a family: the star
// stands for any name, as the column in "fields.*.min". Values of a member are
// read through For, and Members lists those that a map sets.
type Option struct {
	Key      string
	Kind     Kind
	Default  string   // as it would be written; "" if there is none
	Values   []string // for Enum
	Auto     bool     // for Int: may be written auto, which is 0
	Required bool
	Doc      string // one sentence, with the unit
}

// Check reports every fault of m against the declared options: unknown keys
// with the nearest name, missing required keys, values of the wrong type.
func Check(what string, m Map, declared []Option) error {
	var faults []string
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	names := make([]string, len(declared))
	for i, o := range declared {
		names[i] = o.Key
	}
	for _, k := range keys {
		o, ok := find(k, declared)
		if !ok {
			faults = append(faults, fmt.Sprintf("unknown option '%s'%s", k, Suggest(k, nearby(k, names))))
			continue
		}
		if err := o.check(m[k]); err != nil {
			faults = append(faults, err.Error())
		}
	}
	for _, o := range declared {
		if _, ok := m[o.Key]; o.Required && !ok && !o.family() {
			faults = append(faults, fmt.Sprintf("option '%s' is missing: %s", o.Key, o.Doc))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return batch.UserErrorf("%s: %s", what, strings.Join(faults, "; "))
}

func (o Option) check(v string) error {
	var err error
	switch o.Kind {
	case Text:
	case Int:
		if o.Auto && strings.EqualFold(v, "auto") {
			return nil
		}
		_, err = strconv.ParseInt(strings.ReplaceAll(v, "_", ""), 10, 64)
	case Float:
		_, err = strconv.ParseFloat(v, 64)
	case Boolean:
		_, err = strconv.ParseBool(strings.ToLower(v))
	case Duration:
		_, err = ParseDuration(v)
	case Bytes:
		_, err = ParseBytes(v)
	case Enum:
		if !slices.Contains(o.Values, strings.ToLower(v)) {
			return fmt.Errorf("option '%s' = '%s': want one of %s", o.Key, v, strings.Join(o.Values, ", "))
		}
	}
	if err != nil {
		want := kindNames[o.Kind]
		if o.Auto {
			want += ", or auto"
		}
		return fmt.Errorf("option '%s' = '%s': want %s", o.Key, v, want)
	}
	return nil
}

var kindNames = map[Kind]string{
	Int: "a whole number", Float: "a number", Boolean: "true or false",
	Duration: "a duration such as '100ms' or '5 minutes'", Bytes: "a size such as '64MB'",
}

// Get returns the value of a declared key or its default. The map was checked before.
func (m Map) Get(o Option) string {
	if v, ok := m[o.Key]; ok {
		return v
	}
	return o.Default
}

// Int returns a checked whole number, 0 if unset or auto.
func (m Map) Int(o Option) int64 {
	n, _ := strconv.ParseInt(strings.ReplaceAll(m.Get(o), "_", ""), 10, 64)
	return n
}

// Float returns a checked number, 0 if unset.
func (m Map) Float(o Option) float64 {
	f, _ := strconv.ParseFloat(m.Get(o), 64)
	return f
}

// Bool returns a checked boolean, false if unset.
func (m Map) Bool(o Option) bool {
	b, _ := strconv.ParseBool(strings.ToLower(m.Get(o)))
	return b
}

// Duration returns a checked duration, 0 if unset.
func (m Map) Duration(o Option) time.Duration {
	d, _ := ParseDuration(m.Get(o))
	return d
}

// Bytes returns a checked size, 0 if unset.
func (m Map) Bytes(o Option) int64 {
	n, _ := ParseBytes(m.Get(o))
	return n
}
