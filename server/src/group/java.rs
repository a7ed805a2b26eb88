//! What of Java's library shows in Kafka's behaviour: hash codes, the order of a hash map, UUIDs as text.

use std::fmt::Write;

/// `String.hashCode`: over UTF-16 units.
pub(super) fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The partition of `__consumer_offsets` that a group lives in.
///
/// # Panics
/// `partitions` is not positive.
#[must_use]
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "__consumer_offsets has partitions");
    // The one hash without an absolute value counts as zero.
    string_hash(group_id).checked_abs().unwrap_or(0) % partitions
}

/// Where a `java.util.HashMap` of `entries` entries comes to a key when it is walked.
pub(super) fn hash_map_place(key: &str, entries: usize) -> u32 {
    let mut buckets: u32 = 16;
    while entries > (buckets as usize) / 4 * 3 && buckets < 1 << 30 {
        buckets *= 2;
    }
    let hash = string_hash(key).cast_unsigned();
    (hash ^ (hash >> 16)) & (buckets - 1)
}

/// A random (version 4) UUID as Java prints it.
pub(super) fn uuid_text(random: [u8; 16]) -> String {
    let mut bytes = random;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("a String takes all that is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_live_where_kafka_puts_them() {
        // Values of Java's String.hashCode.
        assert_eq!(string_hash(""), 0);
        assert_eq!(string_hash("range"), 108_280_125);
        assert_eq!(string_hash("polygenelubricants"), i32::MIN);
        assert_eq!(partition_for("polygenelubricants", 50), 0);
        assert_eq!(partition_for("range", 50), 25);
        // Two UTF-16 units, not one character.
        assert_eq!(string_hash("😀"), 0xd83d * 31 + 0xde00);
    }

    #[test]
    fn a_uuid_has_javas_form_and_says_that_it_is_random() {
        assert_eq!(uuid_text([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid_text([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
