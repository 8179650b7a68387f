// Package protobuf reads and writes messages of Protocol Buffers straight out of and into
// Arrow, by a message type that is known only when the program runs.
//
// A Type is compiled from the texts of .proto files (all of them given; the well-known
// ones are built in) or from a descriptor set. A Decoder walks a message once to note
// where the wanted fields lie, and once over the noted places, column by column, so that
// fields may come in any order, the last of a field that is there twice wins, parts of a
// message are put together and nothing becomes a Go object. What nobody asked for is
// passed over by its length.
//
// A field without presence (proto3 without optional) that is not there has its zero value,
// as Protocol Buffers define it; any other is NULL. Of columns a field is found by its name,
// or by its name in other case. Enums are the names of their values, timestamps and the
// wrappers of google.protobuf the value that they stand for.
//
// What it never does: believe a length, read from files, or ask a network.
package protobuf
