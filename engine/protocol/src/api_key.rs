//! [`ApiKey`]: the APIs of a Kafka 4.3.1 broker or controller, their versions and their headers.

use std::fmt;

pub use crate::generated::apis::api_table;

/// The number of an API that exists. The removed ones (4-7) do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKey(pub(crate) i16);

/// Facts about one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiInfo {
    /// Its number.
    pub key: ApiKey,
    /// Kafka's name of it, without `Request`.
    pub name: &'static str,
    /// The lowest version that is advertised. For Produce that is 0, although 0-2 are not served: an old librdkafka
    /// refuses the broker otherwise (KAFKA-18659).
    pub min_version: i16,
    /// The highest stable version, which is also the highest advertised one.
    pub max_version: i16,
    /// The lowest version that can be decoded.
    pub min_decodable: i16,
    /// The first flexible version; `i16::MAX` where none is.
    pub flexible_from: i16,
    /// A broker's listeners serve it.
    pub on_broker: bool,
    /// A controller's listeners serve it.
    pub on_controller: bool,
}

impl ApiKey {
    /// The API of this number, if there is one.
    #[must_use]
    pub fn from_i16(key: i16) -> Option<ApiKey> {
        api_table().binary_search_by_key(&key, |info| info.key.0).ok().map(|_| ApiKey(key))
    }

    /// Facts about it.
    #[must_use]
    pub fn info(self) -> &'static ApiInfo {
        let at = api_table().binary_search_by_key(&self, |info| info.key);
        &api_table()[at.expect("an ApiKey is made from a row of the table only")]
    }

    /// Kafka's name of it, without `Request`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The lowest version that is advertised.
    #[must_use]
    pub fn min_version(self) -> i16 {
        self.info().min_version
    }

    /// The highest version that is advertised.
    #[must_use]
    pub fn max_version(self) -> i16 {
        self.info().max_version
    }
}

impl From<ApiKey> for i16 {
    fn from(key: ApiKey) -> i16 {
        key.0
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// Version of the request header which precedes this version of the request; defined for versions beyond the highest
/// too, since ApiVersions must be understood in them.
#[must_use]
pub fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if version >= key.info().flexible_from { 2 } else { 1 }
}

/// Version of the response header which precedes this version of the response. That of ApiVersions never grows: the
/// client cannot know yet what the broker speaks.
#[must_use]
pub fn response_header_version(key: ApiKey, version: i16) -> i16 {
    i16::from(key != ApiKey::API_VERSIONS && version >= key.info().flexible_from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_the_removed_apis() {
        assert!(api_table().is_sorted_by_key(|info| info.key));
        assert!((4..=7).all(|key| ApiKey::from_i16(key).is_none()));
        assert_eq!(ApiKey::from_i16(-1), None);
        assert_eq!(ApiKey::from_i16(93), None);
        assert_eq!(api_table().len(), 93 - 4);
    }

    #[test]
    fn versions_are_those_that_kafka_4_3_1_advertises() {
        let range = |key: ApiKey| (key.min_version(), key.max_version());
        assert_eq!(range(ApiKey::PRODUCE), (0, 13));
        assert_eq!(ApiKey::PRODUCE.info().min_decodable, 3);
        assert_eq!(range(ApiKey::FETCH), (4, 18));
        assert_eq!(range(ApiKey::LIST_OFFSETS), (1, 11));
        assert_eq!(range(ApiKey::API_VERSIONS), (0, 4));
        // Version 6 exists but is unstable.
        assert_eq!(range(ApiKey::INIT_PRODUCER_ID), (0, 5));
        assert_eq!(range(ApiKey::SHARE_FETCH), (1, 2));
    }

    #[test]
    fn headers_become_flexible_with_the_api_but_not_the_answer_of_api_versions() {
        assert_eq!(request_header_version(ApiKey::METADATA, 8), 1);
        assert_eq!(request_header_version(ApiKey::METADATA, 9), 2);
        assert_eq!(response_header_version(ApiKey::METADATA, 8), 0);
        assert_eq!(response_header_version(ApiKey::METADATA, 9), 1);
        assert_eq!(request_header_version(ApiKey::API_VERSIONS, 99), 2);
        assert_eq!(response_header_version(ApiKey::API_VERSIONS, 4), 0);
        assert_eq!(request_header_version(ApiKey::SASL_HANDSHAKE, 1), 1);
    }
}
