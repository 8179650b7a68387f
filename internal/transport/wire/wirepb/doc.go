// Package wirepb holds the messages between a driver and its workers as Protocol
// Buffers: wire.proto is the source, wire.pb.go is generated from it by `make proto`,
// and a test holds one to the other. Nothing here decides anything, and only package
// wire reads it.
package wirepb
