// Package registrytest is a Schema Registry for tests: Confluent's API on an HTTP server of
// the process, with subjects, versions, references, configuration and compatibility
// checks in memory. IDs count up from 1, one for each text and type, as in the real one.
//
// It can be told to fail, to ask for a name and password or a token, and it counts what
// it was asked. What is compatible with what a test says itself, by Check.
package registrytest
