//! The words of the HTTP API: requests, answers, problems and frames, shared by the server and its client.
