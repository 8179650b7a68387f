// Command sealed checks type switches over the sealed interfaces of this
// module: those with an unexported method, whose members can only be declared
// in one package. A switch without a default has to name every member; one with
// a default has said what becomes of the rest, and one that names less than
// half of the members picks out a few and is left alone.
//
// It exists because the check of exhaustive wants *T to be listed besides T when T's
// methods have value receivers, which nobody means. Here T and *T are one
// member, and a case that is an interface covers whatever implements it.
package main
