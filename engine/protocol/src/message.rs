//! [`Message`] and [`Request`]: what every generated message can do.

use std::ops::RangeInclusive;

use bytes::BytesMut;

use crate::api_key::ApiKey;
use crate::codec::{Codec, Ctx};
use crate::reader::{DecodeError, Reader};
use crate::writer::{EncodeError, Writer};

/// A whole message, in any of its versions.
pub trait Message: Codec {
    /// Kafka's name of it.
    const NAME: &'static str;
    /// The versions there are, an unstable one included.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version; `i16::MAX` where none is.
    const FLEXIBLE_FROM: i16;

    /// Reads the message; the reader stands behind it then, and the caller decides about what remains.
    ///
    /// # Errors
    /// The version does not exist, or the bytes are not this message.
    fn decode(r: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::Version { message: Self::NAME, version });
        }
        Self::read(r, Ctx::new(version, Self::FLEXIBLE_FROM))
    }

    /// Writes the message. Fields that the version does not have are left out; where one of them says something that the
    /// peer must not miss, this is an error, as in Kafka.
    ///
    /// # Errors
    /// The version does not exist, or cannot carry a value. What was written by then is of no use.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(EncodeError::Version { message: Self::NAME, version });
        }
        self.write(w, Ctx::new(version, Self::FLEXIBLE_FROM))
    }

    /// Reads the version (two bytes) and the message, as coordinators and consumers store them.
    ///
    /// # Errors
    /// As [`Message::decode`].
    fn decode_versioned(r: &mut Reader) -> Result<Self, DecodeError> {
        let version = r.i16()?;
        Self::decode(r, version)
    }

    /// Writes the version (two bytes) and the message, as coordinators and consumers store them.
    ///
    /// # Errors
    /// As [`Message::encode`].
    fn encode_versioned(&self, version: i16) -> Result<BytesMut, EncodeError> {
        let mut w = Writer::default();
        w.i16(version);
        self.encode(&mut w, version)?;
        Ok(w.finish().0)
    }
}

/// A request, and what answers it.
pub trait Request: Message {
    /// Its API.
    const API_KEY: ApiKey;
    /// The answer, in the same version.
    type Response: Message;
}

#[cfg(test)]
mod tests;
