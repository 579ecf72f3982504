//! What only a bad server shows: each stage at which one can hang, lie, break off or flood, and what a caller sees of it.

mod answers;
mod commands;
mod copies;
mod events;
mod peer;
mod requests;
mod terminals;
