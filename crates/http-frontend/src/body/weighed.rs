//! How many bytes of requests the server holds at once, all callers together.
//!
//! A bound for each body alone is none for their sum: whoever may ask often enough could have all memory with bodies that
//! never end. So what is read whole is counted while it is read, for everybody and for each token.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::RETRY_AFTER;
use bytes::Bytes;
use http_api::SurfaceCode;
use hyper::body::{Frame, SizeHint};

use crate::caller::Caller;
use crate::options::HttpOptions;
use crate::problem::Failure;

/// After how many seconds there may be room.
const AGAIN: HeaderValue = HeaderValue::from_static("1");

/// That there is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overweight {
    /// Of this token.
    Own,
    /// Of anybody.
    All,
}

impl fmt::Display for Overweight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "this token sends too much at once",
            Self::All => "too much is sent to this server at once",
        })
    }
}

impl StdError for Overweight {}

impl From<Overweight> for Failure {
    fn from(over: Overweight) -> Self {
        let code = match over {
            Overweight::Own => SurfaceCode::TooManyRequests,
            Overweight::All => SurfaceCode::Unavailable,
        };
        Self::new(code, over.to_string()).with_header(RETRY_AFTER, AGAIN)
    }
}

/// Why a body broke off, if it was for want of room.
pub(crate) fn overweight(error: &axum::Error) -> Option<Overweight> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(over) = error.downcast_ref() {
            return Some(*over);
        }
        next = error.source();
    }
    None
}

/// What everybody holds.
pub(crate) struct Scales {
    most: usize,
    share: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    /// Those who hold something.
    by: HashMap<Arc<str>, usize>,
}

impl Scales {
    pub(crate) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            most: options.max_unread,
            share: options.max_unread_of_one,
            held: Mutex::default(),
        })
    }

    /// Nothing yet, of this caller. The server's own user has no share: there is nobody to protect from them.
    pub(crate) fn load(self: &Arc<Self>, caller: &Caller) -> Load {
        Load {
            scales: self.clone(),
            who: caller.name().map(Arc::from),
            bytes: 0,
        }
    }
}

/// What one request holds. Given back when it is dropped.
pub(crate) struct Load {
    scales: Arc<Scales>,
    who: Option<Arc<str>>,
    bytes: usize,
}

impl Load {
    /// Holds so many bytes more.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Overweight> {
        let mut held = self.scales.held.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.all.saturating_add(bytes);
        if all > self.scales.most {
            return Err(Overweight::All);
        }
        if let Some(who) = &self.who {
            let own = held
                .by
                .get(who)
                .copied()
                .unwrap_or_default()
                .saturating_add(bytes);
            if own > self.scales.share {
                return Err(Overweight::Own);
            }
            held.by.insert(who.clone(), own);
        }
        held.all = all;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut held = self.scales.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(self.bytes);
        let Some(who) = &self.who else { return };
        let left = held.by.get(who).map_or(0, |own| own.saturating_sub(self.bytes));
        if left == 0 {
            held.by.remove(who);
        } else {
            held.by.insert(who.clone(), left);
        }
    }
}

/// A body that is read whole: it fails with [`Overweight`] when there is no room for what comes.
pub(crate) struct Weighed {
    body: Body,
    load: Load,
}

impl Weighed {
    /// Empty bodies, which most are, stay as they are.
    pub(crate) fn guard(body: Body, load: Load) -> Body {
        if hyper::body::Body::is_end_stream(&body) {
            return body;
        }
        Body::new(Self { body, load })
    }
}

impl hyper::body::Body for Weighed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        Poll::Ready(match this.load.add(bytes) {
            Ok(()) => frame,
            Err(over) => Some(Err(axum::Error::new(over))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Scope;

    #[test]
    fn what_is_held_is_bounded_for_each_and_for_all_and_comes_back() {
        let scales = Scales::new(&HttpOptions {
            max_unread: 10,
            max_unread_of_one: 6,
            ..HttpOptions::default()
        });
        let (ann, bob) = ["ann", "bob"]
            .map(|name| Caller::with_token(name, Scope::Use, false))
            .into();
        let (mut first, mut second) = (scales.load(&ann), scales.load(&ann));
        assert_eq!(first.add(4), Ok(()));
        assert_eq!(second.add(3), Err(Overweight::Own));
        assert_eq!(second.add(2), Ok(()));
        let mut other = scales.load(&bob);
        assert_eq!(other.add(5), Err(Overweight::All));
        assert_eq!(other.add(4), Ok(()));
        assert_eq!(scales.load(&Caller::local()).add(1), Err(Overweight::All));
        drop(first);
        assert_eq!(second.add(4), Ok(()));
        drop((second, other));
        assert_eq!(scales.load(&Caller::local()).add(10), Ok(()));
        let held = scales.held.lock().unwrap();
        assert_eq!((held.all, held.by.len()), (0, 0));
    }
}
