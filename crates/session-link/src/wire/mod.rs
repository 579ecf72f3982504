//! What travels on the link, apart from how it is multiplexed.
//!
//! ```text
//! preface   both ends at once, before anything else      magic, version, length, JSON       [preface]
//! stream    opened by the host, one per request          length, JSON request, then frames  [message], [frame]
//!           opened by init, one per tunnel               length, door name, then raw bytes  [message]
//! ```
//!
//! A reply stream is frames only. Every frame that matters is answered by one that says the end was meant, so that a
//! stream which merely stops is told apart from one that is complete.

pub(crate) mod bytestring;
pub mod frame;
pub mod message;
pub mod preface;
