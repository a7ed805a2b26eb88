//! [`ErrorCode`]: the error codes of Kafka 4.3.1, with the names and messages that its brokers send.

use std::fmt;

use crate::generated::errors::ERRORS;

/// An error code as it stands in answers. Codes that Kafka 4.3.1 does not know are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(pub(crate) i16);

/// What Kafka knows of a code; the table begins with -1 and has no gaps.
pub(crate) struct ErrorInfo {
    pub(crate) name: &'static str,
    pub(crate) message: &'static str,
    pub(crate) retriable: bool,
}

impl ErrorCode {
    /// The number.
    #[must_use]
    pub const fn code(self) -> i16 {
        self.0
    }

    /// Whether this is an error at all.
    #[must_use]
    pub fn is_error(self) -> bool {
        self != ErrorCode::NONE
    }

    /// Kafka's name of it; `UNKNOWN_SERVER_ERROR` for a code that Kafka does not know.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The message that Kafka's brokers send with it if they have nothing more precise to say.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.info().message
    }

    /// Whether a client may try the same again.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        self.info().retriable
    }

    fn info(self) -> &'static ErrorInfo {
        let known = usize::try_from(i32::from(self.0) + 1).ok().and_then(|at| ERRORS.get(at));
        known.unwrap_or(&ERRORS[0])
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.0
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> ErrorCode {
        ErrorCode(code)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_find_their_names_and_messages() {
        assert_eq!(ErrorCode::NONE.code(), 0);
        assert_eq!(ErrorCode::UNKNOWN_SERVER_ERROR.code(), -1);
        assert_eq!(ErrorCode::from(3).name(), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(ErrorCode::UNSUPPORTED_VERSION.code(), 35);
        assert_eq!(ErrorCode::REQUEST_TIMED_OUT.message(), "The request timed out.");
        assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.is_retriable());
        assert!(!ErrorCode::INVALID_REQUEST.is_retriable());
    }

    #[test]
    fn a_code_from_the_future_is_kept_and_read_as_unknown() {
        for code in [9999, i16::MAX, i16::MIN] {
            assert_eq!(ErrorCode::from(code).code(), code);
            assert_eq!(ErrorCode::from(code).name(), "UNKNOWN_SERVER_ERROR");
        }
    }
}
