//! Builds the bytes of IDX files, right and wrong, for the tests that read them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The element type of all files that are accepted.
pub const UNSIGNED_BYTE: u8 = 0x08;

/// An IDX file with its rank taken from `sizes`, which need not fit `body`.
pub fn idx_bytes(element_type: u8, sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, element_type, u8::try_from(sizes.len()).unwrap()];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(body);
    bytes
}

/// Images whose neighbouring pixels differ.
pub fn image_bytes(count: u32, rows: u32, columns: u32) -> Vec<u8> {
    let body: Vec<u8> = (0..count * rows * columns).map(|index| (index * 37 % 251) as u8).collect();
    idx_bytes(UNSIGNED_BYTE, &[count, rows, columns], &body)
}

/// One gzip member.
pub fn gzip(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
