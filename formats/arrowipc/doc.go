// Package arrowipc reads and writes Arrow's IPC files and streams, which Feather
// version 2 is another name of. A reader tells the two by their first bytes.
//
// Types that the engine does not have are read as the nearest ones that hold
// them: unsigned integers as the next larger ones, dictionaries as their values,
// large and view types as the plain ones, nanoseconds as microseconds.
//
// Bytes are checked before they are used: the library's own checks, offsets and
// indices of every array, and that text is UTF-8. What it panics at is an error
// that names the file and the batch, and gives back what was taken from the allocator.
package arrowipc
