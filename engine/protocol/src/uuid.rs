//! [`Uuid`]: ids of topics, directories and processes, written as Kafka writes them.

use std::fmt;
use std::str::FromStr;

/// 128 bits. As text: unpadded URL-safe base64, 22 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid([u8; 16]);

/// Text that is not a uuid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a uuid: 22 characters of URL-safe base64 are")]
pub struct BadUuid(pub String);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Characters of a uuid: 128 bits in sixes.
const TEXT_LEN: usize = 22;

impl Uuid {
    /// No id at all; an assignment to this directory is not yet known.
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic `__cluster_metadata`; also Kafka's `ONE_UUID`.
    pub const METADATA_TOPIC_ID: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// From 16 bytes in network order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Uuid {
        Uuid(bytes)
    }

    /// The 16 bytes in network order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is [`Uuid::ZERO`].
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Uuid::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two zero bits short of 22 sixes: the number is shifted by the four that lack.
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0; TEXT_LEN];
        for (i, place) in text.iter_mut().enumerate() {
            let six = if i == TEXT_LEN - 1 { bits << 4 } else { bits >> (122 - 6 * i) };
            *place = ALPHABET[(six & 63) as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = BadUuid;

    fn from_str(text: &str) -> Result<Uuid, BadUuid> {
        let bad = || BadUuid(text.chars().take(64).collect());
        if text.len() != TEXT_LEN {
            return Err(bad());
        }
        let mut bits = 0u128;
        for (i, byte) in text.bytes().enumerate() {
            let six = ALPHABET.iter().position(|c| *c == byte).ok_or_else(bad)? as u128;
            if i == TEXT_LEN - 1 {
                // Java's decoder lets the four surplus bits pass.
                bits = bits << 2 | six >> 4;
            } else {
                bits = bits << 6 | six;
            }
        }
        Ok(Uuid(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_url_safe_base64_without_padding() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::METADATA_TOPIC_ID.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let all = Uuid::from_bytes([0xff; 16]);
        assert_eq!(all.to_string(), "_____________________w");
        assert_eq!("_____________________w".parse(), Ok(all));
    }

    #[test]
    fn text_and_bytes_are_the_same_id() {
        let id = Uuid::from_bytes(*b"\x57\xe8\xfe\x8e\xd1\xaa\xcd\x3d\xd2\xc5\x15\x8b\x0d\x0e\x50\x3f");
        assert_eq!(id.to_string(), "V-j-jtGqzT3SxRWLDQ5QPw");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_text_is_refused() {
        for text in
            ["", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAA+A", "äAAAAAAAAAAAAAAAAAAAA"]
        {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }
}
