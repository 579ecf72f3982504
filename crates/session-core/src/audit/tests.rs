//! What callers do, and what the log says of it.
