//! CIFAR-100's binary records: coarse label, fine label, then 32×32 red, green and blue bytes.

use std::fs;
use std::path::Path;

use crate::data::images::Images;
use crate::error::{Error, Result};

/// Side of the images.
pub const SIDE: usize = 32;
/// Names of the fine labels, in order.
pub const FINE_CLASSES: &str = "\
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can \
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin \
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster \
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck \
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk \
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger \
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm";
const PLANE: usize = SIDE * SIDE;
const RECORD: usize = 2 + 3 * PLANE;

/// Reads a file of records: RGB images and fine labels.
pub fn read(path: &Path) -> Result<(Images, Vec<u8>)> {
    parse(&fs::read(path).map_err(Error::io("read", path))?, path)
}

/// Images and fine labels of a file's bytes; `path` is for messages.
pub fn parse(bytes: &[u8], path: &Path) -> Result<(Images, Vec<u8>)> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let problem = format!("{} bytes are no whole number of CIFAR-100 records of {RECORD} bytes", bytes.len());
        return Err(Error::file(path, problem, "give train.bin or test.bin of CIFAR-100's binary version"));
    }
    let records = bytes.chunks_exact(RECORD);
    let labels = records.clone().map(|record| record[1]).collect();
    let mut pixels = Vec::with_capacity(bytes.len() / RECORD * 3 * PLANE);
    for record in records {
        let planes = &record[2..];
        pixels.extend((0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]));
    }
    Ok((Images { count: bytes.len() / RECORD, height: SIDE, width: SIDE, channels: 3, pixels }, labels))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A record with these labels whose planes are constant.
    pub(crate) fn record(coarse: u8, fine: u8, [r, g, b]: [u8; 3]) -> Vec<u8> {
        [vec![coarse, fine], vec![r; PLANE], vec![g; PLANE], vec![b; PLANE]].concat()
    }

    #[test]
    fn planes_become_pixels() {
        let bytes = [record(1, 7, [10, 20, 30]), record(0, 99, [1, 2, 3])].concat();
        let (images, labels) = parse(&bytes, Path::new("x")).unwrap();
        assert_eq!((images.count, labels), (2, vec![7, 99]));
        assert_eq!(images.image(0)[..6], [10, 20, 30, 10, 20, 30]);
        assert_eq!(images.image(1)[3 * PLANE - 3..], [1, 2, 3]);
        let message = parse(&bytes[1..], Path::new("cut.bin")).unwrap_err().to_string();
        assert!(message.starts_with("cut.bin: ") && message.contains("test.bin"), "{message}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..8000)) {
            let _ = parse(&bytes, Path::new("x"));
        }
    }
}
