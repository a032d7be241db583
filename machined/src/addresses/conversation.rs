//! The answer to one request: which messages belong to it, where it ends, and whether it is good.

use std::ops::ControlFlow;

use rustix::io::Errno;

use super::Error;
use super::message::{
    Message, Messages, NLM_F_DUMP_INTR, NLM_F_MULTI, NLMSG_DONE, NLMSG_ERROR, NLMSG_MIN_TYPE, i32_at,
};

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More datagrams follow.
    More,
    /// The answer is complete.
    Done {
        /// The table changed meanwhile: the answer may have gaps.
        interrupted: bool,
    },
}

/// Reads the answer to the request numbered `sequence`.
#[derive(Debug)]
pub(super) struct Conversation {
    what: &'static str,
    sequence: u32,
    condition: Option<u32>,
    refused: Option<Error>,
    interrupted: bool,
}

impl Conversation {
    /// The answer to request `sequence`, which errors call `what`.
    pub(super) fn new(what: &'static str, sequence: u32) -> Self {
        Self { what, sequence, condition: None, refused: None, interrupted: false }
    }

    /// The answer is worth nothing if the request numbered `condition`, which was sent before it, is refused. It is
    /// read to its end all the same, and fails with what the other was refused with.
    pub(super) fn provided(self, condition: u32) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// Reads one datagram, and hands each message of the answer to `each`, which may end the reading.
    ///
    /// Fails with what the kernel refused the request with, or if the datagram is malformed.
    pub(super) fn feed(
        &mut self,
        datagram: &[u8],
        mut each: impl FnMut(&Message<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<Progress, Error> {
        for message in Messages::new(datagram) {
            let message = message?;
            if Some(message.sequence) == self.condition && message.kind == NLMSG_ERROR {
                self.refused = self.end(status(&message, self.what)?).err();
                continue;
            }
            if message.sequence != self.sequence {
                continue;
            }
            self.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.kind {
                NLMSG_ERROR => return self.end(status(&message, self.what)?),
                // The status of a dump came to be there later than the message itself.
                NLMSG_DONE => return self.end(i32_at(message.payload, 0).unwrap_or(0)),
                _ if self.refused.is_some() => {}
                ..NLMSG_MIN_TYPE => {}
                _ => {
                    if each(&message)?.is_break() || message.flags & NLM_F_MULTI == 0 {
                        return self.end(0);
                    }
                }
            }
        }
        Ok(Progress::More)
    }

    /// `status` is zero or a negative errno.
    fn end(&self, status: i32) -> Result<Progress, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        match status.checked_neg() {
            Some(0) => Ok(Progress::Done { interrupted: self.interrupted }),
            // rustix takes nothing else for an errno.
            Some(errno @ 1..=4095) => Err(Error::system(self.what, Errno::from_raw_os_error(errno))),
            _ => Err(Error::Malformed { what: self.what }),
        }
    }
}

fn status(message: &Message<'_>, what: &'static str) -> Result<i32, Error> {
    i32_at(message.payload, 0).ok_or(Error::Malformed { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    fn feed(datagrams: &[Vec<u8>]) -> (Vec<u16>, Result<Progress, Error>) {
        let mut conversation = Conversation::new("dump", 5);
        let mut kinds = Vec::new();
        let mut progress = Ok(Progress::More);
        for datagram in datagrams {
            progress = conversation.feed(datagram, |message| {
                kinds.push(message.kind);
                Ok(if message.kind == 99 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
        }
        (kinds, progress)
    }

    #[test]
    fn a_dump_ends_with_done() {
        let first = [message(20, 2, 5, &[0; 8]), message(20, 2, 5, &[0; 8])].concat();
        assert_eq!(feed(std::slice::from_ref(&first)), (vec![20, 20], Ok(Progress::More)));
        let done = message(NLMSG_DONE, 2, 5, &[0; 4]);
        assert_eq!(feed(&[first, done]), (vec![20, 20], Ok(Progress::Done { interrupted: false })));
    }

    #[test]
    fn what_the_answer_depends_on_may_be_refused() {
        let refused = message(NLMSG_ERROR, 0, 4, &(-17i32).to_ne_bytes());
        let part = message(20, 2, 5, &[0; 8]);
        let done = message(NLMSG_DONE, 2, 5, &[0; 4]);
        let mut conversation = Conversation::new("dump", 5).provided(4);
        let mut read = 0;
        let mut feed = |datagram: &[u8]| {
            conversation.feed(datagram, |_| {
                read += 1;
                Ok(ControlFlow::Continue(()))
            })
        };
        assert_eq!(feed(&[refused, part.clone()].concat()), Ok(Progress::More));
        assert_eq!(feed(&part), Ok(Progress::More));
        assert_eq!(feed(&done), Err(Error::System { what: "dump", errno: Errno::EXIST }));
        assert_eq!(read, 0);
    }

    #[test]
    fn what_the_answer_depends_on_may_be_acknowledged() {
        let acknowledged = message(NLMSG_ERROR, 0, 4, &[0; 4]);
        let done = message(NLMSG_DONE, 2, 5, &[0; 4]);
        let mut conversation = Conversation::new("dump", 5).provided(4);
        let progress = conversation.feed(&[acknowledged, done].concat(), |_| Ok(ControlFlow::Continue(())));
        assert_eq!(progress, Ok(Progress::Done { interrupted: false }));
    }

    #[test]
    fn an_interruption_in_any_part_is_reported() {
        for interrupted in 0..3 {
            let flags = |part| if part == interrupted { NLM_F_MULTI | NLM_F_DUMP_INTR } else { NLM_F_MULTI };
            let parts = [
                message(20, flags(0), 5, &[0; 8]),
                message(20, flags(1), 5, &[0; 8]),
                message(NLMSG_DONE, flags(2), 5, &[0; 4]),
            ];
            assert_eq!(feed(&parts).1, Ok(Progress::Done { interrupted: true }));
        }
    }

    #[test]
    fn one_object_ends_by_itself() {
        assert_eq!(
            feed(&[message(88, 0, 5, &[0; 4])]),
            (vec![88], Ok(Progress::Done { interrupted: false }))
        );
    }

    #[test]
    fn what_answers_another_request_is_passed_over() {
        let stray = message(NLMSG_ERROR, 0, 4, &(-22i32).to_ne_bytes());
        assert_eq!(feed(&[stray]), (vec![], Ok(Progress::More)));
    }

    #[test]
    fn an_error_is_the_errno_and_zero_an_acknowledgement() {
        let refused = message(NLMSG_ERROR, 0, 5, &(-22i32).to_ne_bytes());
        assert_eq!(feed(&[refused]).1, Err(Error::System { what: "dump", errno: Errno::INVAL }));
        let denied = message(NLMSG_DONE, 2, 5, &(-1i32).to_ne_bytes());
        assert_eq!(feed(&[denied]).1, Err(Error::NotPermitted { what: "dump", errno: Errno::PERM }));
        let acknowledged = message(NLMSG_ERROR, 0, 5, &[0; 4]);
        assert_eq!(feed(&[acknowledged]).1, Ok(Progress::Done { interrupted: false }));
        assert_eq!(feed(&[message(NLMSG_ERROR, 0, 5, &[])]).1, Err(Error::Malformed { what: "dump" }));
        for absurd in [i32::MIN, -4096, 1] {
            let absurd = message(NLMSG_ERROR, 0, 5, &absurd.to_ne_bytes());
            assert_eq!(feed(&[absurd]).1, Err(Error::Malformed { what: "dump" }));
        }
    }

    #[test]
    fn the_reader_may_have_had_enough() {
        let parts = [message(99, 2, 5, &[0; 8]), message(20, 2, 5, &[0; 8])].concat();
        assert_eq!(feed(&[parts]), (vec![99], Ok(Progress::Done { interrupted: false })));
    }
}
