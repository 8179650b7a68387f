// Package runbook runs the commands of pages of docs/operations as they stand there, with
// the program as it is built, and holds what they print against what the page says. A line
// behind a dollar sign is a command, the lines below it are what it prints; two dots stand
// for anything. A page is one session of a shell in a folder of its own, which is
// /srv/sluice for the page, and 127.0.0.1 is an address that nobody else has.
package runbook
