// Package secret holds what connectors share about secrets in options: they are given
// by reference, '${env:NAME}' or '${file:PATH}', and read when a connection is made, so
// that a rotated one is taken up and none stands in a catalog, a log or a checkpoint.
//
// What it never does: keep a secret, or write one into an error. What is not a reference
// is refused without being repeated.
package secret
