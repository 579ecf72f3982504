//! The HTTP API: every operation of the lifecycle API, its events and its terminals, for any client.
