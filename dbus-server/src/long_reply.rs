//! Replies that are long lists: made piece by piece, and others have their turns in between.
//!
//! # Safety
//! `Message::build_raw_body` asks for a body that is one of its signature. Each piece is a message of that signature, built
//! and checked by zbus: the length of an array, its padding to 8 bytes, and structures. One array of all structures is one
//! length and padding, and the structures of each piece, each piece padded to 8 bytes, as D-Bus Specification, "Marshaling", has it.
#![allow(unsafe_code, reason = "see Safety")]

use std::marker::PhantomData;

use serde::Serialize;
use tokio::task::yield_now;
use zbus::message::Message;
use zbus::wire::{Signature, Type};

use crate::call::{Call, REPLY_MAX, Reply};
use crate::error_reply::ErrorReply;

/// How many rows are made at a time.
const PIECE: usize = 128;
/// What stands before the first structure of an array: its length, and padding.
const HEAD: usize = 8;

impl Call {
    /// A reply that is one array of structures. Others have their turns while it is made.
    ///
    /// # Errors
    /// As for [`Call::reply`].
    pub async fn reply_rows<R: Serialize + Type>(
        &self,
        rows: impl IntoIterator<Item = R>,
    ) -> Result<Reply, ErrorReply> {
        let mut rows = rows.into_iter();
        let mut reply = self.long_reply();
        loop {
            let piece: Vec<R> = rows.by_ref().take(PIECE).collect();
            reply.add(&piece)?;
            if piece.len() < PIECE {
                return reply.whole();
            }
            yield_now().await;
        }
    }

    /// A reply that is one array of structures, which are added as they come.
    pub const fn long_reply<R>(&self) -> LongReply<'_, R> {
        LongReply { call: self, body: Vec::new(), signature: None, rows: PhantomData }
    }
}

/// A reply that is made piece by piece.
pub struct LongReply<'call, R> {
    call: &'call Call,
    /// What there is already; at its head there is room for the length.
    body: Vec<u8>,
    /// That of the body, once there is a piece of it.
    signature: Option<Signature>,
    rows: PhantomData<R>,
}

impl<R: Serialize + Type> LongReply<'_, R> {
    /// Adds structures, which should be few: all of them are made at once.
    ///
    /// # Errors
    /// As for [`Call::reply`].
    pub fn add(&mut self, rows: &[R]) -> Result<(), ErrorReply> {
        let Reply(message) = self.call.reply(&(rows,))?;
        let piece = message.body();
        self.body.resize(self.body.len().next_multiple_of(HEAD).max(HEAD), 0);
        self.body.extend_from_slice(piece.data().bytes().get(HEAD..).unwrap_or_default());
        if self.body.len() > REPLY_MAX {
            return Err(ErrorReply::limits_exceeded("The reply is too large."));
        }
        self.signature.get_or_insert_with(|| piece.signature().clone());
        Ok(())
    }

    /// The reply with all that was added.
    ///
    /// # Errors
    /// As for [`Call::reply`].
    pub fn whole(mut self) -> Result<Reply, ErrorReply> {
        let Some(signature) = self.signature else { return self.call.reply(&(Vec::<R>::new(),)) };
        let length = u32::try_from(self.body.len().saturating_sub(HEAD)).unwrap_or_default().to_ne_bytes();
        if let Some(head) = self.body.first_chunk_mut() {
            *head = length;
        }
        let reply = Message::method_return(&self.call.message().header());
        // SAFETY: see the head of the file.
        let whole = unsafe { reply.build_raw_body(&self.body, signature, Vec::new()) };
        whole.map(Reply).map_err(|error| ErrorReply::limits_exceeded(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tests::silent_bus;

    type Row = (String, u8, u64);

    fn row(number: usize) -> Row {
        // Rows of all lengths, so that each padding comes.
        ("x".repeat(number % 11), 7, u64::try_from(number).unwrap())
    }

    fn reply(count: usize, row: impl Fn(usize) -> Row) -> Result<Message, ErrorReply> {
        let message = Message::method_call("/a", "List").build(&()).unwrap();
        let call = Call::new(message, silent_bus());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(call.reply_rows((0..count).map(row))).map(|Reply(message)| message)
    }

    #[test]
    fn a_long_list_is_the_same_as_if_it_was_made_at_once() {
        for count in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 1000] {
            let message = reply(count, row).unwrap();
            message.body().validate().unwrap();
            let (rows,): (Vec<Row>,) = message.body().deserialize().unwrap();
            let at_once: Vec<Row> = (0..count).map(row).collect();
            assert_eq!(rows, at_once);
            let call = Message::method_call("/a", "List").build(&()).unwrap();
            let other = Message::method_return(&call.header()).build(&(at_once,)).unwrap();
            assert_eq!(message.body().data().bytes(), other.body().data().bytes(), "{count}");
            assert_eq!(message.body().signature(), other.body().signature());
        }
    }

    #[test]
    fn a_list_is_refused_that_no_bus_takes() {
        let large = |_| ("x".repeat(1 << 16), 0, 0);
        assert_eq!(reply(1000, large).unwrap_err().name, "org.freedesktop.DBus.Error.LimitsExceeded");
        let bad = |number| if number == 700 { ("\0".to_owned(), 0, 0) } else { row(number) };
        assert!(reply(1000, bad).is_err());
    }

    #[test]
    fn others_have_their_turns_while_a_long_list_is_made() {
        let message = Message::method_call("/a", "List").build(&()).unwrap();
        let call = Call::new(message, silent_bus());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let turns = Rc::new(std::cell::Cell::new(0));
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let counted = turns.clone();
            let other = tokio::task::spawn_local(async move {
                loop {
                    counted.set(counted.get() + 1);
                    yield_now().await;
                }
            });
            call.reply_rows((0..100 * PIECE).map(row)).await.unwrap();
            other.abort();
        });
        assert!(turns.get() >= 50, "{turns:?}");
    }
}
