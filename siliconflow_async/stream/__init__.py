"""An open answer: one connection's part of it, the stream that a user reads, its continuation, and its parsed form."""
