//! What the kernel must offer.
/// Why this machine cannot run the ring, and how to mend it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unsupported {
    /// Not looked at yet.
    #[error("unknown")]
    Unknown,
}
