//! Receive buffers.
pub(crate) struct RingChunk;
impl std::ops::Deref for RingChunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &[]
    }
}
