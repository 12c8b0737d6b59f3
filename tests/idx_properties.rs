//! What holds for every IDX file: cut, flipped or made of noise, it is an error or the right data.

mod idx_files;

use std::fs;
use std::path::PathBuf;

use flate2::Compression;
use idx_files::{UNSIGNED_BYTE, gzip, idx_bytes, image_bytes};
use proptest::prelude::*;
use tempfile::TempDir;
use toile::data::idx::{self, IdxContent};

fn written(directory: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join("file");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_shorter_file_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let plain = image_bytes(3, 2, 5);
    for whole in [plain.clone(), gzip(&plain, Compression::default())] {
        for length in 0..whole.len() {
            let path = written(&directory, &whole[..length]);
            let error = idx::read(&path, IdxContent::Images).expect_err("cut");
            assert_eq!(error.exit_code(), 2, "{length} bytes: {error}");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_plain_header_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let plain = image_bytes(3, 2, 5);
    for bit in 0..16 * 8 {
        let mut flipped = plain.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let path = written(&directory, &flipped);
        let error = idx::read(&path, IdxContent::Images).expect_err("flipped");
        assert_eq!(error.exit_code(), 2, "bit {bit}: {error}");
    }
}

#[test]
fn a_flipped_bit_of_a_gzip_file_is_an_error_or_without_effect() {
    let directory = tempfile::tempdir().unwrap();
    let plain = image_bytes(3, 2, 5);
    for level in [Compression::none(), Compression::best()] {
        let compressed = gzip(&plain, level);
        let mut refused = 0;
        for bit in 0..compressed.len() * 8 {
            let mut flipped = compressed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let path = written(&directory, &flipped);
            match idx::read(&path, IdxContent::Images) {
                Ok(file) => assert_eq!(file.body, plain[16..], "bit {bit}"),
                Err(error) => {
                    assert_eq!(error.exit_code(), 2, "bit {bit}: {error}");
                    refused += 1;
                }
            }
        }
        // Only the ten bytes of the gzip header hold bits without effect: time and system.
        assert!(refused >= (compressed.len() - 10) * 8, "{refused} refused");
    }
}

/// Bytes that get further than noise: noise, or a header with small sizes and then noise.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let noise = || prop::collection::vec(any::<u8>(), 0..200);
    let sizes = prop::collection::vec(0_u32..6, 1..4);
    let headed = (sizes, noise()).prop_map(|(sizes, body)| idx_bytes(UNSIGNED_BYTE, &sizes, &body));
    let gzip_headed = noise().prop_map(|body| [vec![0x1f, 0x8b, 8], body].concat());
    let contents = prop_oneof![noise(), headed, gzip_headed];
    (contents, any::<bool>())
        .prop_map(|(bytes, packed)| if packed { gzip(&bytes, Compression::fast()) } else { bytes })
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in hostile_bytes()) {
        let directory = tempfile::tempdir().unwrap();
        let path = written(&directory, &bytes);
        for content in [IdxContent::Images, IdxContent::Labels] {
            match idx::read(&path, content) {
                Ok(file) => {
                    let header = file.header;
                    prop_assert!(header.count > 0);
                    prop_assert_eq!(file.body.len(), header.count * header.rows * header.columns);
                }
                Err(error) => {
                    prop_assert_eq!(error.exit_code(), 2);
                    prop_assert!(error.to_string().contains(path.to_str().unwrap()));
                }
            }
        }
    }

    #[test]
    fn what_was_written_is_read(
        (count, rows, columns, body) in (1_u32..8, 1_u32..8, 1_u32..8).prop_flat_map(|(count, rows, columns)| {
            let body = prop::collection::vec(any::<u8>(), (count * rows * columns) as usize);
            (Just(count), Just(rows), Just(columns), body)
        }),
        packed: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let plain = idx_bytes(UNSIGNED_BYTE, &[count, rows, columns], &body);
        let bytes = if packed { gzip(&plain, Compression::default()) } else { plain };
        let file = idx::read(&written(&directory, &bytes), IdxContent::Images).unwrap();
        let header = file.header;
        prop_assert_eq!((header.count, header.rows, header.columns), (count as usize, rows as usize, columns as usize));
        prop_assert_eq!(file.body, body);
    }

    #[test]
    fn scattered_damage_to_a_gzip_file_is_an_error_or_without_effect(
        flips in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let plain = image_bytes(5, 4, 5);
        let mut bytes = gzip(&plain, Compression::default());
        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        match idx::read(&written(&directory, &bytes), IdxContent::Images) {
            Ok(file) => prop_assert_eq!(file.body, &plain[16..]),
            Err(error) => prop_assert_eq!(error.exit_code(), 2),
        }
    }
}
