//! Keys and values of records, the same for the same seed.
//!
//! Pure. Three kinds, so that codecs meet what they meet in life: noise, events that resemble each other, and plain repetition.

use crate::plan::Payload;

/// Words that the events of [`Payload::Json`] are made of.
const WORDS: [&str; 24] = [
    "order", "cart", "search", "login", "payment", "refund", "shipment", "invoice", "visit", "click", "scroll",
    "signup", "berlin", "oslo", "lagos", "lima", "osaka", "quito", "red", "green", "blue", "small", "medium", "large",
];

/// What [`Payload::Repeated`] repeats.
const REFRAIN: &[u8] = b"the ring goes round and round, ";

/// A small random number generator (splitmix64): good enough for noise, the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn fill(&mut self, out: &mut Vec<u8>, len: usize) {
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
    }
}

/// Makes keys and values.
pub(crate) struct Content {
    random: Random,
    payload: Payload,
    value_bytes: usize,
    key_bytes: usize,
    keys: u64,
    made: u64,
}

impl Content {
    /// `key_bytes` of 0 is no key.
    pub(crate) fn new(payload: Payload, value_bytes: usize, key_bytes: usize, keys: usize, seed: u64) -> Content {
        let keys = u64::try_from(keys.max(1)).unwrap_or(u64::MAX);
        Content { random: Random::new(seed), payload, value_bytes, key_bytes, keys, made: 0 }
    }

    /// The next value, in place of what `out` holds.
    pub(crate) fn value(&mut self, out: &mut Vec<u8>) {
        out.clear();
        self.made += 1;
        match self.payload {
            Payload::Random => self.random.fill(out, self.value_bytes),
            Payload::Repeated => {
                while out.len() < self.value_bytes {
                    out.extend_from_slice(REFRAIN);
                }
            }
            Payload::Json => self.event(out),
        }
        out.truncate(self.value_bytes);
    }

    /// The next key, in place of what `out` holds; false where records have none.
    pub(crate) fn key(&mut self, out: &mut Vec<u8>) -> bool {
        if self.key_bytes == 0 {
            return false;
        }
        out.clear();
        let number = self.random.below(self.keys);
        out.extend_from_slice(format!("key-{number:0width$}", width = self.key_bytes.saturating_sub(4)).as_bytes());
        // A key that is shorter than its name keeps the digits, which tell keys apart.
        let surplus = out.len().saturating_sub(self.key_bytes);
        out.drain(..surplus);
        true
    }

    /// Objects in a row until the value is full; a value that is cut is no JSON any more, but it compresses like some.
    fn event(&mut self, out: &mut Vec<u8>) {
        let word = |random: &mut Random| WORDS[usize::try_from(random.below(24)).expect("below 24")];
        while out.len() < self.value_bytes {
            let random = &mut self.random;
            let object = format!(
                "{{\"id\":{},\"event\":\"{}\",\"city\":\"{}\",\"user\":\"u{:06}\",\"amount\":{}.{:02},\"session\":\"{:016x}\",\"ok\":{}}}",
                self.made,
                word(random),
                word(random),
                random.below(1_000_000),
                random.below(1000),
                random.below(100),
                random.next(),
                random.below(10) > 0,
            );
            out.extend_from_slice(object.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(payload: Payload, seed: u64) -> Vec<Vec<u8>> {
        let mut content = Content::new(payload, 333, 0, 1, seed);
        let mut value = Vec::new();
        (0..5)
            .map(|_| {
                content.value(&mut value);
                value.clone()
            })
            .collect()
    }

    #[test]
    fn a_seed_gives_the_same_values_of_the_asked_size() {
        for payload in [Payload::Random, Payload::Json, Payload::Repeated] {
            let first = values(payload, 7);
            assert_eq!(first, values(payload, 7));
            assert!(first.iter().all(|value| value.len() == 333));
            assert_eq!(payload == Payload::Repeated, first == values(payload, 8), "{payload:?}");
        }
    }

    #[test]
    fn keys_have_their_size_and_their_number() {
        let mut content = Content::new(Payload::Random, 10, 8, 20, 1);
        let mut seen = std::collections::BTreeSet::new();
        let mut key = Vec::new();
        for _ in 0..1000 {
            assert!(content.key(&mut key));
            assert_eq!(key.len(), 8);
            seen.insert(key.clone());
        }
        assert_eq!(seen.len(), 20);
    }
}
