// Package secure tries a driver and its workers from outside, as the processes that users
// run: every port that they have open, found by what the kernel says of them, gets plain
// text, old TLS and every wrong certificate, and every route every wrong token. What the
// process leaves behind, and what it needs of a system, is looked at too.
package secure
