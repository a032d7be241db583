//! Which places of the program an input has reached, where the compiler has put a counter at each:
//! `-Cpasses=sancov-module` with `-sanitizer-coverage-inline-8bit-counters`.
//!
//! # Safety
//!
//! The program calls the two functions before `main`, once for each part of it, with the first of its counters and the
//! place behind the last one. They are static, and of one byte each, so that reading them as atomics while another thread
//! counts gives some value, which is all that is needed.
#![allow(unsafe_code, reason = "see Safety")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

static COUNTERS: Mutex<Vec<&'static [AtomicU8]>> = Mutex::new(Vec::new());

/// Called by what the compiler has put in.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(first: *const AtomicU8, end: *const AtomicU8) {
    // SAFETY: both point into, or right behind, one array of counters.
    let count = usize::try_from(unsafe { end.offset_from(first) }).unwrap_or(0);
    // SAFETY: an array of so many static counters; an atomic is laid out like its number.
    let counters = unsafe { std::slice::from_raw_parts(first, count) };
    let mut all = COUNTERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // All parts of a program may name the same ones.
    if !all.iter().any(|known| std::ptr::eq(known.as_ptr(), first)) {
        all.push(counters);
    }
}

/// Called likewise; where the counted places are does not matter here.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_pcs_init(_: *const usize, _: *const usize) {}

/// What was reached so far, and about how often.
#[derive(Debug)]
pub struct Coverage {
    counters: Vec<&'static [AtomicU8]>,
    seen: Vec<u8>,
}

impl Coverage {
    /// From now on.
    pub fn start() -> Self {
        let counters = COUNTERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let seen = vec![0; counters.iter().map(|part| part.len()).sum()];
        Self { counters, seen }
    }

    /// Whether a place was reached that was not reached before, or far more often, since it was asked last.
    pub fn is_new(&mut self) -> bool {
        let mut is_new = false;
        for (counter, seen) in self.counters.iter().copied().flatten().zip(&mut self.seen) {
            let count = counter.load(Ordering::Relaxed);
            if count != 0 {
                counter.store(0, Ordering::Relaxed);
                // One bit for 1, 2 to 3, 4 to 7, and so on.
                let bit = 1_u8.rotate_left(count.ilog2());
                is_new |= *seen & bit == 0;
                *seen |= bit;
            }
        }
        is_new
    }

    /// How many places were reached.
    pub fn reached(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }
}
