//go:build !unix

package main

// confine has nothing to do where files have other rights.
func confine(string) error { return nil }
