//! Every message by name, and random numbers from a seed.

use bytes::{Bytes, BytesMut};
use kringle_protocol::dynamic::{self, Value};
use kringle_protocol::{DecodeError, EncodeError, Message, Reader, Writer, messages, with_all_messages};

/// What the typed codec can do with a message, without its type.
pub(crate) struct Typed {
    pub(crate) name: &'static str,
    /// Decodes, and encodes what came out; also says how many bytes were left.
    pub(crate) recode: fn(Reader, i16) -> Recoded,
    /// Encodes the default.
    pub(crate) default: fn(i16) -> Result<BytesMut, EncodeError>,
}

/// The bytes written after a successful read, and how many were not read.
type Recoded = Result<(Result<BytesMut, EncodeError>, usize), DecodeError>;

macro_rules! typed {
    ($($name:ident)*) => {
        &[$(Typed {
            name: messages::$name::NAME,
            recode: recode::<messages::$name>,
            default: |version| encode(&messages::$name::default(), version),
        }),*]
    };
}

static ALL: &[Typed] = with_all_messages!(typed);

fn encode<M: Message>(message: &M, version: i16) -> Result<BytesMut, EncodeError> {
    let mut w = Writer::default();
    message.encode(&mut w, version).map(|()| w.finish().0)
}

fn recode<M: Message>(mut r: Reader, version: i16) -> Recoded {
    let message = M::decode(&mut r, version)?;
    Ok((encode(&message, version), r.remaining()))
}

/// Every message in every version.
pub(crate) fn every_version() -> impl Iterator<Item = (&'static Typed, i16)> {
    assert_eq!(ALL.len(), dynamic::messages().count());
    ALL.iter().zip(dynamic::messages()).flat_map(|(typed, info)| {
        assert_eq!(typed.name, info.name);
        info.versions.map(move |version| (typed, version))
    })
}

/// A random message and its bytes.
pub(crate) fn sample(name: &str, version: i16, seed: u64) -> (Value, Bytes) {
    let mut numbers = SplitMix(seed);
    let value = dynamic::arbitrary(name, version, &mut || numbers.next()).expect("the message exists");
    let bytes = dynamic::encode(name, version, &value);
    (value, bytes.unwrap_or_else(|e| panic!("{name} {version} seed {seed}: {e}")).freeze())
}

/// The generator of random numbers of that name.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
