//! What one command wrote: the start, the end, and between them perhaps a hole.

use std::collections::VecDeque;

use session_core::command::OutputStream;

/// What a segment costs beside its bytes.
const OVERHEAD: usize = 64;
/// Segments grow up to here.
const LONGEST: usize = 32 << 10;

/// A part of a command's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// What went to the streams.
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// The position after the last byte of this part.
    pub(crate) next: u64,
    /// The position after the last byte of all.
    pub(crate) total: u64,
    /// Positions within this part whose bytes are gone.
    pub(crate) lost: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Segment {
    stream: OutputStream,
    offset: u64,
    bytes: Vec<u8>,
}

impl Segment {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    fn cost(&self) -> usize {
        OVERHEAD + self.bytes.capacity()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Transcript {
    limit: usize,
    head: Vec<Segment>,
    head_cost: usize,
    tail: VecDeque<Segment>,
    tail_cost: usize,
    /// The head takes no more: something was lost behind it, or it is full.
    closed: bool,
    end: u64,
    stdout: u64,
    stderr: u64,
}

impl Transcript {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            head: Vec::new(),
            head_cost: 0,
            tail: VecDeque::new(),
            tail_cost: 0,
            closed: false,
            end: 0,
            stdout: 0,
            stderr: 0,
        }
    }

    /// What it costs to keep.
    pub(crate) fn cost(&self) -> usize {
        self.head_cost + self.tail_cost
    }

    /// The position after the last byte, and how much of that went to each stream.
    pub(crate) fn sizes(&self) -> (u64, u64, u64) {
        (self.end, self.stdout, self.stderr)
    }

    pub(crate) fn push(&mut self, stream: OutputStream, offset: u64, bytes: &[u8]) {
        let length = bytes.len() as u64;
        self.end = self.end.max(offset + length);
        *match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        } += length;
        for (index, piece) in bytes.chunks(LONGEST).enumerate() {
            self.keep(stream, offset + (index * LONGEST) as u64, piece);
        }
        self.shrink(self.limit);
    }

    fn keep(&mut self, stream: OutputStream, offset: u64, bytes: &[u8]) {
        self.closed |= self.head_cost >= self.limit / 4;
        let (last, cost) = if self.closed {
            (self.tail.back_mut(), &mut self.tail_cost)
        } else {
            (self.head.last_mut(), &mut self.head_cost)
        };
        if let Some(last) = last
            && last.stream == stream
            && last.end() == offset
            && last.bytes.len() + bytes.len() <= LONGEST
        {
            *cost -= last.cost();
            last.bytes.extend_from_slice(bytes);
            *cost += last.cost();
            return;
        }
        let segment = Segment {
            stream,
            offset,
            bytes: bytes.to_vec(),
        };
        *cost += segment.cost();
        if self.closed {
            self.tail.push_back(segment);
        } else {
            self.head.push(segment);
        }
    }

    /// Lets go of the middle until no more than `cost` is left.
    pub(crate) fn shrink(&mut self, cost: usize) {
        while self.cost() > cost {
            if let Some(gone) = self.tail.pop_front() {
                self.tail_cost -= gone.cost();
            } else if let Some(gone) = self.head.pop() {
                self.head_cost -= gone.cost();
            } else {
                return;
            }
            self.closed = true;
        }
    }

    /// What was written from `offset` on, at most `limit` bytes. Characters are not split where that can be helped.
    pub(crate) fn page(&self, offset: u64, limit: usize) -> Page {
        let mut page = Page {
            stdout: Vec::new(),
            stderr: Vec::new(),
            next: offset,
            total: self.end,
            lost: None,
        };
        let mut room = limit;
        for segment in self
            .head
            .iter()
            .chain(&self.tail)
            .filter(|segment| segment.end() > offset)
        {
            if room == 0 {
                break;
            }
            if segment.offset > page.next {
                page.lost = Some((page.lost.map_or(page.next, |(from, _)| from), segment.offset));
                page.next = segment.offset;
            }
            let from = usize::try_from(page.next - segment.offset)
                .unwrap_or(usize::MAX)
                .min(segment.bytes.len());
            let bytes = &segment.bytes[from..];
            let taken = if bytes.len() > room {
                whole_characters(&bytes[..room])
            } else {
                bytes
            };
            match segment.stream {
                OutputStream::Stdout => page.stdout.extend_from_slice(taken),
                OutputStream::Stderr => page.stderr.extend_from_slice(taken),
            }
            page.next += taken.len() as u64;
            if taken.len() < bytes.len() {
                return page;
            }
            room -= taken.len();
        }
        if room > 0 && page.next < self.end {
            page.lost = Some((page.lost.map_or(page.next, |(from, _)| from), self.end));
            page.next = self.end;
        }
        page
    }
}

/// Without the first bytes of a character whose last ones are cut off. What is no text stays as it is.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => &bytes[..error.valid_up_to()],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(transcript: &Transcript, limit: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut stdout, mut stderr, mut at) = (Vec::new(), Vec::new(), 0);
        loop {
            let page = transcript.page(at, limit);
            assert_eq!(page.lost, None);
            stdout.extend(page.stdout);
            stderr.extend(page.stderr);
            if page.next == page.total {
                return (stdout, stderr);
            }
            assert!(page.next > at, "every page gets further");
            at = page.next;
        }
    }

    #[test]
    fn characters_are_not_split_between_pages() {
        let mut transcript = Transcript::new(1 << 20);
        transcript.push(OutputStream::Stdout, 0, "日本語".as_bytes());
        let page = transcript.page(0, 4);
        assert_eq!((page.stdout.as_slice(), page.next), ("日".as_bytes(), 3));
    }

    proptest! {
        #[test]
        fn pages_together_are_everything_once(
            writes in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..60)), 0..40),
            limit in 4_usize..100,
        ) {
            let mut transcript = Transcript::new(1 << 20);
            let (mut stdout, mut stderr, mut offset) = (Vec::new(), Vec::new(), 0);
            for (err, bytes) in &writes {
                let stream = if *err { OutputStream::Stderr } else { OutputStream::Stdout };
                transcript.push(stream, offset, bytes);
                offset += bytes.len() as u64;
                if *err { stderr.extend(bytes) } else { stdout.extend(bytes) }
            }
            prop_assert_eq!(read_all(&transcript, limit), (stdout, stderr));
        }

        #[test]
        fn whatever_is_lost_the_pages_end_at_the_end(
            sizes in prop::collection::vec(1_usize..5000, 1..60),
            limit in 4_usize..10_000,
        ) {
            let mut transcript = Transcript::new(20_000);
            let mut offset = 0;
            for size in &sizes {
                transcript.push(OutputStream::Stdout, offset, &vec![b'x'; *size]);
                offset += *size as u64;
            }
            prop_assert!(transcript.cost() <= 20_000);
            let mut at = 0;
            while at < offset {
                let page = transcript.page(at, limit);
                prop_assert!(page.next > at);
                let lost = page.lost.map_or(0, |(from, to)| to - from);
                prop_assert_eq!(page.next - at, page.stdout.len() as u64 + lost);
                at = page.next;
            }
        }
    }
}
