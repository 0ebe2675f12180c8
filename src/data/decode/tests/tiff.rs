//! Of TIFFs.

use super::*;

/// An uncompressed TIFF in little-endian order: tags with their values, and the data, to which offsets (tags 273 and 324) are told.
fn tiff(tags: &[(u16, &[u32])], data: &[u8]) -> Vec<u8> {
    let entries = 8 + 2 + 12 * tags.len() + 4;
    // SHORT, BYTE, LONG; all values of four bytes but those of JPEG tables.
    let kind = |tag| match tag {
        338 => 3_u16,
        347 => 1,
        _ => 4,
    };
    let width = |tag| match kind(tag) {
        1 => 1,
        3 => 2,
        _ => 4,
    };
    let lens = tags.iter().map(|(tag, values)| width(*tag) * values.len());
    let arrays: usize = lens.filter(|&len| len > 4).sum();
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((tags.len() as u16).to_le_bytes());
    let mut stored: Vec<u8> = Vec::new();
    for &(tag, values) in tags {
        let base = if matches!(tag, 273 | 324) { entries + arrays } else { 0 };
        let count = values.len();
        let bytes = values.iter().flat_map(|value| (value + base as u32).to_le_bytes().into_iter().take(width(tag)));
        let mut values: Vec<u8> = bytes.collect();
        file.extend(tag.to_le_bytes());
        file.extend(kind(tag).to_le_bytes());
        file.extend((count as u32).to_le_bytes());
        if values.len() <= 4 {
            values.resize(4, 0);
            file.extend(values);
        } else {
            file.extend(((entries + stored.len()) as u32).to_le_bytes());
            stored.extend(values);
        }
    }
    file.extend([0; 4]);
    file.extend(stored);
    file.extend(data);
    file
}

/// Width, height, bits per sample, no compression, how samples are meant, samples per pixel.
fn head<'a>(bits: &'a [u32], meaning: &'a [u32], samples: &'a [u32]) -> Vec<(u16, &'a [u32])> {
    vec![(256, &[5]), (257, &[3]), (258, bits), (259, &[1]), (262, meaning), (277, samples)]
}

#[test]
fn reads_tiles_planes_and_large_tiffs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        ImageFile::open(&path).unwrap().read().unwrap().0
    };
    // 5 × 3 pixels of 16 × 16 tiles have one tile; of 3 rows that begin with 0, 16 and 32.
    let tile: Vec<u8> = (0..=255).collect();
    let mut tags = head(&[8], &[1], &[1]);
    tags.extend([(322, &[16][..]), (323, &[16]), (324, &[0]), (325, &[256])]);
    assert_eq!(read(&tiff(&tags, &tile)), one(3, 5, 1, vec![0, 1, 2, 3, 4, 16, 17, 18, 19, 20, 32, 33, 34, 35, 36]));
    // 20 × 3 pixels have two, the second cut.
    tags[0] = (256, &[20]);
    let len = tags.len();
    tags[len - 2] = (324, &[0, 256]);
    tags[len - 1] = (325, &[256, 256]);
    let both = [tile.clone(), vec![7; 256]].concat();
    let wide = read(&tiff(&tags, &both));
    assert_eq!(
        (wide.width, &wide.pixels[20..24], &wide.pixels[35..40]),
        (20, &[16, 17, 18, 19][..], &[31, 7, 7, 7, 7][..])
    );
    // Red, green and blue in planes of one strip each.
    let mut tags = head(&[8, 8, 8], &[2], &[3]);
    tags.extend([(273, &[0, 15, 30][..]), (278, &[3]), (279, &[15, 15, 15]), (284, &[2])]);
    tags.sort();
    let planes: Vec<u8> = (0..45).collect();
    assert_eq!(read(&tiff(&tags, &planes)).pixels[..6], [0, 15, 30, 1, 16, 31]);
    // Grey with a second sample that has no meaning, as Pillow writes it.
    let mut tags = head(&[8, 8], &[1], &[2]);
    tags.extend([(273, &[0][..]), (278, &[3]), (279, &[30])]);
    tags.sort();
    assert_eq!(read(&tiff(&tags, &planes[..30])).pixels[..5], [0, 2, 4, 6, 8]);
    // A BigTIFF of tifffile: 2 × 1 pixels, 9 and 200.
    let big = base64::engine::general_purpose::STANDARD.decode(BIG_TIFF).unwrap();
    assert_eq!(read(&big), one(1, 2, 1, vec![9, 200]));
}

#[test]
fn kinds_of_tiff_that_have_no_grey_or_colour_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    for (bits, meaning, format, more, words) in [
        (32, 1, 3, None, "32-bit floating-point samples; save it with 8 or 16 bits"),
        (16, 1, 2, None, "signed samples"),
        (8, 3, 1, Some(vec![0; 768]), "a palette; save it as grey or RGB"),
        (64, 1, 1, None, "a TIFF of 64-bit grey; save it as grey or RGB of 8 or 16 bits"),
    ] {
        let (bits, meaning, format) = ([bits], [meaning], [format]);
        let mut tags = head(&bits, &meaning, &[1]);
        tags.extend([(273, &[0][..]), (278, &[3]), (279, &[120]), (339, &format)]);
        tags.extend(more.iter().map(|palette| (320, palette.as_slice())));
        tags.sort();
        std::fs::write(&path, tiff(&tags, &[0; 120])).unwrap();
        let message = ImageFile::open(&path).err().unwrap().to_string();
        assert!(message.contains("image.tif: not a readable image (a TIFF") && message.contains(words), "{message}");
    }
}

/// TIFFs whose reader shows something else.
#[test]
fn tiffs_that_would_be_read_wrongly_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    for (bits, meaning, compression, words) in [
        (&[32; 3][..], 2, 1, "a TIFF of 32-bit RGB;"),
        (&[32; 4], 2, 1, "a TIFF of 32-bit RGBA;"),
        (&[8; 2], 1, 7, "grey and transparency in JPEG"),
    ] {
        let (meaning, samples, compression) = ([meaning], [bits.len() as u32], [compression]);
        let mut tags = head(bits, &meaning, &samples);
        tags[3] = (259, &compression);
        tags.extend([(273, &[0][..]), (278, &[3]), (279, &[240])]);
        if bits.len() == 4 {
            tags.push((338, &[2]));
        }
        tags.sort();
        std::fs::write(&path, tiff(&tags, &[0; 240])).unwrap();
        let message = ImageFile::open(&path).err().unwrap().to_string();
        assert!(message.contains(words) && message.contains("save it as grey or RGB of 8 or 16 bits"), "{message}");
    }
}

/// Planes whose last tiles reach beyond the image, as tifffile writes them.
#[test]
fn reads_tiles_of_planes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    let byte = |tile: usize, x: usize, y: usize| (20 * tile + x + 3 * y) as u8;
    let tiles: Vec<u8> = (0..12 * 256).map(|i| byte(i / 256, i % 16, i / 16 % 16)).collect();
    let offsets: Vec<u32> = (0..12).map(|tile| 256 * tile).collect();
    let mut tags = head(&[8, 8, 8], &[2], &[3]);
    tags[..2].copy_from_slice(&[(256, &[20]), (257, &[18])]);
    tags.extend([(284, &[2][..]), (322, &[16]), (323, &[16]), (324, &offsets), (325, &[256; 12])]);
    std::fs::write(&path, tiff(&tags, &tiles)).unwrap();
    let pixel = |i: usize| {
        let (x, y, plane) = (i / 3 % 20, i / 60, i % 3);
        byte((2 * plane + y / 16) * 2 + x / 16, x % 16, y % 16)
    };
    assert_eq!(read_image(&path, 3).unwrap(), one(18, 20, 3, (0..18 * 20 * 3).map(pixel).collect()));
    // Those of CMYK make its reader panic.
    let mut tags = head(&[8; 4], &[5], &[4]);
    tags[..2].copy_from_slice(&[(256, &[20]), (257, &[18])]);
    let offsets: Vec<u32> = (0..16).map(|tile| 16 * tile).collect();
    tags.extend([(284, &[2][..]), (322, &[16]), (323, &[16]), (324, &offsets), (325, &[256; 16])]);
    std::fs::write(&path, tiff(&tags, &[0; 16 * 256])).unwrap();
    let message = read_image(&path, 3).unwrap_err().to_string();
    assert!(message.contains("a TIFF of CMYK in tiles of planes; save it as grey or RGB"), "{message}");
}

/// Samples that are none of the colour's are passed over, but not where each is told by the one before.
#[test]
fn further_samples_with_a_predictor_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    let data: Vec<u8> = (0..75).collect();
    for (meaning, more) in [(2, &[0, 0][..]), (5, &[0])] {
        let read = |predictor: u32| {
            let (meaning, predictor) = ([meaning], [predictor]);
            let mut tags = head(&[8; 5], &meaning, &[5]);
            tags.extend([(273, &[0][..]), (278, &[3]), (279, &[75]), (317, &predictor), (338, more)]);
            tags.sort();
            std::fs::write(&path, tiff(&tags, &data)).unwrap();
            read_image(&path, 3)
        };
        let plain = read(1).unwrap().pixels;
        assert!(meaning == 5 || plain[..6] == [0, 1, 2, 5, 6, 7], "{plain:?}");
        let message = read(2).unwrap_err().to_string();
        assert!(message.contains("5 samples a pixel with a predictor; save it without one"), "{message}");
    }
}

#[test]
fn compressions_that_are_not_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    for (method, name) in [(34925, "LZMA"), (50000, "Zstandard"), (34712, "JPEG 2000"), (999, "method 999")] {
        let method = [method];
        let mut tags = head(&[8], &[1], &[1]);
        tags[3] = (259, &method);
        tags.extend([(273, &[0][..]), (278, &[3]), (279, &[15])]);
        tags.sort();
        std::fs::write(&path, tiff(&tags, &[0; 15])).unwrap();
        let message = read_image(&path, 1).unwrap_err().to_string();
        assert!(message.contains(&format!("a TIFF compressed by {name}; save it")), "{message}");
    }
}

/// What its reader does not know, it shows as values of its own.
#[test]
fn other_kinds_of_tiff_are_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    let mut tags = head(&[8], &[4], &[1]); // a mask of transparency
    tags.extend([(273, &[0][..]), (278, &[3]), (279, &[15])]);
    tags.sort();
    std::fs::write(&path, tiff(&tags, &[0; 15])).unwrap();
    let message = read_image(&path, 1).unwrap_err().to_string();
    assert!(message.contains("a kind of TIFF that is not read; save it as grey or RGB"), "{message}");
}

/// Strips that are not where the head says, as a writer leaves them that was stopped.
#[test]
fn tiffs_with_missing_strips_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    let data: Vec<u8> = (0..15).collect();
    let two_strips = |offsets: &[u32; 2], counts: &[u32; 2], data: &[u8]| {
        let mut tags = head(&[8], &[1], &[1]);
        tags.extend([(273, &offsets[..]), (278, &[2]), (279, counts)]);
        tags.sort();
        tiff(&tags, data)
    };
    let read = |file: &[u8]| {
        std::fs::write(&path, file).unwrap();
        ImageFile::open(&path).and_then(ImageFile::read).map(|(image, _)| image.pixels)
    };
    assert_eq!(read(&two_strips(&[0, 10], &[10, 5], &data)).unwrap(), data);
    assert_eq!(read(&two_strips(&[0, 10], &[10, 7], &[&data[..], &[0; 2]].concat())).unwrap(), data);
    // The second offset stands before both counts and the data.
    let mut nowhere = two_strips(&[0, 10], &[10, 5], &data);
    let at = nowhere.len() - data.len() - 12;
    nowhere[at..at + 4].fill(0);
    for (file, what) in [
        (nowhere, "at the beginning of the file"),
        (two_strips(&[0, 1000], &[10, 5], &data), "beyond the end"),
        (two_strips(&[0, 10], &[10, 5], &data[..14]), "cut"),
        (two_strips(&[0, 10], &[10, 0], &data), "without bytes"),
        (two_strips(&[0, 10], &[10, 4], &data), "the last too short"),
        (two_strips(&[0, 10], &[9, 5], &data), "the first too short"),
    ] {
        let message = read(&file).expect_err(what).to_string();
        assert!(message.contains("cut short") && message.contains("strips"), "{what}: {message}");
    }
}

/// A strip of JPEG, with tables of its own or those of the file.
#[test]
fn damaged_jpegs_in_tiffs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tif");
    let photo = GrayImage::from_fn(64, 64, |x, y| Luma([(x * y) as u8]));
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90).encode_image(&photo).unwrap();
    let (mut strip, mut tables) = (jpeg.clone(), Vec::new());
    for at in places(&jpeg, |marker| matches!(marker, 0xC4 | 0xDB)).into_iter().rev() {
        let len = usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        tables.push(strip.drain(at..at + 2 + len).collect::<Vec<u8>>());
    }
    let tables = [&[0xFF, 0xD8], &tables.concat()[..], &[0xFF, 0xD9]].concat();
    let tables: Vec<u32> = tables.into_iter().map(u32::from).collect();
    let read = |jpeg: &[u8], tables: Option<&[u32]>| {
        let len = [jpeg.len() as u32];
        let mut tags = head(&[8], &[1], &[1]);
        tags[..4].copy_from_slice(&[(256, &[64][..]), (257, &[64]), (258, &[8]), (259, &[7])]);
        tags.extend([(273, &[0][..]), (278, &[64]), (279, &len)]);
        tags.extend(tables.map(|tables| (347, tables)));
        tags.sort();
        std::fs::write(&path, tiff(&tags, jpeg)).unwrap();
        ImageFile::open(&path).and_then(ImageFile::read).map(|(image, _)| image.pixels)
    };
    for (jpeg, tables) in [(&jpeg, None), (&strip, Some(tables.as_slice()))] {
        assert_eq!(read(jpeg, tables).unwrap().len(), 64 * 64);
        let data = places(jpeg, |marker| marker == 0xDA)[0] + 14;
        for tenths in 1..10 {
            let cut = [&jpeg[..data + (jpeg.len() - data) * tenths / 10], &[0xFF, 0xD9]].concat();
            let message = read(&cut, tables).unwrap_err().to_string();
            assert!(message.contains("cut short or damaged"), "{tenths} tenths: {message}");
        }
    }
    assert!(read(&strip, None).unwrap_err().to_string().contains("lacks Huffman tables"));
}

/// tifffile.imwrite(…, np.array([[9, 200]], "u1"), bigtiff=True).
const BIG_TIFF: &str = "\
    SUkrAAgAAAAQAAAAAAAAAAwAAAAAAAAAAAEEAAEAAAAAAAAAAgAAAAAAAAABAQQAAQAAAAAAAAABAAAAAAAAAAIBAwABAAAAAAAA\
    AAgAAAAAAAAAAwEDAAEAAAAAAAAAAQAAAAAAAAAGAQMAAQAAAAAAAAABAAAAAAAAABEBEAABAAAAAAAAABABAAAAAAAAFQEDAAEA\
    AAAAAAAAAQAAAAAAAAAWAQQAAQAAAAAAAAABAAAAAAAAABcBEAABAAAAAAAAAAIAAAAAAAAAGgEFAAEAAAAAAAAAAQAAAAEAAAAb\
    AQUAAQAAAAAAAAABAAAAAQAAACgBAwABAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAJyA==";
