package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checkImports holds one file of production code against the import table.
// Tests may import doubles and implementations.
func (t *Tree) checkImports(f *GoFile) []Finding {
	if f.Test {
		return nil
	}
	r := ruleFor(f.Dir)
	if r == nil {
		return []Finding{{"imports", f.Path, 0, fmt.Sprintf("package %s is not in the import table (internal/lint/table.go)", f.Dir)}}
	}
	var found []Finding
	for _, spec := range f.AST.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil || r.allows(f.Dir, name) {
			continue
		}
		found = append(found, Finding{"imports", f.Path, t.line(spec.Pos()), fmt.Sprintf("%s may not import %s: %s", f.Dir, name, r.why)})
	}
	return found
}

func ruleFor(dir string) *rule {
	for i := range table {
		if slices.ContainsFunc(table[i].pkgs, func(p string) bool { return matches(p, dir) }) {
			return &table[i]
		}
	}
	return nil
}

// allows reports whether a package in dir may import the path name.
func (r *rule) allows(dir, name string) bool {
	if name == Module {
		return r.ownAllows(".")
	}
	if own, ok := strings.CutPrefix(name, Module+"/"); ok {
		return own == "internal/invariants" || strings.HasPrefix(own, dir+"/") || r.ownAllows(own)
	}
	within := func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") }
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") {
		return name != "C" && !slices.ContainsFunc(r.deny, within)
	}
	return slices.Contains(r.ext, "*") || slices.ContainsFunc(r.ext, within)
}

func (r *rule) ownAllows(dir string) bool {
	return slices.ContainsFunc(r.own, func(p string) bool { return matches(p, dir) })
}

// matches reports whether dir is what the pattern says: itself, or with /...
// anything below as well; the pattern ... alone is everything.
func matches(pattern, dir string) bool {
	if pattern == "..." {
		return true
	}
	base, deep := strings.CutSuffix(pattern, "/...")
	return dir == base || deep && strings.HasPrefix(dir, base+"/")
}
