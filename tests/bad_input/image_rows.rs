//! Cases 53 to 57: what `predict` makes of files that are no whole image of reasonable size.

use std::fs;
use std::path::Path;

use crate::harness::{After, ODD_NAME, Row, make_pipe, odd_name};
use crate::image_files::{
    animated_png, good_png, jpeg, png_of_16000_pixels_a_side, png_of_30000_black_pixels_a_side,
    png_of_65535_pixels_a_side, png_with_a_bomb_as_pixels, png_with_a_bomb_as_profile,
    png_with_a_bomb_as_text, png_with_a_wrong_checksum, truncated_png,
};

const IMAGE: &str = "image.png";
const PREDICT: &str = "predict --model run image.png";
const KINDS: &str = "(PNG, JPEG,";

fn refused(case: u32, name: &'static str, spoil: fn(&Path), tells: [&'static str; 4]) -> Row {
    Row { parts: &["run"], ..Row::refused(case, name, spoil, PREDICT, 2, tells) }
}

/// A call that answers, and changes nothing.
fn answered(
    case: u32,
    name: &'static str,
    spoil: fn(&Path),
    command: &str,
    shows: &[&'static str],
) -> Row {
    let row = Row::works(case, name, spoil, command, |_| true);
    Row { parts: &["run"], after: After::Untouched, shows: shows.to_vec(), ..row }
}

fn told(command: &'static str, tells: [&'static str; 4]) -> Row {
    Row { command: command.into(), ..refused(57, command, |f| write(f, &good_png()), tells) }
}

#[rustfmt::skip]
pub fn rows() -> Vec<Row> {
    vec![
        refused(53, "65535 pixels a side, none there", |f| write(f, &png_of_65535_pixels_a_side()), [IMAGE, "too large", "16384 pixels", "256 MiB"]),
        refused(53, "16000 pixels a side, none there", |f| write(f, &png_of_16000_pixels_a_side()), [IMAGE, "damaged or truncated", "PNG", "error:"]),
        refused(54, "30000 black pixels a side, in a megabyte", |f| write(f, &png_of_30000_black_pixels_a_side()), [IMAGE, "too large", "16384 pixels", "256 MiB"]),
        answered(54, "a bomb of a gibibyte behind the pixels", |f| write(f, &png_with_a_bomb_as_pixels()), PREDICT, &["grey PNG"]),
        refused(54, "a bomb of a gibibyte as text", |f| write(f, &png_with_a_bomb_as_text()), [IMAGE, "this PNG is too large", "256 MiB once decoded", "colour profile at most 8 MiB"]),
        answered(54, "a bomb of a gibibyte as colour profile", |f| write(f, &png_with_a_bomb_as_profile()), PREDICT, &["grey PNG"]),
        refused(55, "cut in its pixels", |f| write(f, &truncated_png()), [IMAGE, "damaged or truncated PNG", "error:", "end of"]),
        refused(55, "one bit flipped", |f| write(f, &png_with_a_wrong_checksum()), [IMAGE, "damaged or truncated PNG", "error:", "CRC"]),
        refused(55, "a JPEG without its end", |f| write(f, &jpeg()[..jpeg().len() - 2]), [IMAGE, "truncated JPEG", "its end marker", "missing"]),
        answered(57, "a JPEG named .png", |f| write(f, &jpeg()), PREDICT, &["JPEG"]),
        answered(57, "an animated PNG", |f| write(f, &animated_png()), PREDICT, &["first frame"]),
        refused(57, "zero bytes", |f| write(f, b""), [IMAGE, "the file is empty", "expected an image", "error:"]),
        refused(57, "a text named .png", |f| write(f, b"<html>404 not found</html>"), [IMAGE, "not an image", "of a known kind", KINDS]),
        refused(57, "a file that is not there", |_| (), [IMAGE, "cannot open the image", "No such file", "error:"]),
        refused(57, "a named pipe", |f| { write(f, b""); make_pipe(&f.join(IMAGE)); }, [IMAGE, "expected an image file", "found no regular file", "error:"]),
        refused(57, "a link to an endless device", |f| std::os::unix::fs::symlink("/dev/zero", f.join(IMAGE)).unwrap(), [IMAGE, "expected an image file", "found no regular file", "error:"]),
        refused(57, "a file above the limit", |f| fs::File::create(f.join(IMAGE)).unwrap().set_len(1 << 40).unwrap(), [IMAGE, "at most 134217728 bytes", "1099511627776", "error:"]),
        refused(57, "a folder without images", |f| { fs::create_dir(f.join(IMAGE)).unwrap(); fs::write(f.join(IMAGE).join("notes.txt"), b"no image").unwrap(); }, [IMAGE, "no image files", "(.png, .jpg,", "are not searched"]),
        Row { exit_code: 2, tells: vec!["error: images/2.png", "damaged or truncated PNG"], ..answered(57, "one bad image among good ones", write_three, "predict --model run images --json", &["images/1.png", "images/3.png"]) },
        answered(57, "a name that is not UTF-8", |f| fs::write(f.join(odd_name()), good_png()).unwrap(), &format!("predict --model run {ODD_NAME}"), &["odd-\u{fffd}", "grey PNG"]),
        told("predict image.png", ["runs/latest", "no run folder or model file", "No such file", "train one first"]),
        told("predict --model run", ["IMAGE", "required", "not provided", "try '--help'"]),
        told("predict --model run image.png --top-k 0", ["--top-k", "1 or more", "'0'", "try '--help'"]),
        told("predict --model run/last.ckpt image.png", ["run/last.ckpt", "its tensors take", "or it is a checkpoint", "give a run folder"]),
        Row { reader_leaves: true, ..answered(57, "nobody reads the answers", write_three, "predict --model run images/1.png images/3.png", &[]) },
    ]
}

fn write(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join(IMAGE), bytes).unwrap();
}

/// Three images, of which the second is cut.
fn write_three(folder: &Path) {
    let images = folder.join("images");
    fs::create_dir(&images).unwrap();
    for (name, bytes) in [("1.png", good_png()), ("2.png", truncated_png()), ("3.png", good_png())]
    {
        fs::write(images.join(name), bytes).unwrap();
    }
}
