//! What a model file may hold, and that it is refused before it costs anything.

use super::*;

fn model() -> Model {
    let architecture = Architecture { network: "reference".into(), input: [28, 28, 1] };
    Model::new(architecture, vec!["a".into(), "b".into(), "c".into()], Device::Cpu, 7).unwrap()
}

#[test]
fn a_file_gives_the_same_model() {
    let model = model();
    let again = Model::from_bytes(&model.to_bytes(), Device::Cpu).unwrap();
    assert_eq!(again.weights_sha256(), model.weights_sha256());
    assert_eq!(again.classes, model.classes);
    assert_eq!(again.normalization, model.normalization);
    assert_eq!(again.architecture, model.architecture);
}

/// The hash is that of the data part of the file itself.
#[test]
fn the_hash_is_of_the_files_data() {
    let bytes = model().to_bytes();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let hash = Sha256::digest(&bytes[8 + header..]);
    let text: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(model().weights_sha256(), text);
}

/// `printf 'abcd' | sha256sum`, and one hash as it is.
#[test]
fn several_hashes_make_one() {
    let [one, two] = ["ab", "cd"].map(String::from);
    assert_eq!(joint_sha256(std::slice::from_ref(&one)), "ab");
    let joint = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589";
    assert_eq!(joint_sha256(&[one, two]), joint);
}

/// The content of a file with this metadata and no tensors.
fn empty(architecture: &str, classes: &str) -> Vec<u8> {
    let metadata = [
        ("format_version", "1"),
        ("architecture", architecture),
        ("classes", classes),
        ("preprocessing", "{\"offset\":0.0,\"divisor\":255.0}"),
    ];
    serialize([], metadata.map(|(name, value)| (name, value.to_owned())))
}

#[test]
fn hostile_metadata_is_refused_before_anything_is_allocated() {
    let good = "{\"network\":\"reference\",\"input\":[28,28,1]}";
    let many = format!("[{}]", vec!["\"a\""; 300].join(","));
    let long = format!("[\"{}\"]", "a".repeat(70_000));
    let cases = [
        (good, "[\"a\"]", "conv1.weight is missing"),
        ("{\"network\":\"reference\",\"input\":[128,128,1]}", "[\"a\"]", "conv1.weight is missing"),
        ("{\"network\":\"reference\",\"input\":[999999999,28,1]}", "[\"a\"]", "24 to 128"),
        ("{\"network\":\"huge\",\"input\":[28,28,1]}", "[\"a\"]", "no network"),
        ("[[[[", "[\"a\"]", "`architecture` cannot be read"),
        (good, "[]", "classes"),
        (good, &many, "classes"),
        (good, &long, "class 0"),
        (good, "[\"a\",\"\\u001b[2J\"]", "class 1"),
    ];
    for (architecture, classes, words) in cases {
        let fault = Model::from_bytes(&empty(architecture, classes), Device::Cpu).err().unwrap();
        assert!(fault.contains(words), "{words}: {fault}");
    }
    let mut header = vec![0xff; 7];
    header.push(0x7f);
    assert!(Model::from_bytes(&header, Device::Cpu).is_err());
}
