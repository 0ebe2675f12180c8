use std::sync::Arc;

use base64::Engine;
use image::{GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba};

use super::*;
use crate::error::Error;

mod tiff;

fn one(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Images {
    Images { count: 1, height, width, channels, pixels }
}

#[test]
fn reads_grey_colour_deep_and_transparent_images() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    GrayImage::from_raw(3, 1, vec![0, 127, 255]).unwrap().save(path("grey.png")).unwrap();
    assert_eq!(read_image(&path("grey.png"), 1).unwrap(), one(1, 3, 1, vec![0, 127, 255]));
    assert_eq!(read_image(&path("grey.png"), 3).unwrap().pixels[3..6], [127; 3]);
    let mask = |name: &str| read_mask(ImageFile::open(&path(name)).unwrap()).unwrap().pixels;
    assert_eq!(mask("grey.png"), [0, 0, 1]);
    RgbImage::from_pixel(1, 2, Rgb([255, 0, 0])).save(path("red.bmp")).unwrap();
    assert_eq!(read_image(&path("red.bmp"), 1).unwrap(), one(2, 1, 1, vec![76, 76]));
    assert_eq!(mask("red.bmp"), [0, 0], "by its brightness");
    let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_raw(2, 1, vec![65_535, 257 * 40]).unwrap();
    deep.save(path("deep.png")).unwrap();
    assert_eq!(read_image(&path("deep.png"), 1).unwrap().pixels, [255, 40]);
    image::RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 0])).save(path("clear.png")).unwrap();
    assert_eq!(read_image(&path("clear.png"), 3).unwrap().pixels, [9, 8, 7]);
    // White masks whose marking is what is opaque.
    let marked = image::RgbaImage::from_fn(4, 1, |x, _| Rgba([255, 255, 255, [0, 127, 128, 255][x as usize]]));
    for name in ["mask.png", "mask.webp", "mask.tif"] {
        marked.save(path(name)).unwrap();
        assert_eq!(mask(name), [0, 0, 1, 1], "{name}");
    }
}

/// A JPEG whose EXIF block says "rotate by 90° clockwise" is turned.
#[test]
fn honours_the_recorded_orientation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("turned.jpg");
    let mut jpeg = Vec::new();
    let wide = RgbImage::from_fn(16, 8, |x, _| if x < 8 { Rgb([255; 3]) } else { Rgb([0; 3]) });
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 100).encode_image(&wide).unwrap();
    // APP1: "Exif", big-endian TIFF, one entry: tag 0x0112 (orientation), type SHORT, count 1, value 6.
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, exif.len() as u8 + 2];
    bytes.append(&mut exif);
    bytes.extend_from_slice(&jpeg[2..]);
    std::fs::write(&path, bytes).unwrap();
    let read = read_image(&path, 1).unwrap();
    assert_eq!((read.height, read.width), (16, 8));
    assert_eq!(ImageFile::open(&path).unwrap().size(), (16, 8));
    assert!(read.pixels[0] > 250 && read.pixels[16 * 8 - 1] < 5, "the white half is on top");
}

/// Printers' colours become red, green and blue.
#[test]
fn reads_cmyk() {
    // PIL.Image.new("CMYK", (8, 8), (255, 0, 0, 0)), its left half (0, 0, 0, 128), saved with quality 90.
    const JPEG: &str = "\
        /9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUV\
        FQwPFxgWFBgSFBUU/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAkBCP/EABsQAAEEAwAAAAAAAAAA\
        AAAAAAAICUbER4SF/9oADgRDAE0AWQBLAAA/AI+dhPt0BUxUzVCF5to2D//Z";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("print.jpg");
    std::fs::write(&path, base64::engine::general_purpose::STANDARD.decode(JPEG).unwrap()).unwrap();
    let read = read_image(&path, 3).unwrap();
    assert_eq!((read.height, read.width), (8, 8));
    // As Pillow's conversion has it, but for rounding.
    let near = |at: usize, colour: [u8; 3]| {
        let found = &read.pixels[3 * at..][..3];
        assert!(found.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2), "{found:?} is not {colour:?}");
    };
    near(9, [127; 3]);
    near(14, [0, 255, 255]);
}

#[test]
fn what_is_no_image_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.png");
    let says = |bytes: &[u8], words: &str| {
        std::fs::write(&path, bytes).unwrap();
        let message = read_image(&path, 1).unwrap_err().to_string();
        assert!(message.contains("bad.png") && message.contains(words) && !message.contains('\n'), "{message}");
    };
    says(b"hello, I am a text file", "not a readable image (it is no image of a known format)");
    says(b"", "the file is empty");
    says(b"P6\n0 64\n255\n", "it has no pixels");
    says(b"P6\n64 0\n255\n", "it has no pixels");
    says(b"P6\n4000000 4000000\n255\n", "its 4000000 × 4000000 pixels take");
    GrayImage::new(50, 50).save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    says(&whole[..whole.len() / 2], "not a readable image");
    let photo = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, x as u8, y as u8]));
    for format in [ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        photo.write_to(&mut bytes, format).unwrap();
        let bytes = bytes.into_inner();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_image(&path, 3).unwrap().height, 64, "{format:?}");
        says(&bytes[..bytes.len() * 3 / 4], "not a readable image");
    }
    assert!(read_image(&dir.path().join("absent.png"), 1).unwrap_err().to_string().contains("absent.png"));
    assert!(read_image(dir.path(), 1).is_err());
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), head in 0..5usize) {
        let heads: [&[u8]; 5] = [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"P5 3 3 255\n", b"BM", b"\xFF\xD8\xFF\xE0"];
        bytes.splice(0..0, heads[head].iter().copied());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        let _ = read_image(&path, 3);
    }
}

/// All kinds of samples, by rows, are as the crate `image` has them when it decodes the whole.
#[test]
fn rows_are_as_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let value = |x: u32, y: u32, c: u32| (x * 3011 + y * 977 + c * 20011 + x * y * c) as u16;
    let deep = ImageBuffer::from_fn(37, 21, |x, y| image::Rgba([0, 1, 2, 3].map(|c| value(x, y, c))));
    let all = DynamicImage::ImageRgba16(deep);
    let kinds = [
        DynamicImage::from(all.to_luma8()),
        all.to_luma_alpha8().into(),
        all.to_rgb8().into(),
        all.to_rgba8().into(),
        all.to_luma16().into(),
        all.to_luma_alpha16().into(),
        all.to_rgb16().into(),
        all,
    ];
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        for (i, kind) in kinds.iter().enumerate() {
            let path = dir.path().join(format!("{i}.{}", format.extensions_str()[0]));
            if kind.save_with_format(&path, format).is_err() {
                assert!(format == ImageFormat::Tiff && matches!(i, 1 | 5), "{format:?} {i}"); // it writes no grey with alpha
                continue;
            }
            let file = ImageFile::open(&path).unwrap();
            assert_eq!((file.size(), file.channels()), ((21, 37), if kind.color().has_color() { 3 } else { 1 }));
            let bytes = file.bytes();
            assert!(format == ImageFormat::Tiff || bytes < (1 << 18) + 37 * 8 * 6, "{bytes} bytes");
            let mut rows = Vec::new();
            file.rows(|row| rows.push(row.to_vec())).unwrap();
            assert_eq!(rows.len(), 21);
            assert_eq!(rows.concat(), Images::from(image::open(&path).unwrap()).pixels, "{format:?} {i}");
        }
    }
}

/// Files that their readers would complete with made-up pixels.
#[test]
fn short_webps_and_run_lengths_of_bmps_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        read_image(&path, 3).map_err(|e| e.to_string())
    };
    let mut webp = std::io::Cursor::new(Vec::new());
    RgbImage::from_fn(9, 9, |x, y| Rgb([x as u8, y as u8, 7])).write_to(&mut webp, ImageFormat::WebP).unwrap();
    let mut webp = webp.into_inner();
    read(&webp).unwrap();
    for (more, is_read) in [(1, true), (2, false), (1000, false)] {
        let size = webp.len() as u32 - 8 + more;
        webp[4..8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(read(&webp).is_ok(), is_read, "{more}");
    }
    assert!(read(&webp).unwrap_err().contains("the WebP data is cut short"));
    // 4 × 2 pixels of one run, of which the second row is missing.
    for (compression, bits) in [(1_u32, 8_u8), (2, 4)] {
        let word = u32::to_le_bytes;
        let head = [&b"BM"[..], &[0; 8], &word(14 + 40 + 8), &word(40), &word(4), &word(2), &[1, 0, bits, 0]].concat();
        let rest =
            [&word(compression)[..], &[0; 12], &word(2), &[0; 4], &[9, 9, 9, 0, 200, 200, 200, 0], &[4, 1, 0, 1]];
        let message = read(&[head, rest.concat()].concat()).unwrap_err();
        assert!(message.contains("a BMP of run lengths; save it without compression"), "{message}");
    }
}

/// Profiles and texts of a PNG are not kept; EXIF is, as far as a camera's goes, and counted.
#[test]
fn metadata_take_no_memory_that_is_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.png");
    GrayImage::new(3, 3).save(&path).unwrap();
    let plain = std::fs::read(&path).unwrap();
    let with = |kind: &[u8; 4], len: usize| {
        let data = [&kind[..], b"a\0", &vec![b'a'; len - 2]].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&data);
        let chunk = [&(len as u32).to_be_bytes()[..], &data, &crc.sum().to_be_bytes()].concat();
        std::fs::write(&path, [&plain[..33], &chunk, &plain[33..]].concat()).unwrap();
        ImageFile::open(&path)
    };
    let bytes = with(b"tEXt", 2).unwrap().bytes();
    for kind in [b"tEXt", b"zTXt", b"iTXt", b"iCCP"] {
        assert_eq!(with(kind, 1 << 20).unwrap().bytes(), bytes);
    }
    assert!(with(b"eXIf", 60_000).unwrap().bytes() >= bytes + 60_000);
    let message = with(b"eXIf", 1 << 20).err().unwrap().to_string();
    assert!(message.contains("save it without metadata"), "{message}");
    // What decoders do not know is told in words.
    let message = with(b"QQQQ", 2).err().unwrap().to_string();
    assert!(message.contains("is of a kind that there is not") && !message.contains("ChunkType"), "{message}");
}

/// What resizing takes grows with each side: it is counted before, for files that decode by rows too.
#[test]
fn tables_of_tall_images_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    for (width, height) in [(1, 300_000), (300_000, 1)] {
        let path = dir.path().join("image.png");
        GrayImage::new(width, height).save(&path).unwrap();
        assert!(ImageFile::open(&path).unwrap().bytes() >= 300_000 * 2 * size_of::<i32>());
    }
}

/// A chunk of a PNG.
fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    [kind, data].iter().for_each(|part| crc.update(part));
    [&(data.len() as u32).to_be_bytes(), kind, data, &crc.sum().to_be_bytes()].concat()
}

/// However few bytes claim them.
#[test]
fn more_pixels_than_any_image_has_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let opened = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        ImageFile::open(&path).map(|image| image.size())
    };
    let png = |width: u32, height: u32| {
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        let head = chunk(b"IHDR", &[&size[..], &[8, 0, 0, 0, 0]].concat());
        [b"\x89PNG\r\n\x1a\n", &head[..], &chunk(b"IDAT", b""), &chunk(b"IEND", b"")].concat()
    };
    let refused = |bytes: &[u8], words: &[&str]| {
        let message = opened(bytes).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let along = MOST_ALONG as u32;
    assert_eq!(opened(&png(3, along)).unwrap(), (MOST_ALONG, 3));
    refused(&png(1, along + 1), &["1 × 4194305 pixels", "cut it into parts"]);
    refused(&png(along + 1, 1), &["4194305 × 1 pixels", "4194304 along a side"]);
    refused(&png(1 << 16, (1 << 15) + 1), &["65536 × 32769 pixels", "at most 2147483648"]);
    // A head without an end, and one that has it.
    let pixels = |head: &str| [head.as_bytes(), &[b'#'; 5000]].concat();
    refused(&pixels("P6\n"), &["head does not end within 4096 bytes"]);
    refused(&pixels("P5 40 100 "), &["head does not end within 4096 bytes"]);
    assert_eq!(opened(&pixels("P5\n# of a camera\n40 100\n255\n")).unwrap(), (100, 40));
    assert_eq!(opened(&pixels("P4 80 100\n")).unwrap(), (100, 80));
}

/// The length of a palette, from which its decoder takes colours of three bytes.
#[test]
fn palettes_of_a_part_of_a_colour_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.png");
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &[0; 20]).unwrap();
    let pixels = packed.finish().unwrap();
    for (len, is_whole) in [(3, true), (5, false), (4, false), (6, true)] {
        let head = chunk(b"IHDR", &[0, 0, 0, 4, 0, 0, 0, 4, 8, 3, 0, 0, 0]);
        let rest = [chunk(b"PLTE", &[7; 6][..len]), chunk(b"IDAT", &pixels), chunk(b"IEND", b"")].concat();
        std::fs::write(&path, [b"\x89PNG\r\n\x1a\n", &head[..], &rest].concat()).unwrap();
        match read_image(&path, 3) {
            Ok(read) => assert!(is_whole && read.pixels == [7; 48], "{len}"),
            Err(error) => {
                assert!(!is_whole && error.to_string().contains("palette is no whole number of colours"), "{error}");
            }
        }
    }
}

/// Frames that are coded in other ways, by their markers.
#[test]
fn kinds_of_jpeg_that_are_not_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.jpg");
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90).encode_image(&GrayImage::new(8, 8)).unwrap();
    let frame = places(&jpeg, |marker| marker == 0xC0)[0] + 1;
    for (marker, kind) in [(0xC3, "a lossless JPEG"), (0xC9, "an arithmetic-coded JPEG"), (0xC5, "a hierarchical JPEG")]
    {
        jpeg[frame] = marker;
        std::fs::write(&path, &jpeg).unwrap();
        let message = read_image(&path, 1).unwrap_err().to_string();
        assert!(message.contains(kind) && message.contains("save it as a baseline JPEG"), "{message}");
    }
}

/// Where a marker begins.
fn places(jpeg: &[u8], is_marker: impl Fn(u8) -> bool) -> Vec<usize> {
    let is_it = |&at: &usize| jpeg[at] == 0xFF && is_marker(jpeg[at + 1]);
    (0..jpeg.len() - 1).filter(is_it).collect()
}

/// A JPEG of any kind is refused where data are missing or in a wrong place, though an end marker follows.
#[test]
fn damaged_scans_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.jpg");
    let read = |jpeg: &[u8]| {
        std::fs::write(&path, jpeg).unwrap();
        read_image(&path, 3)
    };
    let refused = |parts: &[&[u8]], what: &str| {
        let message = read(&parts.concat()).expect_err(what).to_string();
        assert!(message.contains("cut short or damaged"), "{what}: {message}");
    };
    let photo = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, (x * 4) as u8, (y * x * 7) as u8]));
    let mut baseline = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut baseline, 90).encode_image(&photo).unwrap();
    let [progressive, restarts] =
        [PROGRESSIVE, RESTARTS].map(|text| base64::engine::general_purpose::STANDARD.decode(text).unwrap());
    let is_scan = |marker| marker == 0xDA;
    for whole in [&baseline, &progressive, &restarts] {
        let expected = read(whole).unwrap();
        let data = places(whole, is_scan)[0] + 14;
        for tenths in 1..10 {
            let cut = data + (whole.len() - data) * tenths / 10;
            refused(&[&whole[..cut], &[0xFF, 0xD9]], &format!("{tenths} tenths of {} bytes", whole.len()));
        }
        refused(&[&whole[..whole.len() - 2], &[9; 3], &[0xFF, 0xD9]], "more data than blocks");
        // What is allowed: bytes of ones before markers, anything behind the end.
        let mut odd = whole.clone();
        for at in places(whole, |marker| is_scan(marker) || (0xD0..=0xD9).contains(&marker)).into_iter().skip(1).rev() {
            odd.splice(at..at, [0xFF; 2]);
        }
        odd.extend(b"\xFF\xD8 and more");
        assert_eq!(read(&odd).unwrap(), expected);
    }
    // Without its tables, a file is told for what it is.
    let mut bare = baseline.clone();
    for at in places(&baseline, |marker| marker == 0xC4).into_iter().rev() {
        let len = usize::from(u16::from_be_bytes([baseline[at + 2], baseline[at + 3]]));
        bare.drain(at..at + 2 + len);
    }
    assert!(read(&bare).unwrap_err().to_string().contains("lacks Huffman tables"));
    let scans = places(&progressive, is_scan);
    assert!(scans.len() > 4);
    let ends = scans[1..].iter().copied().chain([progressive.len() - 2]);
    for (&from, to) in scans.iter().zip(ends) {
        refused(&[&progressive[..from], &progressive[to..]], "a scan is missing");
    }
    let last = scans[scans.len() - 1];
    refused(
        &[&progressive[..last], &progressive[last..progressive.len() - 2], &progressive[last..]],
        "a scan comes twice",
    );
    let at = places(&restarts, |marker| (0xD0..0xD8).contains(&marker));
    assert_eq!(at.len(), 4);
    let parts = [&restarts[..at[0]], &restarts[at[0]..at[1]], &restarts[at[1]..at[2]], &restarts[at[2]..]];
    refused(&[parts[0], parts[2], parts[1], parts[3]], "two parts are swapped");
    refused(&[parts[0], parts[1], parts[3]], "a part is missing");
    refused(&[parts[0], &parts[1][..12], parts[2], parts[3]], "a part is cut");
    // Nothing follows the last part but a restart of nothing.
    let (last, end) = parts[3].split_at(parts[3].len() - 2);
    let before = [parts[0], parts[1], parts[2], last];
    assert!(read(&[&before.concat()[..], &[0xFF, 0xD3], end].concat()).is_ok());
    for more in [&[0xFF, 0xD3, 9][..], &[0xFF, 0xD3, 0xFF, 0], &[0xFF, 0xD3, 0xFF, 0xD4, 9]] {
        refused(&[&before.concat(), more, end], "a part too many");
    }
    refused(&[parts[0], &parts[1][..2], &[0xFF, 0].repeat(20), parts[2], parts[3]], "codes that no table has");
}

/// A file that is replaced between its head and its pixels is an error, not fewer or more rows.
#[test]
fn a_file_that_is_replaced_meanwhile_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.jpg", "a.bmp"] {
        let path = dir.path().join(name);
        for (first, then) in [((20, 30), (20, 10)), ((20, 10), (20, 30)), ((20, 30), (7, 9))] {
            let save = |(width, height)| RgbImage::new(width, height).save(&path).unwrap();
            save(first);
            let opened = [(); 2].map(|()| ImageFile::open(&path).unwrap());
            save(then);
            let [whole, rows] = opened;
            let message = whole.read().unwrap_err().to_string();
            assert!(message.contains("not those that its head announces"), "{message}");
            assert!(rows.rows(|row| assert_eq!(row.len(), 60)).is_err());
        }
    }
}

/// What an interlaced file shows does not depend on that.
#[test]
fn reads_interlaced_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adam7.png");
    std::fs::write(&path, base64::engine::general_purpose::STANDARD.decode(ADAM7).unwrap()).unwrap();
    let expected: Vec<u8> = (0..25).map(|i| i * 9).collect();
    assert_eq!(read_image(&path, 1).unwrap(), one(5, 5, 1, expected));
}

/// 24 × 24 pixels of noise by Pillow: quality=30, progressive=True.
const PROGRESSIVE: &str = "\
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j\
    q62rZ4C8ybqmx5moq6T/wgALCAAYABgBAREA/8QAFwAAAwEAAAAAAAAAAAAAAAAAAAECA//aAAgBAQAAAAETllZ1/8QAGhAAAgID\
    AAAAAAAAAAAAAAAAAAECERAhIv/aAAgBAQABBQLl4YjSHaJVQz//xAAdEAADAAICAwAAAAAAAAAAAAAAARECMUFRYYGx/9oACAEB\
    AAY/ApXOhYs59ke7pEZ8LkdOnk//xAAeEAACAwEAAgMAAAAAAAAAAAABEQAhMUFRkXGx8P/aAAgBAQABPyEnAAHxkDBspMfUIFCh\
    To4ZfBo2AjwuUA3dgMgOAn78fvmHnAk7vhmAt4/U/9oACAEBAAAAEMV//8QAHxABAQEAAgMBAAMAAAAAAAAAAREhADFBYXFRkbHh\
    /9oACAEBAAE/EHEGNlSL72gvvtkvFAJCrBihlvVoefU5YjQ0bmEezdP9hRYOGKCxNZ53zbLxS4kJfyDg+/64q+JBHBEC3Jnu395d\
    5rfh+vYvn+XFhMgeyhRX2lqfePvsjNGQBmXVzTn/2Q==";

/// 40 × 24 grey pixels of noise by Pillow: quality=20, optimize=True, restart_marker_blocks=3.
const RESTARTS: &str = "\
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////\
    m8H////6/+b9//j/wAALCAAYACgBAREA/8QAFwABAQEBAAAAAAAAAAAAAAAAAAECA//EAC0QAAIBAwIEBAUFAAAAAAAAAAECEQMhMQAS\
    IkFRcRNhgfAjMkKx0ZGhweHx/90ABAAD/9oACAEBAAA/AAYMokVCbg72OcHM5uOelcg1yzk4ndmx5R0tP41Ah+GqyGiDuvYGJ6g/bX//\
    0IKTFVVUPDDRGfXHLsb6zTpqRUZqQ8NhDMCR5/KPfbW90Iu0UywB4t1yZyf7/IH/0SFzWK2RUsSeXnzEc/QdNUimm4pUHEAeF43Znp97\
    dtVG27fDMU5sVUjbkcRg9fY1/9LrTM0drGoahm54jFibft38764gVCpVlDKpuGF1vmb2sR/usqq8XhqxqG5MfTfF+ke8f//TBleqV2MX\
    AiNshfOcnGgHhHdMo3EtwTP83PppVE0yFAaqhgWKxcdPTt+mv//Z";

/// 5 × 5 grey pixels, 0, 9, 18 …, in the seven passes of the PNG specification.
const ADAM7: &str = "\
    iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAAAAAHfA0mvAAAALUlEQVR42mNgYFBh2HKDQYjhGENUTh0DpzRDcinD3vMMumb2HoEM\
    7RNmLloNAJ+3Co2IUuykAAAAAElFTkSuQmCC";

/// In every format, bytes in memory give what a file of them gives: pixels, sizes, memory and faults.
#[test]
fn bytes_in_memory_are_read_as_files_are() {
    let dir = tempfile::tempdir().unwrap();
    let photo = RgbImage::from_fn(61, 47, |x, y| Rgb([(x * y) as u8, x as u8, y as u8]));
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_fn(33, 20, |x, y| Luma([(x * y * 99) as u16]));
    let photos = ["png", "jpg", "bmp", "tif", "webp", "ppm"].map(|kind| (kind, DynamicImage::from(photo.clone())));
    let deeps = ["png", "tif", "pgm"].map(|kind| (kind, DynamicImage::from(deep.clone())));
    for (kind, image) in photos.into_iter().chain(deeps) {
        let path = dir.path().join("image").with_extension(kind);
        image.save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for len in [bytes.len(), bytes.len() / 2, 3, 0] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let memory = || ImageFile::of(ImageBytes::Memory(Arc::new(bytes[..len].to_vec())));
            let all = |file: Result<ImageFile>| {
                let file = file?;
                Ok((file.size(), file.bytes_whole(), file.read()?))
            };
            match (all(ImageFile::open(&path)), all(memory())) {
                (Ok(file), Ok(memory)) => assert!(file == memory && len == bytes.len(), "{kind}"),
                (Err(Error::File { problem, .. }), Err(Error::Setting { problem: same, .. })) => {
                    assert_eq!(format!("the image: {problem}"), same);
                }
                (file, memory) => panic!("{kind}, {len} bytes: {:?} and {:?}", file.err(), memory.err()),
            }
        }
    }
    let vast = b"P6\n4000000 4000000\n255\n";
    let refused = ImageFile::of(ImageBytes::Memory(Arc::new(vast.to_vec())));
    assert!(matches!(refused.err(), Some(Error::OutOfMemory { .. })));
}
