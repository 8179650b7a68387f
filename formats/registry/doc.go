// Package registry asks a Schema Registry with Confluent's API: schemas by ID, by
// subject and version, their references, registering and compatibility; and it reads and
// writes the head that messages with such schemas have: a zero byte, four bytes of the
// schema's ID, and for Protobuf the place of the message's type in its file.
//
// A schema with an ID never changes, so what was answered by ID is kept, up to a bound.
// A request that fails for a reason that may pass is tried again a few times, each of the
// registry's addresses in turn; then it is an error of kind External. What the registry
// refuses is of kind User. That it knows no schema of an ID is kept for a while, too: a
// topic full of broken messages must not become a flood of requests.
//
// What it never does: follow a redirect to another host with the secret, write a secret
// into an error, believe a length, or parse a schema.
package registry
