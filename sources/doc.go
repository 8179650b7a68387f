// Package sources is the seam to everything that rows come from. It decides
// nothing but the contract; each subfolder is one connector.
//
// A Source runs on the driver: it says how far can be read and cuts a range
// into splits. An Opener runs on the worker and reads one split. The two share
// nothing but the split's payload.
//
// Invariants:
//
//	S1  Same range, same rows, for ever (until Release): Plan and Open may be repeated.
//	S2  Splits of a range are numbered in a fixed order; rows within a split too.
//	S3  Nothing at or after the start of an unreleased range is ever thrown away.
package sources
