//! What a peer is to be sent: bytes, and the descriptors that go with some of them.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use turns::User;

use super::error_reply::ErrorReply;
use super::message::{CONTINUES, write_error};

/// From this size on, what is buffered is written before more is added.
const BATCH: usize = 64 << 10;
/// The same for peers who are not privileged: so much is kept for each of those who do not read.
const UNPRIVILEGED_BATCH: usize = 16 << 10;

/// After more than this the buffer is replaced by a small one.
const KEEP: usize = 4 << 10;

/// Messages that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub bytes: Vec<u8>,
    /// Each with the place in `bytes` where its message starts.
    luggage: VecDeque<(usize, Vec<OwnedFd>)>,
    is_unprivileged: bool,
}

/// What can be written with one system call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    /// Where it ends; it starts at the place that was asked for.
    pub end: usize,
    /// Whether descriptors go with it, which are then [`Outbox::descriptors`].
    pub has_descriptors: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new(user: User) -> Self {
        Self { is_unprivileged: user != User::Privileged, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether what is buffered is to be written first.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= if self.is_unprivileged { UNPRIVILEGED_BATCH } else { BATCH }
    }

    /// Has descriptors go with the message that starts at `start` and was added last.
    pub fn attach(&mut self, start: usize, descriptors: Vec<OwnedFd>) {
        if !descriptors.is_empty() {
            self.luggage.push_back((start, descriptors));
        }
    }

    /// What to write from `at` on: descriptors go with the first byte of their message, and with no other message.
    pub fn parcel(&self, at: usize) -> Parcel {
        let message_end = || {
            let rest = self.bytes.get(at..).unwrap_or_default();
            rest.iter().position(|byte| *byte == 0).map_or(self.bytes.len(), |end| at + end + 1)
        };
        match self.luggage.front() {
            Some((start, _)) if *start == at => Parcel { end: message_end(), has_descriptors: true },
            Some((start, _)) => Parcel { end: *start, has_descriptors: false },
            None => Parcel { end: self.bytes.len(), has_descriptors: false },
        }
    }

    /// The descriptors that go out next.
    pub fn descriptors(&self) -> &[OwnedFd] {
        self.luggage.front().map(|(_, descriptors)| &**descriptors).unwrap_or_default()
    }

    /// The descriptors that go out next have gone, or will not go.
    pub fn gone(&mut self) -> Vec<OwnedFd> {
        self.luggage.pop_front().map(|(_, descriptors)| descriptors).unwrap_or_default()
    }

    /// Puts an error in the place of a message whose descriptors cannot be sent. Returns whether it can stand there: the
    /// reply was the last one.
    pub fn refuse(&mut self, parcel: &Parcel, at: usize) -> bool {
        let message = self.bytes.get(at..parcel.end).unwrap_or_default();
        if message.ends_with(CONTINUES) {
            return false;
        }
        let mut error = Vec::new();
        write_error(&mut error, &ErrorReply::permission_denied());
        let (old, new) = (message.len(), error.len());
        self.bytes.splice(at..parcel.end, error);
        self.gone();
        for (start, _) in &mut self.luggage {
            *start = start.saturating_add(new).saturating_sub(old);
        }
        true
    }

    /// Empties it, and keeps a small buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.luggage.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_go_with_their_message_and_no_other() {
        let mut outbox = Outbox::default();
        outbox.bytes.extend_from_slice(b"one\0two\0");
        let plain = |end| Parcel { end, has_descriptors: false };
        assert_eq!(outbox.parcel(0), plain(8));
        let start = outbox.bytes.len();
        outbox.bytes.extend_from_slice(b"three\0four\0");
        outbox.attach(start, vec![std::fs::File::open("/dev/null").unwrap().into()]);
        assert_eq!(outbox.parcel(0), plain(8));
        assert_eq!(outbox.parcel(8), Parcel { end: 14, has_descriptors: true });
        assert_eq!(outbox.descriptors().len(), 1);
        assert_eq!(outbox.gone().len(), 1);
        // The rest of it, where the kernel took a part.
        assert_eq!(outbox.parcel(10), plain(19));
        assert!(outbox.descriptors().is_empty());
    }

    #[test]
    fn an_error_takes_the_place_of_a_last_reply() {
        let descriptor = || vec![std::fs::File::open("/dev/null").unwrap().into()];
        let mut outbox = Outbox::default();
        outbox.bytes.extend_from_slice(b"{}\0{}\0");
        outbox.attach(0, descriptor());
        outbox.attach(3, descriptor());
        assert!(outbox.refuse(&outbox.parcel(0), 0));
        let error = b"{\"error\":\"org.varlink.service.PermissionDenied\"}\0";
        assert_eq!(outbox.bytes, [&error[..], b"{}\0"].concat());
        assert!(outbox.parcel(error.len()).has_descriptors);
        let mut outbox = Outbox::default();
        outbox.bytes.extend_from_slice(b"{\"parameters\":{\"a\":1},\"continues\":true}\0");
        outbox.attach(0, descriptor());
        assert!(!outbox.refuse(&outbox.parcel(0), 0));
    }
}
