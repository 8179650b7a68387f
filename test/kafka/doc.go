// Package kafka tries whole queries between topics: against a broker in this process,
// always, and against a real one where SLUICE_KAFKA_JARS names the folder that
// `tools/kafka/broker install` prints (`make test-kafka`). Engines are killed, stopped,
// replaced and brought back while they work, the broker is killed, the network between
// them cut, answers lost and ends of transactions held back; then a reader of committed
// messages must find each row once and each key's rows in order. `make soak-kafka` draws
// such faults at random for as long as it is told. TestCycles kills the processes of a
// whole cluster, its broker and its database, and holds topics, files and tables against a
// batch run; `tools/chaos cluster-kafka` runs many such cycles.
package kafka
