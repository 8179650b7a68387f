// Package lines reads and writes plain text: a column of strings with a row for
// each line, or for each whole file. Line ends are \n or \r\n and not part of the
// row. Text that is not UTF-8 is an error that names file and line, or NULL under
// 'bad-rows' = 'null'; a column of BINARY takes any bytes.
package lines
