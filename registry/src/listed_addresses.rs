//! The addresses of a record, without the rest of it.

use std::vec::Vec;

use crate::{Address, Item, RecordSink};

/// Collects the addresses that a record lists, in its order.
#[derive(Debug, Default)]
pub struct ListedAddresses(pub Vec<Address>);

impl RecordSink for ListedAddresses {
    fn take(&mut self, item: Item) {
        match item {
            Item::Addresses => self.0.clear(),
            Item::Address(address) => self.0.push(address),
            Item::Map(_) | Item::Range(..) => {}
        }
    }
}
