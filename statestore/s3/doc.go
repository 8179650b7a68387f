// Package s3 keeps files of checkpoints in a bucket of an S3-compatible store.
//
// A file is put with If-None-Match, so that no attempt can overwrite another's. A
// store that ignores the condition is refused when it is opened: two processes on one
// checkpoint would not notice each other. A put that finds its name taken reads back
// what is there: it may be its own, whose answer was lost.
//
// Invariants:
//
//	O1  A file is never overwritten.
//	O2  Every retry has a limit.
//
// Example:
//
//	st, err := s3.Open(ctx, s3.Options{Endpoint: "s3.eu-west-1.amazonaws.com", Bucket: "b", Prefix: "ck/hot/", Secure: true})
//	store, err := tiered.Open(tiered.Options{Dir: "cache", Storage: st})
package s3
