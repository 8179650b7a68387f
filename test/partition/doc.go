// Package partition runs drivers and workers as processes of their own, each in a network
// namespace, and breaks the network between them, the processes, their clocks and their
// disks while queries run. What the queries have written has to be what a batch run over
// the same input says, each row once and of each key in order.
//
// The test's process makes namespaces of its own for network, mounts and users, so that it
// needs no rights and leaves nothing behind however it ends: its bridge, the namespaces of
// the nodes and their small disks go with it.
package partition
