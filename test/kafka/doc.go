// Package kafka tries whole queries between topics: against a broker in this process,
// always, and against a real one where SLUICE_KAFKA_JARS names the folder that
// `tools/kafka/broker install` prints (`make test-kafka`). Engines are killed, stopped
// and brought back while they work, and so is the real broker; then a reader of
// committed messages must find each row once and each key's rows in order.
package kafka
