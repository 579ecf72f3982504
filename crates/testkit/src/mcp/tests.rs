//! The server against its own description, over both transports; processes that go wrong are tested with the program.
