package options

import (
	"slices"
	"strings"
)

// family reports whether the option declares a family of keys.
func (o Option) family() bool { return strings.Contains(o.Key, "*") }

// match returns the name that the star of a family stands for in key.
func (o Option) match(key string) (name string, ok bool) {
	before, after, ok := strings.Cut(o.Key, "*")
	if !ok || len(key) <= len(before)+len(after) ||
		!strings.HasPrefix(key, before) || !strings.HasSuffix(key, after) {
		return "", false
	}
	return key[len(before) : len(key)-len(after)], true
}

// For returns the member of a family that belongs to name. Of an option that is
// no family it returns the option itself.
func (o Option) For(name string) Option {
	o.Key = strings.Replace(o.Key, "*", name, 1)
	return o
}

// Members lists, in order, the names for which m sets a member of the family o.
func (m Map) Members(o Option) []string {
	var names []string
	for k := range m {
		if name, ok := o.match(k); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// find returns the declaration that key falls under, with key as its Key: an
// exact one before a family, and of families the first.
func find(key string, declared []Option) (Option, bool) {
	for _, o := range declared {
		if o.Key == key && !o.family() {
			return o, true
		}
	}
	for _, o := range declared {
		if name, ok := o.match(key); ok {
			return o.For(name), true
		}
	}
	return Option{}, false
}

// nearby replaces the families among names by their member nearest to key, so
// that the proposal for "fields.price.mim" is "fields.price.min": the name is
// taken to end at the last dot or any other place where the family's end may begin.
func nearby(key string, names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		before, after, ok := strings.Cut(n, "*")
		if !ok {
			out = append(out, n)
			continue
		}
		if !strings.HasPrefix(key, before) || after == "" {
			continue
		}
		rest := key[len(before):]
		if i := strings.LastIndexByte(rest, after[0]); i > 0 {
			out = append(out, before+rest[:i]+after)
		}
	}
	return out
}

// Known returns the part of m whose keys are declared, as members of families too.
func (m Map) Known(declared []Option) Map {
	out := Map{}
	for k, v := range m {
		if _, ok := find(k, declared); ok {
			out[k] = v
		}
	}
	return out
}
