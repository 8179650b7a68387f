// Package lint checks what gofmt, vet and staticcheck cannot know: the rules of
// this repository. Its test runs over the whole tree and is part of make test.
//
// The checks, by the name that a finding starts with:
//
//	imports     who may import whom (table.go)
//	calls       clocks, randomness, goroutines and files in the pure packages,
//	            sleeping tests, deprecated Arrow records, panics, stray prints
//	size        files of at most 800 lines, functions of at most 70
//	doc         a doc.go in every package
//	paths       a path named in the documentation exists, and pages are listed
//	machine     no path of a machine and no host of a package registry in any file
//
// A finding is mended, or excused where it stands by a comment on its line or
// the line above, which needs a reason:
//
//	//sluice:allow calls the process is over, nobody is left to return to
//
// Sizes have no excuse but a ratchet: `internal/lint/ratchet.txt` lists the
// offenders with their size. A listed one may only shrink; the list itself is brought
// down with `go test ./internal/lint -rewrite` and never grows.
//
// What the package never does: look at types, or run anything. It reads text and
// syntax trees, so that it takes a second and needs no build.
package lint
