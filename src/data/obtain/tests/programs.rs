//! Other processes: one that is killed, and programs that only call themselves apt-get.

use std::env;
use std::process::{Command, Output, Stdio};

use super::*;

const FOLDER: &str = "TOILE_TEST_FOLDER";
const MIRROR: &str = "TOILE_TEST_MIRROR";
const PACKAGE: DebianPackage = DebianPackage { name: "dataset-fixture", directory: "/usr/fixture" };

/// A process of its own for the tests beside it: fetches what it is told to, and says why each
/// source failed.
#[test]
#[ignore = "the other tests start it"]
fn child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let mirror = env::var(MIRROR).ok();
    let mirrors: Vec<&str> = mirror.as_deref().into_iter().collect();
    let debian = mirror.is_none().then_some(PACKAGE);
    let known = known(&mirrors, debian);
    match fetch(&known, Path::new(&folder), HASTE, &mut Listener::default()) {
        Ok(failures) => println!("failures: {failures:?}"),
        Err(error) => println!("exit code {}: {error}", error.exit_code()),
    }
}

fn child_process(folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["data::obtain::tests::programs::child", "--exact", "--ignored", "--nocapture"]);
    command.env(FOLDER, folder).env_remove(MIRROR);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn what_a_killed_download_left_is_gone_on_with() {
    let folder = tempdir().unwrap();
    let server = Server::start(|request, before| match before {
        0 => cut(request, Then::Repeat(Duration::from_millis(1))),
        _ => honest(request, before),
    });
    let mut child = child_process(folder.path()).env(MIRROR, &server.base).spawn().unwrap();
    let part = folder.path().join(format!("{LARGE}.part"));
    let length = || fs::metadata(&part).map_or(0, |metadata| metadata.len() as usize);
    while length() < CUT {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What came after the cut is not of the file: as if a disk had lost the end.
    File::options().write(true).open(&part).unwrap().set_len(CUT as u64).unwrap();

    assert!(run(&[&server], folder.path()).0.is_empty());
    assert_whole(folder.path());
    assert_eq!(server.ranges(LARGE), [None, Some(CUT)]);
}

/// Runs the child with programs of the given scripts as `apt-get` and `dpkg-deb`.
fn run_with(apt_get: &str, dpkg_deb: &str, folder: &Path) -> String {
    use std::os::unix::fs::PermissionsExt;

    let (programs, files) = (tempdir().unwrap(), tempdir().unwrap());
    for (name, script) in [("apt-get", apt_get), ("dpkg-deb", dpkg_deb)] {
        let path = programs.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (name, content) in FILE_NAMES.iter().zip(CONTENTS.iter()) {
        fs::write(files.path().join(format!("{name}.gz")), gzip(content)).unwrap();
    }
    let Output { status, stdout, stderr } = child_process(folder)
        .env("PATH", programs.path())
        .env("FILES", files.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{text}{}", String::from_utf8_lossy(&stderr));
    text
}

/// Takes the private folder's settings for granted as little as apt does.
const APT_GET: &str = r#"
test "$APT_CONFIG" = ./apt.conf && test -d state/lists/partial || exit 9
test "$2" = update && { echo "E: one source of many is dead" >&2; exit 100; }
test "$*" = "--quiet download dataset-fixture" && : > dataset-fixture_1_all.deb"#;

const DPKG_DEB: &str = r#"
test "$*" = "--extract ./dataset-fixture_1_all.deb unpacked" || exit 9
/bin/mkdir -p unpacked/usr/fixture && /bin/cp "$FILES"/* unpacked/usr/fixture"#;

#[test]
fn a_package_is_fetched_unpacked_and_cleared_away() {
    let folder = tempdir().unwrap();
    fs::create_dir_all(folder.path().join(".apt-left/state")).unwrap();
    let told = run_with(APT_GET, DPKG_DEB, folder.path());
    assert!(told.contains("failures: []"), "{told}");
    assert_whole(folder.path());
}

#[test]
fn programs_that_fail_hang_or_bring_other_files_are_told_of() {
    let spoilt =
        format!("{DPKG_DEB}\n/bin/cp \"$FILES\"/t10k-images* unpacked/usr/fixture/{LARGE}");
    let piped = format!(
        "{DPKG_DEB}\n/bin/rm unpacked/usr/fixture/{LARGE}; /usr/bin/mkfifo unpacked/usr/fixture/{LARGE}"
    );
    let cases = [
        ("echo 'E: Unable to locate \u{1b}[2J it'; exit 100", DPKG_DEB, "Unable to locate"),
        ("exec /bin/sleep 600", DPKG_DEB, "apt-get hung"),
        ("exit 0", DPKG_DEB, "left no package"),
        (APT_GET, "echo 'dpkg-deb: error: no archive'; exit 2", "no archive"),
        (APT_GET, "exit 0", "No such file"),
        (APT_GET, &spoilt, "unpacks to fewer than 200000 bytes"),
        (APT_GET, &piped, "not a regular file"),
    ];
    thread::scope(|scope| {
        for (apt_get, dpkg_deb, words) in cases {
            scope.spawn(move || {
                let folder = tempdir().unwrap();
                let told = run_with(apt_get, dpkg_deb, folder.path());
                assert!(told.contains("Debian's package dataset-fixture: "), "{told}");
                assert!(told.contains(words), "no {words:?} in {told}");
                assert!(!told.contains("u{1b}"), "{told}");
                let left = fs::read_dir(folder.path()).unwrap().count();
                assert_eq!(left, 1, "more than the lock is left: {words}");
            });
        }
    });
}

#[test]
fn a_disk_that_fills_while_programs_write_is_a_storage_fault() {
    for words in [
        "E: Failed to fetch x  Error writing to file - write (28: No space left on device)",
        "E: You don't have enough free space in ./cache/archives/.",
    ] {
        let folder = tempdir().unwrap();
        let told = run_with(&format!("echo \"{words}\"; exit 100"), DPKG_DEB, folder.path());
        assert!(told.contains("exit code 5: cannot write"), "{told}");
        assert!(told.contains(folder.path().to_str().unwrap()), "{told}");
    }
}
