//! Fields of two octets, read and written wherever they lie.

/// The field at `at`, if it is there.
pub(crate) fn get(octets: &[u8], at: usize) -> Option<u16> {
    octets
        .get(at..)?
        .first_chunk()
        .map(|word| u16::from_be_bytes(*word))
}

/// Writes the field at `at`; `None` if it is not there.
pub(crate) fn set(octets: &mut [u8], at: usize, value: u16) -> Option<()> {
    *octets.get_mut(at..)?.first_chunk_mut::<2>()? = value.to_be_bytes();
    Some(())
}
