//! Features: what this broker can serve, what a directory may have finalized, and what clients are told.
//!
//! Clients change their behaviour by finalized levels (KIP-584: `transaction.version` 2 makes a producer skip
//! AddPartitionsToTxn), so a level is advertised only once it is served. A directory that Kafka formatted has levels
//! finalized that are not served yet: they are kept on disk, and not told to clients.

use super::image::Image;

/// The version of the metadata records, Kafka's `metadata.version`.
pub const METADATA_VERSION: &str = "metadata.version";
/// Whether the voters are kept in the metadata log (1) or in the configuration (0).
pub const KRAFT_VERSION: &str = "kraft.version";
/// Whether controllers keep eligible leader replicas (KIP-966).
pub const ELR_VERSION: &str = "eligible.leader.replicas.version";

/// A range of levels of one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The lowest level.
    pub min: i16,
    /// The highest level.
    pub max: i16,
}

/// 4.3-IV0: what a new directory is formatted with, and the newest that Kafka 4.3.1 can open.
pub const LATEST_METADATA_VERSION: i16 = 30;
/// 3.3-IV3: the oldest that Kafka 4 can open.
pub const OLDEST_METADATA_VERSION: i16 = 7;

/// What is served to clients.
pub const SUPPORTED: &[Feature] = &[
    Feature { name: METADATA_VERSION, min: OLDEST_METADATA_VERSION, max: LATEST_METADATA_VERSION },
    Feature { name: KRAFT_VERSION, min: 0, max: 1 },
];

/// What a directory may have finalized and still be opened without loss: all of Kafka 4.3.1.
const UNDERSTOOD: &[Feature] = &[
    Feature { name: METADATA_VERSION, min: OLDEST_METADATA_VERSION, max: LATEST_METADATA_VERSION },
    Feature { name: KRAFT_VERSION, min: 0, max: 1 },
    Feature { name: "transaction.version", min: 0, max: 2 },
    Feature { name: "group.version", min: 0, max: 1 },
    Feature { name: ELR_VERSION, min: 0, max: 1 },
    Feature { name: "share.version", min: 0, max: 1 },
    Feature { name: "streams.version", min: 0, max: 1 },
];

/// Whether a finalized level can be kept. Level 0 means that the feature is off, whatever its name.
pub fn is_understood(name: &str, level: i16) -> bool {
    level == 0 && name != METADATA_VERSION
        || UNDERSTOOD.iter().any(|feature| feature.name == name && (feature.min..=feature.max).contains(&level))
}

/// The finalized levels that clients are told: the lower of what is finalized and what is served.
pub fn advertised(image: &Image) -> Vec<(String, i16)> {
    let served = |(name, level): (&str, i16)| {
        let feature = SUPPORTED.iter().find(|feature| feature.name == name)?;
        let level = level.min(feature.max);
        (level > 0).then(|| (name.to_owned(), level))
    };
    let kraft = (KRAFT_VERSION, image.kraft_version());
    image.features().chain([kraft]).filter_map(served).collect()
}

/// The ranges that are written into this node's registration: what is served, and what is already finalized, since a
/// controller refuses a broker whose ranges do not cover every finalized level.
pub fn registered(image: &Image) -> Vec<Feature> {
    let covers = |feature: &Feature| {
        let served = SUPPORTED.iter().any(|served| served.name == feature.name);
        served || image.features().any(|(name, level)| name == feature.name && level > 0)
    };
    UNDERSTOOD.iter().filter(|feature| covers(feature)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_kafka_finalized_are_understood_but_later_ones_are_not() {
        assert!(is_understood(METADATA_VERSION, 30));
        assert!(!is_understood(METADATA_VERSION, 31));
        assert!(!is_understood(METADATA_VERSION, 0));
        assert!(is_understood("transaction.version", 2));
        assert!(!is_understood("transaction.version", 3));
        assert!(is_understood("some.future.version", 0));
        assert!(!is_understood("some.future.version", 1));
    }
}
