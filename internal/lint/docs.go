package lint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	// quoted finds what stands in backquotes, on one line.
	quoted = regexp.MustCompile("`([^`]+)`")
	// linked finds the targets of Markdown links.
	linked = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// pathlike is a path of this repository, maybe with a pattern in it.
	pathlike = regexp.MustCompile(`^(\./)?[A-Za-z0-9_.*-]+(/[A-Za-z0-9_.*-]+)*/?$`)
	// lineSuffix is the :12 of a place in a file.
	lineSuffix = regexp.MustCompile(`:\d+$`)
)

// fileTypes are the endings that make a single word the name of a file here.
var fileTypes = []string{".md", ".go", ".sql", ".slt", ".sh", ".mod", ".txt", ".yaml", ".yml"}

// rootFiles are files of the top level that have no ending.
var rootFiles = []string{"Makefile", "LICENSE", "NOTICE"}

// made are the top-level folders that building and running make.
var made = []string{"bin", "out", "ck", ".work"}

// checkPaths looks up every path that the documentation names. A reader who
// finds one wrong path stops trusting the page.
func (t *Tree) checkPaths() []Finding {
	tops := map[string]bool{}
	for _, name := range t.Files {
		if top, _, deep := strings.Cut(name, "/"); deep {
			tops[top] = true
		}
	}
	var found []Finding
	for _, doc := range t.Files {
		if path.Ext(doc) != ".md" || inTestdata(doc) {
			continue
		}
		text, err := t.text(doc)
		if err != nil {
			found = append(found, Finding{"paths", doc, 0, err.Error()})
			continue
		}
		fenced := false
		for i, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
			}
			if fenced {
				continue
			}
			for _, name := range namedPaths(line, tops) {
				if !t.exists(doc, name) {
					found = append(found, Finding{"paths", doc, i + 1, fmt.Sprintf("%s does not exist", name)})
				}
			}
		}
	}
	return found
}

// formatsIndex is the page that lists the pages on durable formats.
const formatsIndex = "docs/formats/README.md"

// checkIndex wants every page on a durable format in the index.
func (t *Tree) checkIndex() []Finding {
	var found []Finding
	index, err := t.text(formatsIndex)
	for _, name := range t.Files {
		if path.Dir(name) != path.Dir(formatsIndex) || name == formatsIndex || path.Ext(name) != ".md" {
			continue
		}
		if err != nil || !strings.Contains(index, "("+path.Base(name)+")") {
			found = append(found, Finding{"paths", name, 0, "is not listed in " + formatsIndex})
		}
	}
	return found
}

// namedPaths returns the paths of this repository that a line names.
func namedPaths(line string, tops map[string]bool) []string {
	var names []string
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		name := lineSuffix.ReplaceAllString(m[1], "")
		name = strings.TrimSuffix(strings.TrimSuffix(name, "/..."), "/")
		if pathlike.MatchString(name) && isOurs(strings.TrimPrefix(name, "./"), tops) {
			names = append(names, name)
		}
	}
	for _, m := range linked.FindAllStringSubmatch(line, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target != "" && !strings.Contains(target, ":") {
			names = append(names, strings.TrimSuffix(target, "/"))
		}
	}
	return names
}

// isOurs tells a path of this repository from any other text with a slash or a dot.
func isOurs(name string, tops map[string]bool) bool {
	top, _, deep := strings.Cut(name, "/")
	if slices.Contains(made, top) {
		return false
	}
	if deep {
		return tops[top]
	}
	ext := path.Ext(name)
	named := ext != name && !strings.ContainsAny(name[:1], "*_") // more than an ending
	return named && slices.Contains(fileTypes, ext) || slices.Contains(rootFiles, name)
}

// exists looks for a path from the root, and then from the directory of the page.
func (t *Tree) exists(doc, name string) bool {
	name = strings.TrimPrefix(name, "./")
	for _, base := range []string{".", path.Dir(doc)} {
		found, err := filepath.Glob(filepath.Join(t.Root, filepath.FromSlash(path.Join(base, name))))
		if err == nil && len(found) > 0 {
			return true
		}
	}
	// A bare file name may stand for the one file of that name in the tree.
	if !strings.Contains(name, "/") {
		return slices.ContainsFunc(t.Files, func(f string) bool { return path.Base(f) == name })
	}
	return false
}

// The names are put together from parts, so that this file does not find itself.
var (
	machinePath   = regexp.MustCompile(`(^|[^A-Za-z0-9_.~/-])/(wo` + `rk|ro` + `ot)/[A-Za-z0-9_.]`)
	registryHosts = []string{
		"proxy.go" + "lang.org", "sum.go" + "lang.org", "py" + "pi.org", "files.python" + "hosted.org", "registry.npm" + "js.org",
		"crates" + ".io", "repo.maven" + ".apache.org", "repo1.maven" + ".org", "goproxy" + ".io", "goproxy" + ".cn",
	}
)

// checkMachine looks for what ties the repository to one machine or network.
func (t *Tree) checkMachine() []Finding {
	var found []Finding
	for _, name := range t.Files {
		text, err := t.text(name)
		if errors.Is(err, fs.ErrNotExist) || strings.ContainsRune(text, 0) {
			continue
		}
		if err != nil {
			found = append(found, Finding{"machine", name, 0, err.Error()})
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if machinePath.MatchString(line) {
				found = append(found, Finding{"machine", name, i + 1, "names a path of one machine"})
			}
			for _, host := range registryHosts {
				if strings.Contains(line, host) {
					found = append(found, Finding{"machine", name, i + 1, "names the package registry " + host + ": leave the choice to the user's settings"})
				}
			}
		}
	}
	return found
}

// text reads a file of the tree; one too large to be written by hand is empty.
func (t *Tree) text(name string) (string, error) {
	full := filepath.Join(t.Root, filepath.FromSlash(name))
	info, err := os.Stat(full)
	if err != nil {
		return "", err
	}
	if info.IsDir() || info.Size() > textSizeMax {
		return "", nil
	}
	data, err := os.ReadFile(full)
	return string(data), err
}
