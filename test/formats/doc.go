// Package formats holds the tests of tables over messages in every format, through SQL:
// with a broker and a Schema Registry in the process. There is no code besides tests.
package formats
