//! The lifecycle API over HTTP: a manager in another process, by a Unix socket or TCP.
