// Package upgrade replaces the drivers and workers of a running cluster by those of another
// build, one after the other in the order of docs/operations/upgrade.md, while queries with
// state and windows write files. What they have written is what a batch run says, each row
// once; no query begins a life more than the change asks for, and the longest time between
// two commits is told. With -from the older build is that of an earlier commit. What
// builds must not do together is refused by name: another protocol, another plan (-others).
package upgrade
