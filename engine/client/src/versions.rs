//! Which versions a broker speaks.

use kringle_protocol::messages::ApiVersionsRequest;
use kringle_protocol::messages::ApiVersionsResponse;
use kringle_protocol::{ApiKey, ErrorCode, Request};

use crate::connection::Connection;
use crate::error::ClientError;

/// The newest version of ApiVersions, tried first.
const NEWEST: i16 = 4;

/// What a broker answered to ApiVersions.
#[derive(Clone, Debug, PartialEq)]
pub struct Versions {
    /// The answer.
    pub response: ApiVersionsResponse,
}

impl Versions {
    /// Asks a broker. One that does not know our version of the question says so in the oldest; then the oldest is asked.
    pub async fn ask(connection: &Connection) -> Result<Versions, ClientError> {
        let question = ApiVersionsRequest {
            client_software_name: "kringle".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let response = match connection.call(NEWEST, &question).await {
            // The answer in version 0 is too short for version 4, or carries the error in its first field.
            Err(ClientError::Decode { .. }) => connection.call(0, &question).await?,
            Ok(answer) if answer.error_code == i16::from(ErrorCode::UNSUPPORTED_VERSION) => {
                connection.call(0, &question).await?
            }
            answer => answer?,
        };
        Ok(Versions { response })
    }

    /// The lowest and the highest version of an API that the broker speaks.
    pub fn range(&self, api: ApiKey) -> Option<(i16, i16)> {
        let key = i16::from(api);
        self.response
            .api_keys
            .iter()
            .find(|range| range.api_key == key)
            .map(|range| (range.min_version, range.max_version))
    }

    /// The highest version of a request that both sides speak.
    pub fn best<R: Request>(&self) -> Result<i16, ClientError> {
        let none = ClientError::NoCommonVersion { api: R::API_KEY };
        let Some((min, max)) = self.range(R::API_KEY) else { return Err(none) };
        let version = max.min(R::API_KEY.max_version());
        if version >= min && R::VERSIONS.contains(&version) { Ok(version) } else { Err(none) }
    }
}
