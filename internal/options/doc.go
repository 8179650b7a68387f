// Package options holds what connectors and the session share about 'key' =
// 'value' settings: declared options with type, default and doc, checked access,
// and the nearest name for a mistyped one. It keeps no values of its own.
package options
