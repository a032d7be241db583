//! The reader: [`locked::lock_up`] first, [`disk::read`] then.
//!
//! An image is whatever somebody wrote into it. A parser that it leads astray can read the image, write nonsense to whoever
//! asked, and end; any other system call kills it.

#[cfg_attr(test, allow(dead_code, reason = "the tests have memory of their own"))]
mod arena;
mod btrfs;
mod bytes;
mod disk;
mod erofs;
mod ext4;
mod gpt;
mod links;
mod locked;
mod squashfs;
mod tree;

pub use disk::{Found, read};

#[cfg(not(test))]
#[global_allocator]
static ARENA: arena::Arena = arena::Arena::new();

/// What the answer begins with: that it is one, whether there is an operating system or a reason why not.
const FILES: &[u8] = b"files\n";
const UNSUPPORTED: &[u8] = b"unsupported\n";

/// Reads the image on standard input, and writes what is found to standard output: a line that says what follows, and then
/// for each file its name, its length in decimal, and its bytes; or the reason, in words.
pub fn main() -> ! {
    let Some(image) = locked::map_input() else { locked::end(2) };
    if !locked::lock_up() {
        locked::end(2);
    }
    let mut answer = Vec::new();
    match read(image) {
        Ok(found) => {
            answer.extend_from_slice(FILES);
            for (name, bytes) in found.files() {
                answer.extend_from_slice(name.as_bytes());
                answer.push(b' ');
                answer.extend_from_slice(bytes.len().to_string().as_bytes());
                answer.push(b'\n');
                answer.extend_from_slice(bytes);
            }
        }
        Err(reason) => {
            answer.extend_from_slice(UNSUPPORTED);
            answer.extend_from_slice(reason.as_bytes());
        }
    }
    locked::end(if locked::say(&answer) { 0 } else { 1 })
}
