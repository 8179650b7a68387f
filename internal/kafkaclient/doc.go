// Package kafkaclient is what the Kafka source and sink share: the options that say
// how to reach a cluster, and the client that they make of them.
//
// A secret is given by reference, '${env:NAME}' or '${file:PATH}', and is read when a
// connection is made, so that a rotated one is taken up and none stands in a
// catalog, a log or a checkpoint. What is not a reference is refused.
//
// What it never does: connect before it is asked to, write a secret into an error,
// or dial an address that only this machine's own neighbourhood hands out
// (link-local ones, where clouds keep their metadata services), wherever a broker
// says that it lives.
package kafkaclient
