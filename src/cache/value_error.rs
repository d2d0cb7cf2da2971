//! What serde's traits need to report failures; becomes an [`Error`] at the edge.

use std::fmt;

use crate::error::Error;

/// A failure inside a serializer or deserializer of this crate.
#[derive(Debug)]
pub(crate) enum ValueError {
    /// The value has no native form; it goes to the codec, and nothing went wrong.
    NotNative,
    /// A type or a format is not satisfied.
    Message(String),
    /// A codec failed and has said why.
    Codec(Error),
}

impl ValueError {
    /// The error to hand out, `context` reading on as in "cannot encode the value".
    pub(crate) fn into_error(self, context: &str, cure: &str) -> Error {
        match self {
            ValueError::Codec(error) => error,
            other => Error::codec(format!("{context}: {other}; {cure}")),
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueError::NotNative => f.write_str("the value has no native form"),
            ValueError::Message(message) => f.write_str(message),
            ValueError::Codec(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ValueError {}

impl serde::ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> ValueError {
        ValueError::Message(message.to_string())
    }
}

impl serde::de::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> ValueError {
        ValueError::Message(message.to_string())
    }
}
