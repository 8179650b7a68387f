// Package crash holds the tests that kill the real binary: SIGKILL at random
// moments over hundreds of small files, restarts with the same command, and a
// foreign reader that must find each result once.
package crash
