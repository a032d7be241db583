//! New inputs from old ones.

/// A generator of numbers that look random: xorshift64*, Vigna.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// With the same seed come the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `limit`; 0 if there is none.
    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.next().checked_rem(limit).and_then(|number| usize::try_from(number).ok()).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() & 0xff).unwrap_or(0)
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> Option<&'a T> {
        from.get(self.below(from.len())).copied()
    }
}

/// Where readers of numbers and of lengths have their limits.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "00",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967294",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
];
const BYTES: [u8; 16] =
    [0, 1, 0x20, 0x7f, 0x80, 0xff, b'\n', b'\r', b'\\', b'"', b'\'', b'/', b'.', b':', b'=', b'%'];
/// How often an input is changed at most.
const CHANGES: usize = 6;

/// Makes inputs.
#[derive(Debug)]
pub struct Mutator<'a> {
    pub random: Random,
    pub words: &'a [&'a str],
    pub longest: usize,
}

impl Mutator<'_> {
    /// An input of the corpus, changed here and there.
    pub fn make(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus.get(self.random.below(corpus.len())).cloned().unwrap_or_default();
        for _ in 0..=self.random.below(CHANGES) {
            self.change(&mut input, corpus);
        }
        input.truncate(self.longest);
        input
    }

    /// A place in the input, and one behind it that is near, mostly.
    fn part(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let start = self.random.below(input.len().saturating_add(1));
        let left = input.len().saturating_sub(start);
        let longest = if self.random.below(4) == 0 { left } else { left.min(8) };
        start..start.saturating_add(self.random.below(longest.saturating_add(1)))
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.part(input);
        let part = input.get(at.clone()).unwrap_or_default().to_vec();
        let new: Vec<u8> = match self.random.below(10) {
            0 => Vec::new(),
            1 => part.iter().map(|byte| byte ^ (1 << self.random.below(8))).collect(),
            2 => part.iter().map(|_| self.random.byte()).collect(),
            3 => vec![BYTES.get(self.random.below(BYTES.len())).copied().unwrap_or(0); part.len().max(1)],
            4 => self.random.pick(self.words).unwrap_or_default().as_bytes().to_vec(),
            5 => self.random.pick(&NUMBERS).unwrap_or_default().as_bytes().to_vec(),
            6 => part.repeat(self.random.below(64).saturating_add(2)),
            7 => {
                let other = corpus.get(self.random.below(corpus.len())).cloned().unwrap_or_default();
                let from = self.part(&other);
                other.get(from).unwrap_or_default().to_vec()
            }
            // A number of four bytes, as binary formats have lengths: near what there is.
            8 => {
                let number = input.get(at.start..).and_then(|rest| rest.first_chunk::<4>()).copied();
                let number = u32::from_le_bytes(number.unwrap_or_default());
                let step = u32::try_from(self.random.below(17)).unwrap_or(0);
                number.wrapping_add(step).wrapping_sub(8).to_le_bytes().to_vec()
            }
            _ => {
                input.truncate(at.start);
                return;
            }
        };
        let replaced =
            if new.len() == 4 { at.start..at.start.saturating_add(4).min(input.len()) } else { at };
        input.splice(replaced, new);
    }
}
