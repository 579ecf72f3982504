//! Nothing lost, whatever dies: how soon a daemon that comes back has its sessions again, what remembering costs, how long
//! something of ours that nobody wants stays, and what output costs that nobody reads.

mod adoption;
mod checkpoint;
mod orphan;
mod restart;
mod store;
mod unread;

pub(super) use self::adoption::adoption;
pub(super) use self::checkpoint::checkpoint;
pub(super) use self::orphan::orphan;
pub(super) use self::restart::restart;
pub(super) use self::store::{append, replay};
pub(super) use self::unread::unread;
