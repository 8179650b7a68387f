package sluice

// Version is the engine's version, which checkpoints record. It follows semantic
// versioning from 1.0 on; before, any release may change durable formats.
const Version = "0.1.0"
